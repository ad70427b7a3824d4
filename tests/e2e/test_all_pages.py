"""Every page, each role, two sizes, in a browser: nothing serious for a screen reader, nothing the policy refuses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.e2e.test_study_page import chromium as chromium
from tests.scene import make_scene, scene_node
from tests.unit.workflows.web.reviewing import served
from workflows.bootstrap import Node
from workflows.steps.worklist import refresh
from workflows.web.access import Role
from workflows.web.passwords import hash_password
from workflows.web.sessions import SessionDoor

pytestmark = pytest.mark.service("chromium")

PASSWORD = "a horse in the corridor"
TABS = ("review", "mine", "reviewed", "attention")
FOR_ALL = (*(f"/worklist?tab={tab}" for tab in TABS), "/account", "/nothing-is-here")
RULES = ("/rules", "/rules/abdominal-ct", "/rules/test", "/rules/change")
PAGES = {
    Role.VIEWER: FOR_ALL,
    Role.REVIEWER: (*FOR_ALL, "/agreement"),
    Role.ADMINISTRATOR: (*FOR_ALL, "/agreement", "/operate", "/audit", "/users", *RULES),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The address of the pages with their real front door, and the UID of a study that was read."""
    folder = tmp_path_factory.mktemp("pages")
    node: Node = scene_node(folder / "data")
    (body,) = make_scene(node, Path(folder) / "images")
    refresh(node.repository, node.folder)
    for role in Role:
        node.repository.add_account(role.value, f"PHANTOM^{role.value.title()}", role, hash_password(PASSWORD))
    with served(node, SessionDoor(node)) as address:
        yield address, str(body.study_uid)
    node.repository.close()


def _serious(page: Page) -> list[tuple[str, str]]:
    found = Axe().run(page).response["violations"]
    return [(one["id"], one["nodes"][0]["html"][:120]) for one in found if one["impact"] in ("serious", "critical")]


@pytest.mark.parametrize("size", [(1366, 768), (768, 1024)], ids=["screen", "tablet"])
@pytest.mark.parametrize("role", list(Role), ids=[role.value for role in Role])
def test_every_page_is_whole(chromium: Browser, place: tuple[str, str], role: Role, size: tuple[int, int]) -> None:
    address, study_uid = place
    page = chromium.new_page(viewport={"width": size[0], "height": size[1]})
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda told: wrong.append(told.text) if "Content Security Policy" in told.text else None)
    page.goto(f"{address}/login")
    assert _serious(page) == []
    page.fill("[name=account]", role.value)
    page.fill("[name=password]", PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/worklist*")
    for path in (*PAGES[role], f"/studies/{study_uid}"):
        page.goto(address + path)
        if path == "/rules/test":
            page.goto(f"{address}{path}?study={study_uid}")
            expect(page.locator(".matrix")).to_be_visible()
        if path.startswith("/studies"):
            expect(page.locator("#stage")).to_have_attribute("data-drawn", re.compile(r"\d+"))
            expect(page.locator(".what time")).to_have_text(re.compile(r"^\d{1,2} [A-Z][a-z]{2} \d{4}$"))
            assert page.evaluate("scrollY") == 0, "who the patient is stands in sight"
        assert _serious(page) == [], path
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0], path
    assert wrong == []
    page.close()
