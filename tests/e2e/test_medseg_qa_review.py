"""The review page in a real browser, driven by the keyboard alone."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from inference.medseg_qa.builder import build
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


@pytest.fixture
def page_url(shared_data: Path, tmp_path: Path) -> Iterator[tuple[str, ReviewStore]]:
    rows = (shared_data / "images" / "manifest.jsonl").read_text().splitlines()
    images = tmp_path / "images"
    images.mkdir()
    for name in ("btcv", "cxr_covid"):
        (images / name).symlink_to(shared_data / "images" / name)
    chosen = [row for row in rows if '"dataset": "btcv"' in row][20:23]
    chosen += [row for row in rows if '"dataset": "cxr_covid"' in row][:2]
    (images / "manifest.jsonl").write_text("\n".join(chosen) + "\n")
    build(open_source(images), tmp_path / "set")
    store = ReviewStore(tmp_path / "review.sqlite3")
    store.queue(tmp_path / "set")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    app = make_review_app(tmp_path / "set", store)
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}", store
    server.should_exit = True
    thread.join(10)


def test_a_reader_accepts_edits_and_rejects_on_the_keyboard(page_url: tuple[str, ReviewStore], tmp_path: Path) -> None:
    if not CHROMIUM.exists():
        if os.environ.get("CI") == "true":
            pytest.fail("chromium is not installed")
        pytest.skip("chromium is not installed; apt-get install chromium")
    from playwright.sync_api import expect, sync_playwright

    url, store = page_url
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        page.goto(f"{url}/?reader=ann")
        expect(page.locator("body")).to_have_attribute("data-position", "0")
        assert page.evaluate("document.getElementById('picture').naturalWidth") > 0
        if target := os.environ.get("MEDSEG_QA_SCREENSHOT"):
            page.screenshot(path=target)
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
        browser.close()
    summary = store.summary()
    assert (summary.finished, summary.accepted, summary.rejected) == (3, 2, 1)
    accepted = [turns for turns in store.accepted().values() if turns]
    assert accepted[0][0].question == "Which organ is this about?"
