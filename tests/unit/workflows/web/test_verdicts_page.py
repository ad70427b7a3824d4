"""The review on the study page, in a real browser: by keyboard alone, by two readers, through what goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from sqlalchemy import select

from tests.scene import make_scene, scene_node
from tests.services import missing
from tests.unit.workflows.steps.test_proposals import by_a_person, own_seg, send, without_some_pixels
from tests.unit.workflows.web.reviewing import copied, served, sign_and_write, study_of, volume_jobs
from workflows.bootstrap import Node
from workflows.state.reviewing import Review, ReviewState
from workflows.state.tables import JobRow

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
pytestmark = [pytest.mark.service("chromium"), pytest.mark.slow]
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Node:
    folder = tmp_path_factory.mktemp("scene")
    node = scene_node(folder / "data")
    make_scene(node, folder / "images")
    return node


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.is_file():
        missing("chromium", "chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def node(scene: Node, tmp_path: Path) -> Iterator[Node]:
    node = copied(scene, tmp_path)
    yield node
    node.repository.close()


@pytest.fixture
def open_as(node: Node, browser: Browser) -> Iterator[Open]:
    """Opens the study as somebody, in a browser of their own; nothing may go wrong in its console."""
    contexts, told = [], []
    with served(node) as address:

        def open_page(who: str) -> Page:
            context = browser.new_context(viewport={"width": 1366, "height": 768})
            context.add_cookies([{"name": "who", "value": who, "url": address}])
            contexts.append(context)
            page = context.new_page()
            page.on("pageerror", lambda error: told.append(str(error)))
            page.goto(f"{address}/studies/{study_of(node)}")
            expect(page.locator(".finding.on")).to_be_visible()
            page.wait_for_selector("html[data-ready]")  # it knows its review and has its keys
            return page

        yield open_page
        for context in contexts:
            context.close()
    assert told == []


def review(node: Node) -> Review | None:
    return node.repository.review(study_of(node))


def given(page: Page) -> str:
    return page.locator(".finding.on .given").inner_text()


def saved(page: Page) -> None:
    expect(page.locator("#review-told")).to_contain_text("A draft of")


def test_a_whole_review_by_keyboard_alone(node: Node, open_as: Open) -> None:
    page = open_as("alpha")
    expect(page.locator("#sign-text")).to_have_text("Sign: 8 findings to judge")
    page.keyboard.press("o")
    assert given(page).startswith("✎ Outline wrong")
    page.keyboard.press("u")
    expect(page.locator(".finding.on .given")).to_be_hidden()
    page.keyboard.press("w")
    expect(page.locator(".finding.on .rightly")).to_be_focused()
    page.keyboard.type("pancreas")
    page.keyboard.press("Enter")
    assert given(page) == "⇄ Is pancreas"
    page.keyboard.press("j")
    page.keyboard.press("x")
    page.keyboard.press("r")
    page.keyboard.type("vessel")
    page.keyboard.press("Enter")
    assert given(page) == "✕ Not there · vessel"
    page.keyboard.press("Control+Enter")
    expect(page.locator("#review-told")).to_contain_text("No verdict yet on liver")
    page.keyboard.press("m")
    page.keyboard.type("kidney left")
    page.keyboard.press("Enter")
    expect(page.locator("#missed-list li")).to_contain_text("kidney left, slice")
    page.keyboard.press("A")
    expect(page.locator("#sign-text")).to_have_text("Sign: accept 6 findings, rename 1, take out 1 and 1 missed")
    expect(page.locator("#sign-sends")).to_contain_text("no archive is configured")
    saved(page)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#review-told")).to_contain_text("Signed. It is written and sent in")
    signed = review(node)
    assert signed is not None
    assert signed.state is ReviewState.SIGNED
    assert sorted(one.kind.value for one in signed.verdicts) == ["accept"] * 6 + ["name", "not-there"]
    assert [(one.label, one.answer) for one in signed.missed] == [("kidney left", 1)]
    page.keyboard.press("u")
    saved(page)
    undone = review(node)
    assert undone is not None
    assert undone.state is ReviewState.DRAFT


def test_something_missed_is_where_it_was_clicked(node: Node, open_as: Open) -> None:
    page = open_as("alpha")
    page.keyboard.press("m")
    page.locator("#stage canvas").click(position={"x": 400, "y": 300})
    expect(page.locator("#missed-where")).to_contain_text("Marked where you clicked")
    expect(page.locator("#stage[data-pointed]")).to_be_visible()
    page.locator("#missed-label").select_option("pancreas")
    page.get_by_role("button", name="Keep").click()
    saved(page)
    draft = review(node)
    assert draft is not None
    (miss,) = draft.missed
    assert (miss.label, miss.correction) == ("pancreas", None)
    assert (miss.row, miss.column) != (0, 0)


def test_a_draft_survives_a_closed_page_and_a_node_that_was_away(node: Node, open_as: Open) -> None:
    page = open_as("alpha")
    page.keyboard.press("a")
    saved(page)
    page.context.set_offline(True)
    page.keyboard.press("j")
    page.keyboard.press("x")
    expect(page.locator("#review-told")).to_contain_text("What you did is kept here")
    page.context.set_offline(False)
    page.reload()
    saved(page)
    expect(page.locator(".given", has_text="Not there")).to_have_count(1)
    expect(page.locator(".given", has_text="Accepted")).to_have_count(1)


def test_a_session_that_ends_amid_a_verdict_loses_nothing(node: Node, open_as: Open) -> None:
    page = open_as("alpha")
    address = page.url
    root = address.partition("/studies/")[0]
    page.context.add_cookies([{"name": "who", "value": "nobody", "url": root}])
    page.keyboard.press("x")
    expect(page.locator("body")).to_contain_text("You are signed out. What you did here is kept in this browser.")
    assert review(node) is None
    page.context.add_cookies([{"name": "who", "value": "alpha", "url": root}])
    page.goto(address)
    saved(page)
    draft = review(node)
    assert draft is not None
    assert [one.kind.value for one in draft.verdicts] == ["not-there"]


def test_two_readers_are_told_of_each_other_and_choose(node: Node, open_as: Open) -> None:
    alpha, beta = open_as("alpha"), open_as("beta")
    expect(beta.locator("#review-open")).to_have_text("Also open: Reader, Alpha")
    alpha.keyboard.press("a")
    saved(alpha)
    beta.keyboard.press("x")
    expect(beta.locator("#review-notice-text")).to_contain_text("Alpha Reader changed this review")
    beta.get_by_role("button", name="Put mine in its place").click()
    expect(beta.locator("#review-told")).to_contain_text("A draft of Beta Reader")
    alpha.keyboard.press("o")
    expect(alpha.locator("#review-notice-text")).to_contain_text("Beta Reader changed this review")
    alpha.get_by_role("button", name="Take what is there now").click()
    expect(alpha.locator(".finding.on .given")).to_have_text("✕ Not there")
    expect(alpha.get_by_role("button", name="Take it over")).to_be_visible()
    draft = review(node)
    assert draft is not None
    assert draft.reviewer == "beta"


def test_a_proposed_correction_is_seen_and_confirmed(node: Node, open_as: Open) -> None:
    study_uid = study_of(node)
    job = volume_jobs(node, study_uid)[0]
    send(node, without_some_pixels(by_a_person(own_seg(node, job))))
    page = open_as("alpha")
    block = page.locator(f'.verdict[data-verdict="{job.job_key}/0/0"]')
    expect(block.locator(".proposal")).to_contain_text("Proposed by Reader, Beta: another outline.")
    block.get_by_role("button", name="Show it").dispatch_event("click")
    expect(block.locator(".proposal")).to_be_visible()
    block.get_by_role("button", name="Confirm").click()
    expect(block.locator(".given")).to_contain_text("Outline wrong, corrected")
    expect(block.locator(".proposal")).to_have_count(0)
    draft = review(node)
    assert draft is not None
    (verdict,) = draft.verdicts
    assert [one.digest for one in node.repository.corrections(study_uid)] == [verdict.correction]


def test_a_viewer_sees_what_was_said_and_has_no_keys_for_it(node: Node, open_as: Open) -> None:
    alpha = open_as("alpha")
    alpha.keyboard.press("a")
    saved(alpha)
    viewer = open_as("viewer")
    expect(viewer.locator(".given", has_text="Accepted")).to_have_count(1)
    viewer.keyboard.press("x")
    viewer.keyboard.press("Control+Enter")
    expect(viewer.locator(".given", has_text="Not there")).to_have_count(0)
    expect(viewer.locator("#sign")).to_have_count(0)


def test_results_that_changed_since_the_page_was_loaded_take_no_verdict_until_it_is_loaded_again(
    node: Node, open_as: Open
) -> None:
    page = open_as("alpha")
    expect(page.locator("#sign-text")).to_have_text("Sign: 8 findings to judge")
    page.keyboard.press("A")
    saved(page)
    with node.repository._writing() as session:
        for job in session.scalars(select(JobRow).where(JobRow.study_uid == study_of(node))):
            job.answers = [{**answer, "answer": "read otherwise"} for answer in job.answers]
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # as when one comes back to the page
    expect(page.locator("#review-notice-text")).to_contain_text("changed since this page was loaded")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#review-notice")).to_be_visible()
    now = review(node)
    assert now is not None and now.state is ReviewState.DRAFT
    page.get_by_role("button", name="Load the page again").click()
    expect(page.locator("#review-notice")).to_be_hidden()
    expect(page.locator("#review-told")).to_contain_text("A draft of")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#review-told")).to_contain_text("Signed")


def test_what_is_signed_and_written_is_read_only_until_somebody_amends_it(node: Node, open_as: Open) -> None:
    sign_and_write(node, {})
    page = open_as("alpha")
    expect(page.locator("#review-told")).to_contain_text("Signed by")  # the page knows the review
    page.keyboard.press("x")
    expect(page.locator("#review-told")).to_contain_text("Amend begins a further review")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#sign")).to_be_hidden()
    written = review(node)
    assert written is not None and written.state is ReviewState.WRITTEN
    page.get_by_role("button", name="Amend").click()
    expect(page.locator("#amend-asked")).to_contain_text("replaces the earlier one")
    page.locator("#amend-asked").get_by_role("button", name="Amend").click()
    saved(page)
    page.keyboard.press("x")
    assert given(page) == "✕ Not there"
    saved(page)
    page.get_by_role("button", name="Discard this draft").click()
    page.locator("#discard-asked").get_by_role("button", name="Discard", exact=True).click()
    expect(page.locator("#review-told")).to_contain_text("written")
    assert review(node) == written
    assert given(page) == "✓ Accepted"


def test_the_keys_of_drawing_are_among_all_keys(node: Node, open_as: Open) -> None:
    page = open_as("alpha")
    page.keyboard.press("?")
    expect(page.locator("#keys tr", has_text="while drawing: eraser")).to_have_count(1)
    expect(page.locator("#keys tr", has_text="while drawing")).to_have_count(9)


def test_the_right_name_is_chosen_from_those_that_were_asked_for_first(node: Node, open_as: Open) -> None:
    page = open_as("alpha")
    page.keyboard.press("w")
    groups = page.locator(".finding.on .rightly optgroup")
    assert groups.first.get_attribute("label") == "Asked of these images"
    assert "spleen" in groups.first.locator("option").all_inner_texts()
    expect(page.locator(".finding.on .rightly")).to_be_in_viewport()
