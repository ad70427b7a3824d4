"""The study page in a browser: seen, scrolled, windowed, compared with the prior, on the keyboard alone."""

from __future__ import annotations

import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from fastapi import Request
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.scene import make_scene, scene_node
from workflows.bootstrap import Node
from workflows.web.access import Person, Role
from workflows.web.app import create_app

pytestmark = pytest.mark.service("chromium")

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]


class Door:
    """Lets everybody in as one reviewer."""

    async def admit(self, request: Request) -> Person:
        return Person("reader", "Test^Reader", Role.REVIEWER, "token")


@contextmanager
def served(node: Node) -> Iterator[str]:
    """The address of the pages over a node."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(create_app(node, Door()), port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(10)


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A data folder with two studies of one patient, the second compared with the first."""
    folder = tmp_path_factory.mktemp("scene")
    node = scene_node(folder / "data")
    bodies = make_scene(node, folder / "images", studies=2)
    node.repository.close()
    return folder / "data", [str(body.study_uid) for body in bodies]


@pytest.fixture
def opened(read: tuple[Path, list[str]], tmp_path: Path) -> Iterator[tuple[Node, str, list[str]]]:
    shutil.copytree(read[0], tmp_path / "data")
    node = scene_node(tmp_path / "data")
    with served(node) as address:
        yield node, address, read[1]
    node.repository.close()


@pytest.fixture(scope="module")
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


def _page(chromium: Browser, address: str, study_uid: str, width: int = 1366, height: int = 768) -> Page:
    page = chromium.new_page(viewport={"width": width, "height": height})
    page.errors = []  # type: ignore[attr-defined]
    page.on("pageerror", lambda error: page.errors.append(str(error)))  # type: ignore[attr-defined]
    page.goto(f"{address}/studies/{study_uid}")
    expect(page.locator("#stage")).to_have_attribute("data-drawn", re.compile(r"\d+"))
    page.wait_for_selector("html[data-ready]")
    return page


def _shot(page: Page, name: str) -> None:
    if folder := os.environ.get("MEDSEG_SCREENSHOTS"):
        page.screenshot(path=f"{folder}/study-{name}.png")


def _coloured(page: Page) -> int:
    """How many pixels of the view have a colour."""
    return page.evaluate(
        """() => { const canvas = document.querySelector('#stage canvas');
        const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data; let found = 0;
        for (let at = 0; at < data.length; at += 4)
          if (Math.max(data[at], data[at+1], data[at+2]) - Math.min(data[at], data[at+1], data[at+2]) > 60) found += 1;
        return found; }"""
    )


def _wait_coloured(page: Page) -> None:
    for _ in range(200):
        if _coloured(page):
            return
        page.wait_for_timeout(20)
    raise AssertionError("no outline was drawn")


def test_a_reader_goes_through_a_study_on_the_keyboard(chromium: Browser, opened: tuple[Node, str, list[str]]) -> None:
    _, address, uids = opened
    page = _page(chromium, address, uids[1])
    tab = page.get_by_role("tab", name="TEST axial")
    tab.focus()
    page.keyboard.press("Enter")
    expect(tab).to_have_attribute("aria-selected", "true")
    expect(page.locator("#place")).to_contain_text("/ 16")
    _wait_coloured(page)
    _shot(page, "1366x768")
    page.locator("#stage").focus()
    place, cards = page.locator("#place"), page.locator(".job:not([hidden]) .finding")
    expect(cards.first).to_have_class(re.compile(r"\bon\b"))
    page.keyboard.press("j")
    expect(cards.nth(1)).to_have_class(re.compile(r"\bon\b"))
    page.keyboard.press("Home")
    expect(place).to_contain_text("slice 1 /")
    page.keyboard.press("ArrowDown")
    expect(place).to_contain_text("slice 2 /")
    page.keyboard.press("k")
    expect(cards.first).to_have_attribute("aria-current", "true")
    _wait_coloured(page)
    outlined = _coloured(page)
    page.keyboard.press("f")
    assert _coloured(page) > 2 * outlined
    page.keyboard.press("f")
    page.keyboard.press("v")
    expect(cards.first.locator(".eye")).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("3")
    expect(page.locator("#window")).to_contain_text("W 1500 L -600")
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_contain_text("next finding")
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#series [aria-selected=true]")).to_have_count(1)
    page.keyboard.press("p")
    expect(page.locator("#stage-prior")).to_have_attribute("data-drawn", re.compile(r"\d+"))
    _shot(page, "prior")
    assert page.errors == []  # type: ignore[attr-defined]
    page.close()


def test_a_drag_sets_the_window_and_a_click_names_the_place(
    chromium: Browser, opened: tuple[Node, str, list[str]]
) -> None:
    _, address, uids = opened
    page = _page(chromium, address, uids[0])
    page.get_by_role("tab", name="TEST axial").click()
    expect(page.locator("#place")).to_contain_text("/ 16")
    box = page.locator("#stage").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    before = page.locator("#window").text_content()
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 60, y + 40, steps=5)
    page.mouse.up()
    expect(page.locator("#window")).not_to_have_text(before or "")
    page.evaluate(
        "import(document.querySelector('script[src*=\"study.js\"]').src.replace('study.js', 'page.js'))"
        ".then(({ bus }) => bus.addEventListener('point', ({ detail }) => { window.place = detail; }))"
    )
    page.mouse.click(x, y)
    place = page.wait_for_function("window.place").json_value()
    assert {"job_key", "part", "slice", "row", "column", "value"} <= set(place)
    page.mouse.move(x + 2, y)
    expect(page.locator("#window")).to_contain_text("HU")
    slice_before = page.locator("#place").text_content()
    page.mouse.wheel(0, 120)
    expect(page.locator("#place")).not_to_have_text(slice_before or "")
    page.close()


@pytest.mark.parametrize(("width", "height"), [(1366, 768), (1024, 768), (768, 1024), (683, 384)])
def test_every_size_is_whole_and_accessible(
    chromium: Browser, opened: tuple[Node, str, list[str]], width: int, height: int
) -> None:
    _, address, uids = opened
    page = _page(chromium, address, uids[1], width, height)
    _shot(page, f"{width}x{height}")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "nothing is cut off on the right"
    found = [one for one in Axe().run(page).response["violations"] if one["impact"] in ("serious", "critical")]
    assert [(one["id"], [node["html"][:120] for node in one["nodes"]]) for one in found] == []
    page.close()


def test_an_image_that_is_gone_is_drawn_as_a_sentence(chromium: Browser, opened: tuple[Node, str, list[str]]) -> None:
    node, address, uids = opened
    shutil.rmtree(node.folder.instances / uids[0])
    page = chromium.new_page(viewport={"width": 1366, "height": 768})
    page.goto(f"{address}/studies/{uids[0]}")
    expect(page.locator("#stage .picture-state")).to_contain_text("send the study again")
    expect(page.locator(".finding").first).to_contain_text("ml")
    _shot(page, "gone")
    page.close()
