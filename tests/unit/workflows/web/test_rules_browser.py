"""The pages of reading protocols in a browser: files are chosen and sent, answers stand below, all by keyboard."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.scene import make_scene
from workflows.web.access import Person, Role
from workflows.web.app import create_app

from .conftest import OpenDoor
from .drawing_page import chromium, serving
from .rules_scene import ABDOMEN, OFF, ct, rules_node
from .test_rules_changing import BODY

pytestmark = [pytest.mark.service("chromium"), pytest.mark.slow]
OPERATOR = Person("op", "Test^Op", Role.ADMINISTRATOR, "token")


def test_files_and_changes_are_tried_by_keyboard(tmp_path: Path) -> None:
    node = rules_node(tmp_path, abdomen=ABDOMEN, heart=OFF)
    make_scene(node, tmp_path / "images")
    image, edited, other = tmp_path / "large.dcm", tmp_path / "edited.yaml", tmp_path / "note.txt"
    image.write_bytes(ct() + b"\xe0\x7f\x10\x00OW\x00\x00" + (60_000_000).to_bytes(4, "little") + bytes(60_000_000))
    edited.write_text(BODY)
    other.write_text("no DICOM")
    with serving(create_app(node, OpenDoor(OPERATOR))) as address, chromium() as browser:
        page = browser.new_page(base_url=address)
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda told: wrong.append(told.text) if "Content Security Policy" in told.text else None)
        page.goto("/rules/test")
        sent(page, image, other)
        expect(page.locator("#result .matrix .cell .truth.yes")).to_have_count(1)
        expect(page.locator("#result")).to_contain_text("note.txt: no DICOM file")
        why = page.locator("#result details").first
        page.keyboard.press("Tab")  # from the result to its table, to the protocol, and to why
        while not why.locator("summary").evaluate("one => one === document.activeElement"):
            page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(why.locator(".grounds").first).to_be_visible()
        page.goto("/rules/change")
        sent(page, edited)
        expect(page.locator("#result")).to_contain_text("In place of what is in service: abdomen")
        expect(page.locator("#result .figures .more")).to_have_text("+1")
        sent(page, other)
        expect(page.locator("#result")).to_contain_text("note.txt is not called *.yaml")
        assert wrong == []
    node.repository.close()


def sent(page: Page, *files: Path) -> None:
    page.set_input_files("input[type=file]", [str(file) for file in files])
    page.locator("#upload button").focus()
    page.keyboard.press("Enter")
