"""Three planes and drawing in a real browser: what is drawn is what the node keeps, voxel for voxel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import numpy as np
import pytest
from playwright.sync_api import Browser, Dialog

from tests.scene import make_scene, scene_node
from tests.unit.workflows.web.drawing_page import (
    DrawingPage,
    application,
    chromium,
    jobs_of,
    mask_of,
    saved_mask,
    serving,
)
from workflows.bootstrap import Node
from workflows.state.records import Job
from workflows.web.pages.drawing import NIIVUE

pytestmark = [pytest.mark.service("chromium"), pytest.mark.slow]

Place = tuple[int, int, int]
SERIES = ["TEST axial", "TEST oblique"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, dict[str, Job]]]:
    folder = tmp_path_factory.mktemp("scene")
    node = scene_node(folder / "data")
    (body,) = make_scene(node, folder / "images")
    yield node, jobs_of(node, body.study_uid)
    node.repository.close()


@pytest.fixture
def open_page(read: tuple[Node, dict[str, Job]], browser: Browser) -> Iterator[Callable[..., DrawingPage]]:
    if not NIIVUE.is_file():
        from tests.services import missing

        missing("Niivue", "npm, then make web-assets")
    with ExitStack() as stack:

        def opened(series: str, mode: str = "draw") -> DrawingPage:
            node, jobs = read
            address = stack.enter_context(serving(application(node, jobs[series])))
            context = browser.new_context(viewport={"width": 1366, "height": 768})
            stack.callback(context.close)
            page = DrawingPage(context.new_page(), address)
            page.open(mode)
            return page

        yield opened


def box(shape: tuple[int, int, int], axis: int, depth: int) -> tuple[list[Place], np.ndarray]:
    """Corners of a box in a plane, as column row slice, and the mask `slices rows columns` that it fills."""
    columns, rows, slices = shape[2], shape[1], shape[0]
    u, v = [one for one in (0, 1, 2) if one != axis]
    dims = (columns, rows, slices)
    low, high = [length // 3 for length in dims], [max(length // 3 + 2, length // 2) for length in dims]
    corners = []
    for a, b in ((low[u], low[v]), (high[u], low[v]), (high[u], high[v]), (low[u], high[v])):
        place = [depth, depth, depth]
        place[u], place[v] = a, b
        corners.append((place[0], place[1], place[2]))
    mask = np.zeros(shape, dtype=bool)
    ends = [slice(low[n], high[n] + 1) if n != axis else slice(depth, depth + 1) for n in (2, 1, 0)]
    mask[tuple(ends)] = True
    return corners, mask


@pytest.mark.parametrize("axis", [2, 1, 0], ids=["slices", "rows", "columns"])
@pytest.mark.parametrize("series", SERIES)
def test_a_box_filled_in_a_plane_is_kept_voxel_for_voxel(read, open_page, series: str, axis: int) -> None:
    node, jobs = read
    page = open_page(series)
    page.choose("finding", "")
    page.page.wait_for_function("() => drawing.target.place === '' && drawing.mask.count === 0")
    shape = mask_of(node, jobs[series], 0, 0).shape
    corners, wanted = box(shape, axis, shape[2 - axis] // 2 - 2)
    page.page.keyboard.press("f")
    page.drag(corners, axis)
    told = page.save()
    assert told["place"] is None and told["voxels"] == wanted.sum()
    np.testing.assert_array_equal(saved_mask(node, jobs[series].study_uid, told["digest"]), wanted)
    assert [line for line in page.console if "Content Security Policy" in line or "pageerror" in line] == []


@pytest.mark.parametrize("series", ["TEST tilted gantry", "TEST projection"])
def test_what_is_no_volume_is_drawn_on_by_slice(read, open_page, series: str) -> None:
    node, jobs = read
    page = open_page(series)
    page.choose("finding", "")
    page.page.wait_for_function("() => drawing.target.place === '' && drawing.mask.count === 0")
    shape = mask_of(node, jobs[series], 0, 0).shape
    corners, wanted = box(shape, 2, shape[0] // 2)
    page.page.keyboard.press("f")
    page.drag(corners, 2)
    told = page.save()
    np.testing.assert_array_equal(saved_mask(node, jobs[series].study_uid, told["digest"]), wanted)


@pytest.mark.parametrize("series", SERIES)
def test_brush_eraser_undo_and_redo_do_what_they_say(read, open_page, series: str) -> None:
    node, jobs = read
    page = open_page(series)
    before = mask_of(node, jobs[series], 0, 0)
    depth, row = before.shape[0] // 2, 2
    line = [(column, row, depth) for column in range(3, 12)]
    for _ in range(4):
        page.page.keyboard.press("[")
    page.drag(line, 2)
    page.page.keyboard.press("e")
    page.drag(line[2:4], 2)
    drawn = before.copy()
    drawn[depth, row, 3:12] = True
    drawn[depth, row, 5:7] = False
    told = page.save()
    np.testing.assert_array_equal(saved_mask(node, jobs[series].study_uid, told["digest"]), drawn)
    assert told["place"] == f"{jobs[series].job_key}/0/0"

    page.page.keyboard.press("z")
    page.page.keyboard.press("u")
    assert page.page.evaluate("[drawing.mask.added, drawing.mask.removed]") == [0, 0]
    page.page.keyboard.press("y")
    drawn[depth, row, 5:7] = True
    told = page.save()
    np.testing.assert_array_equal(saved_mask(node, jobs[series].study_uid, told["digest"]), drawn)


def test_a_brush_is_as_wide_as_it_says(open_page) -> None:
    page = open_page("TEST axial")
    page.choose("finding", "")
    page.page.wait_for_function("() => drawing.target.place === '' && drawing.mask.count === 0")
    extent = """() => Math.max(...[0, 1].map((axis) => [...drawing.mask.voxels.keys()].filter((i) => {
        const { dims, voxels } = drawing.mask;
        const place = [i % dims[0], Math.floor(i / dims[0]) % dims[1]];
        return voxels[i] && place[axis] === 20;
    }).length))"""
    for size in (1, 3, 5, 9):
        page.page.evaluate("(size) => { drawing.size = size; }", size)
        page.drag([(20, 20, 5)], 2)
        assert page.page.evaluate(extent) == size
        page.page.keyboard.press("z")
        assert page.page.evaluate("drawing.mask.count") == 0


def test_a_click_fills_a_closed_outline_and_no_open_one(open_page) -> None:
    page = open_page("TEST axial")
    page.choose("finding", "")
    page.page.wait_for_function("() => drawing.target.place === '' && drawing.mask.count === 0")
    for _ in range(4):
        page.page.keyboard.press("[")
    ring = [(10, 10, 4), (20, 10, 4), (20, 20, 4), (10, 20, 4)]
    page.drag(ring, 2)
    page.page.keyboard.press("f")
    page.drag([(15, 15, 4)], 2)
    assert "open" in page.page.inner_text("[data-part=words]") and page.page.evaluate("drawing.mask.count") == 31
    page.page.keyboard.press("b")
    page.drag([ring[3], ring[0]], 2)
    page.page.keyboard.press("f")
    page.drag([(15, 15, 4)], 2)
    assert page.page.evaluate("drawing.mask.count") == 121
    assert page.page.inner_text("[data-part=count]").startswith("121 voxels")


def test_a_draft_outlives_the_page_and_leaving_asks(open_page) -> None:
    page = open_page("TEST axial")
    page.drag([(3, 3, 5), (9, 3, 5)], 2)
    page.page.wait_for_function("() => document.getElementById('drawing').dataset.kept > 0")
    count = page.page.evaluate("drawing.mask.count")
    page.page.keyboard.press("Escape")
    page.page.wait_for_selector("[data-part=ask][open]")
    page.page.click("[data-part=ask] button:has-text('Go on')")
    assert page.page.is_visible("#drawing")

    def leave(dialog: Dialog) -> None:
        dialog.accept()

    page.page.on("dialog", leave)
    page.page.reload()
    page.open("draw")
    page.page.wait_for_function("(count) => drawing.mask.count === count", arg=count)
    assert "draft" in page.page.inner_text("[data-part=words]")
    told = page.save()
    assert told["voxels"] == count
    page.page.reload()
    page.open("draw")
    assert page.page.evaluate("drawing.mask.changed") is False


def test_a_correction_that_is_refused_stays_in_the_browser(open_page) -> None:
    page = open_page("TEST axial")
    page.drag([(3, 3, 5), (9, 3, 5)], 2)
    refusal = {"status": 409, "json": {"detail": "a correction on another grid: draw on this series' own grid."}}
    page.page.route("**/corrections", lambda route: route.fulfill(**refusal))
    page.page.keyboard.press("s")
    page.page.wait_for_selector(".words.bad")
    assert "kept in this browser" in page.page.inner_text("[data-part=words]")
    assert page.page.evaluate("drawing.mask.changed")


def test_planes_show_every_finding_in_its_colour(open_page) -> None:
    page = open_page("TEST oblique", "planes")
    page.page.wait_for_function("() => new Set(drawing.view.nv.drawBitmap).size === 3")
    assert len(page.page.evaluate("drawing.view.nv.volumes[0].permRAS")) == 3
    assert not page.page.is_visible("[data-part=save]")
