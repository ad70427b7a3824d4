"""The worklist in a real browser: keys alone, live changes, a search without an address, sizes, a screen reader's tree.

MEDSEG_SCREENSHOTS names a folder that pictures are kept in.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from dicom_node.headers.patient import Patient
from tests.services import await_true, free_port
from tests.unit.workflows.web.conftest import OpenDoor
from tests.unit.workflows.web.test_worklist import receive
from workflows.bootstrap import Node
from workflows.state.worklist_records import Chip, ShownState, Tab
from workflows.steps.worklist import refresh
from workflows.web.access import Person, Role
from workflows.web.app import create_app
from workflows.web.refreshing import Refresher, changes_of

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.service("chromium")

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
STUDIES = 6


@pytest.fixture
def address(node: Node) -> Iterator[str]:
    """The pages of a node with some studies, served for real."""
    for number in range(STUDIES):
        receive(node, number, name=f"PHANTOM^{('Alpha', 'Beta', 'Gamma', 'Delta', 'Epsilon', 'Zeta')[number]}")
    refresh(node.repository, node.folder)
    stop, port = threading.Event(), free_port()
    app = create_app(node, OpenDoor(Person("reader", "Test^Reader", Role.REVIEWER, "token")))
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", timeout_graceful_shutdown=2))
    threads = [threading.Thread(target=server.run), threading.Thread(target=Refresher(node).run, args=(stop,))]
    for thread in threads:
        thread.start()
    await_true(lambda: server.started, "the server is up")
    yield f"http://127.0.0.1:{port}/worklist"
    stop.set()
    server.should_exit = True
    for thread in threads:
        thread.join()


@pytest.fixture
def page(address: str) -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip("no chromium: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1366, "height": 768})
        broken: list[str] = []
        page.on("pageerror", lambda error: broken.append(str(error)))
        page.route("**/thumbnail*", lambda route: route.fulfill(status=404))
        page.goto(address)
        page.wait_for_selector("html[data-ready]")
        yield page
        assert not broken
        browser.close()


def selected(page: Any) -> str:
    return str(page.locator("tr[aria-selected=true]").get_attribute("data-study"))


def shows(page: Any, studies: int) -> None:
    """The list has so many rows in the end; asked from outside, since the page may evaluate no text."""
    sync_api.expect(page.locator("tr[data-study]")).to_have_count(studies)


def make_ready(node: Node, number: int, **values: Any) -> None:
    """Show a study as one that is to be reviewed."""
    row = node.repository.worklist_row(f"1.2.{number}")
    assert row is not None
    chips = (
        Chip("liver", "#ff695a", "706 ml", True, 0.83, "", False, False, 1, "liver: at least 706 ml"),
        Chip("spleen", "#00ff00", "249 ml", False, 0.88, "▲ 12 %", True, False, 1, "spleen: 249 ml"),
        Chip("kidney left", "#e100ff", "", False, 0.2, "", False, True, 1, "kidney left: low confidence"),
    )
    plain = {"state": ShownState.TO_REVIEW, "tab": Tab.REVIEW, "chips": chips, "questions": 6, "answered": 6}
    node.repository.keep_worklist_rows([replace(row, **{**plain, **values})])
    changes_of(node).tell([row.study_uid])


def test_everything_is_done_with_keys(page: Any) -> None:
    page.keyboard.press("j")
    assert selected(page) == "1.2.1"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("k")
    assert selected(page) == "1.2.1"
    assert page.evaluate("document.activeElement.dataset.study") == "1.2.1"
    page.keyboard.press("End")
    assert selected(page) == f"1.2.{STUDIES - 1}"
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("4")
    page.wait_for_selector("text=Nothing needs attention.")
    assert page.url.endswith("?tab=attention")
    page.go_back()
    page.wait_for_selector("tr[data-study]")
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    page.wait_for_url("**/studies/1.2.0")


def test_a_search_finds_without_an_address_and_is_there_when_one_comes_back(page: Any) -> None:
    page.keyboard.press("/")
    page.keyboard.type("gámma")
    shows(page, 1)
    assert "mma" not in page.url
    page.reload()
    shows(page, 1)
    page.locator("#search").focus()
    page.keyboard.press("Escape")
    shows(page, STUDIES)


def test_a_change_shows_by_itself_and_keeps_selection_focus_and_scroll(page: Any, node: Node) -> None:
    page.set_viewport_size({"width": 1366, "height": 420})
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.evaluate("document.getElementById('list').scrollTop = 60")
    untouched = page.locator("tr[data-study='1.2.0']").element_handle()
    receive(node, 9, name="PHANTOM^Newcomer")
    page.wait_for_selector("tr[data-study='1.2.9']")
    assert selected(page) == "1.2.2"
    assert page.evaluate("document.activeElement.dataset.study") == "1.2.2"
    assert page.evaluate("document.getElementById('list').scrollTop") == 60
    assert untouched.evaluate("row => row.isConnected")  # what did not change was not drawn again
    assert page.locator("#told").text_content() == f"To review: 0 studies; being read: {STUDIES + 1} studies"


def test_filters_stand_in_the_address_and_going_back_undoes_them(page: Any) -> None:
    page.get_by_label("CT").check()
    page.wait_for_url("**/worklist?modality=CT")
    page.get_by_label("STAT").check()
    page.wait_for_selector("text=No study matches.")
    page.go_back()
    page.wait_for_selector("tr[data-study]")
    assert page.get_by_label("CT").is_checked() and not page.get_by_label("STAT").is_checked()


def test_accepting_all_asks_once_signs_and_can_be_undone(page: Any, node: Node) -> None:
    asked: list[tuple[str, str, Any]] = []
    review = {
        "base": None, "review": None, "mine": True, "may": True, "stale": "", "unread": 0, "results": "r1",
        "places": {"k/0/0": "liver"}, "destinations": {"k": ["pacs"]},
    }  # fmt: skip

    def answer(route: Any) -> None:
        request = route.request
        asked.append((request.method, request.url.partition("/studies/")[2], request.post_data_json))
        base = None if len(asked) == 1 else [1, len(asked)]
        route.fulfill(status=200, content_type="application/json", body=json.dumps({**review, "base": base}))

    page.route("**/studies/**/review**", answer)
    page.keyboard.press("a")  # of a study that is still received
    page.wait_for_selector("text=nothing to accept")
    assert not asked
    make_ready(node, 0)
    page.wait_for_selector("tr[data-study='1.2.0'][data-state='to-review']")
    page.reload()
    page.wait_for_selector("html[data-ready]")
    page.keyboard.press("Home")
    page.keyboard.press("a")
    page.wait_for_selector("#accept[open]")
    assert "Sends a verified report to pacs." in page.locator("#accept").text_content()
    assert [method for method, _, _ in asked] == ["GET"]  # nothing is given before one has said so
    assert "patient ID" in page.locator("#accept").text_content()
    page.keyboard.press("Enter")  # by habit: it signs nothing
    page.wait_for_selector("#accept:not([open])", state="attached")
    assert [method for method, _, _ in asked] == ["GET"]
    asked.clear()
    page.keyboard.press("a")
    page.wait_for_selector("#accept[open]")
    page.keyboard.press("s")
    page.wait_for_selector("text=Accepted and signed.")
    assert [(method, path) for method, path, _ in asked[1:]] == [("PUT", "1.2.0/review"), ("POST", "1.2.0/review/sign")]
    assert asked[1][2] == {"base": None, "verdicts": [{"place": "k/0/0", "kind": "accept"}], "missed": []}
    assert asked[2][2] == {"base": [1, 2], "results": "r1"}
    page.keyboard.press("u")
    page.locator("#toasts", has_text="Undone").wait_for()
    assert asked[-1][:2] == ("POST", "1.2.0/review/undo")


def test_who_is_signed_out_is_told_so_and_a_node_that_is_away_is_asked_again(page: Any) -> None:
    page.route("**/worklist/rows*", lambda route: route.abort())
    page.keyboard.press("2")
    page.wait_for_selector("#trouble:visible")
    assert "does not answer" in page.locator("#trouble").text_content()
    page.unroute("**/worklist/rows*")
    page.wait_for_selector("#trouble", state="hidden")
    page.route("**/worklist/rows*", lambda route: route.fulfill(status=401, content_type="application/json", body="{}"))
    page.keyboard.press("1")
    page.wait_for_selector("#trouble a")
    assert "signed out" in page.locator("#trouble").text_content()


def test_a_hostile_name_does_nothing_and_turns_nothing_round(page: Any, node: Node) -> None:
    name = "<img src=x onerror=document.title='x'>\u202eevil^" + "W" * 65_536
    receive(node, 8, patient=Patient("<b>8</b>", name=name), accession_number='"><script>document.title="x"</script>')
    page.wait_for_selector("tr[data-study='1.2.8']")
    assert page.title() == "Worklist"
    assert page.locator("tr[data-study='1.2.8'] img").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") == 1366


@pytest.mark.parametrize(("width", "height", "name"), [(1366, 768, "worklist"), (820, 1180, "worklist-tablet")])
def test_it_fits_and_axe_finds_nothing_serious(page: Any, node: Node, width: int, height: int, name: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    make_ready(node, 0, changed=True)
    make_ready(node, 1, description="MR heart, short axis cine", modalities=("MR",), not_seen=2, not_assessed=1)
    held = {"state": ShownState.HELD, "attention": "Two Patient IDs.", "remedy": "Send the corrected images."}
    make_ready(node, 2, chips=(), answered=0, **held)
    page.set_viewport_size({"width": width, "height": height})
    page.reload()
    page.wait_for_selector("html[data-ready]")
    page.keyboard.press("j")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate("document.documentElement.scrollHeight") == height
    found = Axe().run(page).response["violations"]
    serious = [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")]
    assert not serious
    kept = os.environ.get("MEDSEG_SCREENSHOTS")
    if kept:
        page.screenshot(path=Path(kept) / f"{name}.png")
