"""The review page in a real browser, driven by the keyboard alone."""

from __future__ import annotations

import os
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Browser, expect, sync_playwright

from inference.medseg_qa.builder import build
from inference.medseg_qa.export import ExportFormat
from inference.medseg_qa.records import read_records, record_to_json
from inference.medseg_qa.review.accepted import export_accepted
from inference.medseg_qa.review.app import make_review_app
from inference.medseg_qa.review.store import ReviewStore
from inference.medseg_qa.sources import open_source

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def served(directory: Path, store: ReviewStore) -> Iterator[str]:
    """The address of a review page over a set."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(make_review_app(directory, store), port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(10)


@pytest.fixture
def chromium() -> Iterator[Browser]:
    """Debian's chromium."""
    if not CHROMIUM.exists():
        if os.environ.get("CI") == "true":
            pytest.fail("chromium is not installed")
        pytest.skip("chromium is not installed; apt-get install chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def built(shared_data: Path, tmp_path: Path) -> Path:
    """A set of three CT slices and two chest radiographs."""
    rows = (shared_data / "images" / "manifest.jsonl").read_text().splitlines()
    images = tmp_path / "images"
    images.mkdir()
    for name in ("btcv", "cxr_covid"):
        (images / name).symlink_to(shared_data / "images" / name)
    chosen = [row for row in rows if '"dataset": "btcv"' in row][20:23]
    chosen += [row for row in rows if '"dataset": "cxr_covid"' in row][:2]
    (images / "manifest.jsonl").write_text("\n".join(chosen) + "\n")
    build(open_source(images), tmp_path / "set")
    return tmp_path / "set"


def test_a_reader_accepts_edits_and_rejects_on_the_keyboard(built: Path, chromium: Browser, tmp_path: Path) -> None:
    store = ReviewStore(tmp_path / "review.sqlite3")
    store.queue(built)
    with served(built, store) as url:
        page = chromium.new_page(viewport={"width": 1280, "height": 860})
        page.goto(url)
        expect(page.locator("input[name=reader]")).to_be_focused()
        page.keyboard.type("ann")
        page.keyboard.press("Enter")
        expect(page.locator("body")).to_have_attribute("data-position", "0")
        page.wait_for_function("document.getElementById('picture').naturalWidth > 0")
        if target := os.environ.get("MEDSEG_QA_SCREENSHOT"):
            page.screenshot(path=target)
        page.keyboard.press("h")
        expect(page.locator("#error")).to_contain_text("once you have decided")
        page.keyboard.press("a")
        expect(page.locator("body")).to_have_attribute("data-position", "1")
        page.keyboard.press("r")
        expect(page.locator("#error")).to_contain_text("needs a reason")
        page.keyboard.type("mask too small")
        page.keyboard.press("Escape")
        page.keyboard.press("r")
        expect(page.locator("body")).to_have_attribute("data-position", "2")
        page.keyboard.press("e")
        page.locator(".question").first.fill("Which organ is this about?")
        page.keyboard.press("Control+Enter")
        expect(page.locator("body")).to_have_attribute("data-position", "3")
        page.keyboard.press("e")
        page.locator(".answer").first.fill("The <p> liver </p> without its tag.")
        page.keyboard.press("Control+Enter")
        expect(page.locator("#error")).to_contain_text("grammar")
        page.reload()
        page.keyboard.press("m")
        expect(page.locator("#picture")).to_have_attribute("src", "/image/3?masks=false")
        page.keyboard.press("p")
        expect(page.locator("body")).to_have_attribute("data-position", "2")
        page.keyboard.press("h")
        expect(page.locator("#changes li")).to_contain_text("ann: edit")
        page.goto(f"{url}/?reader=ann&at=9999")
        expect(page.locator("#done")).to_be_visible()
    summary = store.summary()
    assert (summary.finished, summary.accepted, summary.rejected) == (3, 2, 1)
    accepted = [turns for turns in store.accepted().values() if turns]
    assert accepted[0][0].question == "Which organ is this about?"


def test_two_readers_agree_by_kappa_and_only_what_both_accept_is_exported(
    built: Path, chromium: Browser, tmp_path: Path
) -> None:
    store = ReviewStore(tmp_path / "review.sqlite3")
    store.queue(built, readers=2, limit=4)
    verdicts = {"ann": "aaaa", "bob": "aara"}
    with served(built, store) as url:
        for reader, keys in verdicts.items():
            page = chromium.new_page()
            page.goto(f"{url}/?reader={reader}")
            for number, key in enumerate(keys):
                expect(page.locator("body")).to_have_attribute("data-position", str(number))
                expect(page.locator(".own")).to_have_count(0)
                if key == "r":
                    page.keyboard.press("/")
                    page.keyboard.type("wrong side")
                    page.keyboard.press("Escape")
                page.keyboard.press(key)
            expect(page.locator("#done")).to_be_visible()
        expect(page.locator("#counts")).to_contain_text("4 of 4 finished, 3 accepted")
        expect(page.locator("#counts")).to_contain_text("1 disputed")
        expect(page.locator("#kappa")).to_contain_text("0.00")
    history = store.history(store.item(built, 2, "").id)
    assert [(change["reader"], change["decision"]) for change in history] == [("ann", "accept"), ("bob", "reject")]
    export_accepted(built, tmp_path / "review.sqlite3", tmp_path / "out", ExportFormat.JSONL)
    exported = {conversation.id for record in read_records(tmp_path / "out") for conversation in record.conversations}
    assert exported == {store.item(built, position, "").id for position in (0, 1, 3)}


def test_two_thousand_items_page_quickly(built: Path, chromium: Browser, tmp_path: Path) -> None:
    record = next(read_records(built))
    lines = []
    for number in range(2000):
        renamed = replace(record.conversations[0], id=f"{record.id}-{number}#0")
        lines.append(record_to_json(replace(record, id=f"{record.id}-{number}", conversations=(renamed,))))
    (built / "records.jsonl").write_text("\n".join(lines) + "\n")
    store = ReviewStore(tmp_path / "review.sqlite3")
    began = time.perf_counter()
    assert store.queue(built) == 2000
    queued_s = time.perf_counter() - began
    with sqlite3.connect(tmp_path / "review.sqlite3") as database:
        decided = (
            "INSERT INTO verdict SELECT id, 'ann', 'accept', '', NULL, '2026-01-01' FROM item WHERE position < 1900"
        )
        database.execute(decided)
    with served(built, store) as url:
        page = chromium.new_page()
        page.goto(f"{url}/?reader=ann")
        began = time.perf_counter()
        for position in range(1900, 1920):
            expect(page.locator("body")).to_have_attribute("data-position", str(position))
            page.wait_for_function("document.getElementById('picture').naturalWidth > 0")
            page.keyboard.press("a")
        page_s = (time.perf_counter() - began) / 20
    print(f"2,000 items queued in {queued_s:.2f} s, {page_s:.2f} s from one item to the next")
    assert queued_s < 10 and page_s < 1.5
