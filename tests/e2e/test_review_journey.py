"""A review's whole way: Orthanc -> the node -> a radiologist's browser -> Orthanc.

Everything is real: Orthanc with the shipped script, RabbitMQ, PostgreSQL, the node by its commands, Debian's chromium,
accounts with passwords. The studies are the commissioning body; what is seen in them are their bright marks.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from playwright.sync_api import Browser, expect

from dicom_node.commissioning.body import Body
from dicom_node.results.stored_segmentation import read_segment_points
from tests.e2e.reviewing import (
    PASSWORD,
    PATIENCE_MS,
    Desk,
    StudyDrawing,
    edited_elsewhere,
    errors_of,
    findings_of,
    objects_of,
    of_series,
    phantom,
    points_of,
    taken_back,
    uids_of,
    verified,
)  # fmt: skip
from tests.e2e.test_orthanc_journey import COMMAND, in_order
from tests.services import await_true, missing
from tests.unit.workflows.web.drawing_page import chromium
from workflows.web.pages.drawing import NIIVUE

if TYPE_CHECKING:
    from tests.e2e.conftest import Hospital

READER, NAME = "reader", "PHANTOM^Reader"
PEOPLE = {READER: NAME, "second": "PHANTOM^Second"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="class")
def hospital(commissioning: Hospital) -> Hospital:
    """With two people who may review."""
    if not NIIVUE.is_file():
        missing("Niivue", "npm, then make web-assets")
    for account, name in PEOPLE.items():
        commissioning.node.add_account(account, "reviewer", name, PASSWORD)
    return commissioning


@pytest.fixture
def desk(browser: Browser, hospital: Hospital) -> Iterator[Desk]:
    """The reader, signed in."""
    desk = Desk(browser, hospital, READER)
    desk.sign_in()
    yield desk
    desk.close()


@pytest.fixture
def small(hospital: Hospital, tmp_path: Path, request: pytest.FixtureRequest) -> Body:
    """A study of one oblique series, read and delivered."""
    body = phantom(tmp_path, f"Of{abs(hash(request.node.name)) % 10_000}", ["oblique"])
    hospital.send(body.files)
    hospital.await_delivered(str(body.study_uid))
    return body


class TestReview:
    """One hospital, and what its readers say."""

    def test_accepted_corrected_and_rejected_in_the_page_and_then_in_the_archive(
        self, hospital: Hospital, desk: Desk, tmp_path: Path
    ) -> None:
        node, page = hospital.node, desk.page
        body = phantom(tmp_path, "One")
        study_uid = hospital.send(body.files)
        accepted, corrected, rejected, projection = body.series
        assert (accepted.name, corrected.name) == ("axial", "oblique")
        # The worklist shows it by itself, without being loaded again.
        row = page.locator(f'tr[data-study="{study_uid}"]')
        expect(row).to_contain_text("to review", timeout=200_000)
        await_true(lambda: node.state(study_uid) == "DELIVERED", "the study's results in the archive", 200)
        before = objects_of(hospital, study_uid)
        row.focus()
        page.keyboard.press("Enter")
        page.wait_for_url("**/studies/**")
        study = desk.shown()
        places = {series.name: findings_of(study, series)[0] for series in body.series}

        desk.go_to(places[rejected.name], 4)
        page.keyboard.press("x")
        desk.go_to(places[corrected.name], 4)
        page.keyboard.press("d")
        drawing = StudyDrawing(page)
        for tool in page.locator(".drawing [data-tool]").all():
            expect(tool).to_be_in_viewport(ratio=1)
        drawing.begin(places[corrected.name])
        page.keyboard.press("f")
        depth = len(corrected.images) // 2
        corners = [(10, 12), (30, 12), (30, 26), (10, 26)]
        drawing.drag([(column, row, depth) for column, row in corners], 2)
        drawn = drawing.marked()
        assert {(depth, row, column) for column in range(12, 29) for row in range(14, 25)} <= set(map(tuple, drawn))
        assert drawing.save()["voxels"] == len(drawn)
        page.keyboard.press("Escape")
        page.keyboard.press("A")  # all that is left
        desk.sign()

        known = {one.SOPInstanceUID for one in before}
        old = [str(one.SOPInstanceUID) for series in (corrected, rejected) for one in of_series(before, series)]
        await_true(
            lambda: len(taken_back(hospital, study_uid)) >= len(old), "what does not stand is taken back", 120, 0.5
        )
        await_true(lambda: node.state(study_uid) == "DELIVERED", "all is delivered", 60)
        new = [one for one in objects_of(hospital, study_uid) if one.SOPInstanceUID not in known]
        of = {series.name: of_series(new, series) for series in body.series}
        kinds = {name: sorted(str(one.Modality) for one in objects) for name, objects in of.items()}
        assert kinds == {
            accepted.name: ["SR"], corrected.name: ["SEG", "SR"], rejected.name: [], projection.name: ["SR"],
        }, "each once"  # fmt: skip

        for series in (accepted, corrected, projection):
            (report,) = verified(of[series.name])
            (observer,) = report.VerifyingObserverSequence
            assert (observer.VerifyingObserverName, observer.VerifyingOrganization) == (NAME, "PHANTOM Hospital")
            unverified = {one.SOPInstanceUID for one in of_series(before, series) if one.Modality == "SR"}
            (study_item,) = report.PredecessorDocumentsSequence
            (series_item,) = study_item.ReferencedSeriesSequence
            (predecessor,) = series_item.ReferencedSOPSequence
            assert {predecessor.ReferencedSOPInstanceUID} == unverified
        (segmentation,) = [one for one in of[corrected.name] if one.Modality == "SEG"]
        assert segmentation.ContentCreatorName == NAME
        assert segmentation.SegmentSequence[0].SegmentAlgorithmType == "SEMIAUTOMATIC"
        (old_seg,) = [one for one in of_series(before, corrected) if one.Modality == "SEG"]
        assert segmentation.SegmentSequence[0].TrackingUID == old_seg.SegmentSequence[0].TrackingUID
        series_uid, points = read_segment_points(Path(str(segmentation.filename)))
        assert series_uid == corrected.series_uid
        np.testing.assert_allclose(in_order(points), in_order(points_of(corrected, drawn)), atol=0.011)
        assert sorted(taken_back(hospital, study_uid)) == sorted(old), "each of them once, and nothing else"
        assert [(one.Modality, errors) for one in new if (errors := errors_of(one))] == []

        doubled = node.query(
            "SELECT o.kind FROM deliveries d JOIN result_objects o USING (sop_instance_uid) JOIN jobs j"
            " ON j.job_key = d.job_key WHERE j.study_uid = %s AND d.attempts <> 1", study_uid,
        )  # fmt: skip
        assert doubled == [], "each is sent once"
        explained = subprocess.run(
            [COMMAND, "explain", study_uid, "--config", str(node.config)],
            capture_output=True, text=True, timeout=120, check=True,
        ).stdout  # fmt: skip
        told = " ".join(explained.split())
        assert f"review 1 by {NAME}: 1 not-there, 1 outline, 2 accept; written at" in told
        page.goto(f"{node.pages}/worklist?tab=reviewed")
        expect(row).to_contain_text("partly accepted")
        for role in node.processes:
            assert "PHANTOM^One" not in node.log(role), f"a patient's name in the log of {role}"

    def test_asked_again_and_kept_goes_to_the_archive_and_what_is_not_kept_does_not(
        self, hospital: Hospital, desk: Desk, small: Body
    ) -> None:
        page, study_uid = desk.page, small.study_uid
        before = uids_of(hospital, study_uid)
        desk.open(study_uid)
        asked = desk.ask("Is anything bright near the heart?")
        assert uids_of(hospital, study_uid) == before, "nothing is sent of a preliminary answer"
        asked.get_by_role("button", name="Keep", exact=True).click()
        expect(asked).to_contain_text("Kept and sent.", timeout=PATIENCE_MS)
        expect(page.locator(".verdict")).to_have_count(2)  # what was kept is judged as the rest is
        expect(page.locator("#sign-text")).to_have_text("Sign: 2 findings to judge")
        kept = [one for one in objects_of(hospital, study_uid) if one.SOPInstanceUID not in before]
        assert sorted(str(one.Modality) for one in kept) == ["SEG", "SR"]
        (report,) = [one for one in kept if one.Modality == "SR"]
        assert "Is anything bright near the heart?" in report.to_json()
        assert [(one.Modality, errors) for one in kept if (errors := errors_of(one))] == []

        after = uids_of(hospital, study_uid)
        other = desk.ask("And near the feet?")
        other.get_by_role("button", name="Do not keep").click()
        expect(page.locator("#asked .question")).to_have_count(1)
        assert uids_of(hospital, study_uid) == after
        told = hospital.node.query(
            "SELECT action, count(*) FROM audit WHERE study_uid = %s"
            " AND action IN ('ask', 'keep-answer', 'drop-answer') GROUP BY action ORDER BY action", study_uid,
        )  # fmt: skip
        assert told == [("ask", 2), ("drop-answer", 1), ("keep-answer", 1)]

    def test_two_readers_see_each_other_and_a_stale_save_is_refused_with_what_changed(
        self, hospital: Hospital, desk: Desk, browser: Browser, small: Body
    ) -> None:
        study_uid = small.study_uid
        desk.open(study_uid)
        other = Desk(browser, hospital, "second")
        other.sign_in()
        expect(other.page.locator(f'tr[data-study="{study_uid}"]')).to_contain_text("PHANTOM, Reader")
        other.page.route("**/events", lambda route: route.abort())
        other.open(study_uid)
        expect(other.page.locator("#review-open")).to_contain_text("Also open: PHANTOM, Reader", timeout=PATIENCE_MS)
        other.page.route("**/open", lambda route: route.abort())  # it does not hear of what comes
        desk.page.keyboard.press("x")
        desk.saved()
        other.page.keyboard.press("a")
        notice = other.page.locator("#review-notice")
        expect(notice).to_contain_text("changed this review")
        expect(notice).to_contain_text("it differs from yours on bright voxels")
        other.page.unroute("**/open")
        other.page.get_by_role("button", name="Take what is there now").click()
        expect(notice).to_contain_text("has begun this review")
        other.page.get_by_role("button", name="Take it over").click()
        expect(notice).to_be_hidden()
        other.page.keyboard.press("a")
        other.saved()
        expect(desk.page.locator("#review-notice")).to_contain_text("has begun this review", timeout=PATIENCE_MS)
        ((who, verdicts),) = hospital.node.query(
            "SELECT reviewer, verdicts FROM reviews WHERE study_uid = %s", study_uid
        )
        assert (who, [one["kind"] for one in verdicts]) == ("second", ["accept"])
        other.close()

    def test_a_seg_edited_elsewhere_is_proposed_and_counts_once_it_is_confirmed(
        self, hospital: Hospital, desk: Desk, small: Body, tmp_path: Path
    ) -> None:
        (series,), study_uid = small.series, str(small.study_uid)
        desk.open(study_uid)
        edited, voxels = edited_elsewhere(hospital.results(study_uid)["SEG"], series, tmp_path)
        hospital.api.upload_file(str(edited))  # the archive routes it, as it routes all that is not ours
        proposal = desk.page.locator(".proposal")
        expect(proposal).to_contain_text("Proposed by PHANTOM, Elsewhere", timeout=PATIENCE_MS)
        expect(proposal).to_contain_text("Matched by its tracking UID")
        before = uids_of(hospital, study_uid)
        proposal.get_by_role("button", name="Confirm").click()
        expect(desk.page.locator(".given").first).to_contain_text("Outline wrong, corrected")
        desk.sign()
        await_true(lambda: len(verified(objects_of(hospital, study_uid))) == 1, "the verified report", 60)
        new = [one for one in objects_of(hospital, study_uid) if one.SOPInstanceUID not in before]
        assert sorted(str(one.Modality) for one in new if one.Modality != "KO") == ["SEG", "SR"]  # the old ones go
        (segmentation,) = [one for one in new if one.Modality == "SEG"]
        _, points = read_segment_points(Path(str(segmentation.filename)))
        np.testing.assert_allclose(in_order(points), in_order(points_of(series, voxels)), atol=0.011)
        desk.page.goto(f"{hospital.node.pages}/agreement")
        expect(desk.page.locator("main")).to_contain_text("Outline wrong")
        counted = hospital.node.query("SELECT kind, dice FROM agreement WHERE study_uid = %s", study_uid)
        assert [kind.lower() for kind, _dice in counted] == ["outline"]
        assert all(0 <= dice < 1 for _kind, dice in counted)

    def test_on_the_keyboard_alone_while_the_archive_is_down_and_delivered_once_it_is_back(
        self, hospital: Hospital, browser: Browser, small: Body
    ) -> None:
        study_uid, node = small.study_uid, hospital.node
        before = uids_of(hospital, study_uid)
        hospital.archive.service.stop()
        try:
            desk = Desk(browser, hospital, READER)
            desk.sign_in()
            keys = desk.page.keyboard
            desk.page.wait_for_load_state("load")  # its keys are bound
            keys.press("/")
            expect(desk.page.locator("input[type=search]")).to_be_focused()
            keys.type(str(study_uid))
            expect(desk.page.locator("tr[data-study]")).to_have_count(1)
            keys.press("Enter")
            keys.press("Enter")
            desk.page.wait_for_url("**/studies/**")
            desk.shown()
            keys.press("a")
            desk.saved()
            desk.sign()
            state = "SELECT state FROM reviews WHERE study_uid = %s"
            await_true(lambda: node.query(state, study_uid) == [("WRITTEN",)], "the review is written", 60)
            expect(desk.page.locator("#review-told")).to_contain_text("on its way to orthanc", timeout=PATIENCE_MS)
            desk.close()
        finally:
            hospital.archive.service.start()
        await_true(lambda: len(uids_of(hospital, study_uid) - before) == 1, "the verified report, once", 120)
        (report,) = verified(objects_of(hospital, study_uid))
        assert report.VerifyingObserverSequence[0].VerifyingObserverName == NAME

    def test_a_session_that_ends_amid_a_verdict_loses_nothing_and_a_purge_is_told(
        self, hospital: Hospital, desk: Desk, small: Body
    ) -> None:
        study_uid, node, page = str(small.study_uid), hospital.node, desk.page
        desk.open(study_uid)
        node.execute("DELETE FROM web_sessions WHERE account = %s", READER)
        page.keyboard.press("x")
        expect(page.locator("#review-told")).to_contain_text("You are signed out.")
        page.keyboard.press("Control+Enter")
        expect(page.locator("#review-told")).to_contain_text("You are signed out.")
        assert node.query("SELECT count(*) FROM reviews WHERE study_uid = %s", study_uid) == [(0,)]
        page.get_by_role("link", name="Sign in").click()
        desk.sign_in()
        page.wait_for_url(f"**/studies/{study_uid}")
        desk.shown()
        desk.saved()
        ((verdicts,),) = node.query("SELECT verdicts FROM reviews WHERE study_uid = %s", study_uid)
        assert [one["kind"] for one in verdicts] == ["not-there"]

        purge = [COMMAND, "purge", "--study", study_uid, "--yes", "--config", str(node.config)]
        subprocess.run(purge, check=True, capture_output=True, timeout=60)
        page.keyboard.press("a")
        expect(page.locator("#review-notice")).to_contain_text("not known here any more", timeout=PATIENCE_MS)
        page.keyboard.press("Home")
        expect(page.locator("#stage")).to_contain_text("not here any more", timeout=PATIENCE_MS)
        page.get_by_role("button", name="To the worklist").click()
        page.wait_for_url("**/worklist*")
