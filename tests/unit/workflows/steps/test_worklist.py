"""The worklist's rows follow studies, jobs, reviews and openings, and are made again from nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from dicom_node.headers.patient import Patient
from dicom_node.headers.study_facts import StudyFacts
from tests.scene import make_scene, scene_node
from tests.unit.workflows.state.conftest import STUDY, World
from workflows.bootstrap import Node
from workflows.data_folder import DataFolder
from workflows.state.engine import open_engine, upgrade_schema
from workflows.state.records import NewInstance
from workflows.state.repository import Repository
from workflows.state.review_tables import OpeningRow, ProposalRow, ReviewRow
from workflows.state.reviewing import ProposalState, ReviewState
from workflows.state.states import DeliveryState, StudyState
from workflows.state.tables import JobRow, StudyRow
from workflows.state.worklist_records import Filters, ShownState, Tab, WorklistRow, WorklistTab
from workflows.steps.identity import disagreement
from workflows.steps.worklist import Look, refresh
from workflows.steps.worklist_row import row_of

FAR_FUTURE = datetime(2999, 1, 1, tzinfo=UTC)


class Clinic(World):
    """A world with the folder that headers would lie in, and what only the database of a test may do."""

    folder: DataFolder

    def row(self) -> WorklistRow:
        row = self.repository.worklist_row(STUDY)
        assert row is not None
        return row

    def refreshed(self) -> WorklistRow:
        refresh(self.repository, self.folder)
        return self.row()

    def change(self, statement: object) -> None:
        with Session(self.repository._engine) as session, session.begin():
            session.execute(statement)  # type: ignore[call-overload]

    def add(self, row: object) -> None:
        with Session(self.repository._engine) as session, session.begin():
            session.add(row)

    def review(self, state: ReviewState, *verdicts: tuple[str, str], generation: int = 1, reason: str = "") -> None:
        """The study's review; each verdict a kind and the key of its job."""
        given = [{"place": f"{key}/0/{n}", "kind": kind} for n, (kind, key) in enumerate(verdicts)]
        self.change(ReviewRow.__table__.delete())
        now = self.clock[0]
        self.add(
            ReviewRow(
                study_uid=STUDY, number=1, generation=generation, state=state, version=1, reviewer="reader",
                name="Test^Reader", verdicts=given, missed=[], reason=reason, attempts=0, started_at=now,
                changed_at=now, signed_at=None if state is ReviewState.DRAFT else now,
            )
        )  # fmt: skip


@pytest.fixture
def clinic(tmp_path: Path) -> Iterator[Clinic]:
    engine = open_engine(f"sqlite:///{tmp_path / 'state.db'}")
    upgrade_schema(engine)
    clock = [datetime.now(UTC)]
    clinic = Clinic(Repository(engine, clock=lambda: clock[0], rewake_s=30), clock)
    clinic.folder = DataFolder(tmp_path)
    yield clinic
    engine.dispose()


def test_a_study_is_followed_from_its_first_instance_to_its_review(clinic: Clinic) -> None:
    clinic.receive()
    assert (clinic.refreshed().state, clinic.row().tab) == (ShownState.RECEIVING, Tab.READING)
    clinic.make_complete()
    assert clinic.refreshed().state is ShownState.WAITING
    clinic.plan("a1", "b1")
    assert clinic.refreshed().protocols == ("abdomen",)
    clinic.answer("a1")
    reading = clinic.refreshed()
    assert (reading.state, reading.answered, reading.questions) == (ShownState.READING, 1, 2)
    clinic.answer("b1")
    ready = clinic.refreshed()
    assert (ready.state, ready.tab) == (ShownState.TO_REVIEW, Tab.REVIEW)
    assert [(chip.label, chip.series) for chip in ready.chips] == [("liver", 2)]
    clinic.review(ReviewState.DRAFT)
    assert clinic.refreshed().state is ShownState.IN_REVIEW
    page = clinic.repository.worklist(Filters(WorklistTab.MINE, account="reader"))
    assert [one.study_uid for one in page.rows] == [STUDY]
    clinic.review(ReviewState.SIGNED, ("accept", "a1"), ("accept", "b1"))
    accepted = clinic.refreshed()
    assert (accepted.state, accepted.tab, accepted.reviewer_name) == (ShownState.ACCEPTED, Tab.REVIEWED, "Test, Reader")
    assert accepted.verdicts == {"accept": 2}


@pytest.mark.parametrize(
    ("kinds", "state"),
    [
        (["accept", "accept"], ShownState.ACCEPTED),
        ([], ShownState.ACCEPTED),
        (["accept", "outline"], ShownState.CORRECTED),
        (["name"], ShownState.CORRECTED),
        (["not-there", "not-there"], ShownState.REJECTED),
        (["accept", "not-there"], ShownState.MIXED),
    ],
)
def test_a_review_has_one_outcome(clinic: Clinic, kinds: list[str], state: ShownState) -> None:
    clinic.planned("a1")
    clinic.answer("a1")
    clinic.review(ReviewState.WRITTEN, *((kind, "a1") for kind in kinds))
    assert clinic.refreshed().state is state


def test_rows_are_made_again_from_nothing(clinic: Clinic) -> None:
    clinic.planned("a1")
    clinic.answer("a1")
    before = clinic.refreshed()
    clinic.repository.clear_worklist()
    assert clinic.repository.worklist_size() == 0
    assert clinic.refreshed() == before


def test_a_row_that_is_as_it_should_be_is_left_alone(clinic: Clinic) -> None:
    clinic.planned("a1")
    assert refresh(clinic.repository, clinic.folder) == {STUDY}
    assert refresh(clinic.repository, clinic.folder) == set()


def test_each_process_hears_of_each_change_once_whoever_makes_the_row(clinic: Clinic) -> None:
    clinic.receive()
    looks = Look(), Look()
    for look in looks:
        refresh(clinic.repository, clinic.folder, look)
        refresh(clinic.repository, clinic.folder, look)
    clinic.make_complete()
    for look in looks:
        assert refresh(clinic.repository, clinic.folder, look) == {STUDY}
        assert refresh(clinic.repository, clinic.folder, look) == set()
    assert clinic.row().state is ShownState.WAITING


@pytest.mark.parametrize("away", [timedelta(days=-400), timedelta(days=400)])
def test_what_a_clock_that_jumped_has_stamped_is_seen_too(clinic: Clinic, away: timedelta) -> None:
    clinic.receive()
    look = Look()
    refresh(clinic.repository, clinic.folder, look)
    refresh(clinic.repository, clinic.folder, look)
    clinic.clock[0] += away
    clinic.change(update(StudyRow).values(state=StudyState.HELD, reason="two patients", changed_at=clinic.clock[0]))
    assert refresh(clinic.repository, clinic.folder, look) == {STUDY}
    assert clinic.row().state is ShownState.HELD


def test_a_study_that_is_purged_goes_and_is_told(clinic: Clinic) -> None:
    clinic.receive()
    look = Look()
    refresh(clinic.repository, clinic.folder, look)
    clinic.change(update(StudyRow).values(state=StudyState.UNMATCHED))
    refresh(clinic.repository, clinic.folder, look)
    purged = clinic.repository.purge(STUDY, "somebody")
    assert purged is not None and not purged.refused
    assert "" in refresh(clinic.repository, clinic.folder, look)
    assert clinic.repository.worklist(Filters()).rows == ()


def test_a_row_without_its_study_is_dropped(clinic: Clinic) -> None:
    clinic.receive()
    refresh(clinic.repository, clinic.folder)
    for table in ("instances", "series", "studies"):
        clinic.change(StudyRow.metadata.tables[table].delete())
    assert refresh(clinic.repository, clinic.folder) == {STUDY}
    assert clinic.repository.worklist_size() == 0


def test_who_opens_a_study_is_told_and_shown_until_the_page_is_gone(clinic: Clinic) -> None:
    clinic.planned("a1")
    clinic.answer("a1")
    look = Look()
    refresh(clinic.repository, clinic.folder, look)
    refresh(clinic.repository, clinic.folder, look)
    clinic.add(OpeningRow(study_uid=STUDY, account="reader", name="Test^Reader", seen_at=clinic.clock[0]))
    assert refresh(clinic.repository, clinic.folder, look) == {STUDY}
    (opening,) = clinic.repository.worklist(Filters()).openings[STUDY]
    assert opening.account == "reader"
    clinic.tick(120)
    assert refresh(clinic.repository, clinic.folder, look) == {STUDY}
    assert not clinic.repository.worklist(Filters()).openings


# --- What needs attention ---------------------------------------------------------------------------------------------


def attention(clinic: Clinic) -> tuple[str, str]:
    row = clinic.refreshed()
    page = clinic.repository.worklist(Filters(WorklistTab.ATTENTION))
    assert [one.study_uid for one in page.rows] == ([STUDY] if row.attention else [])
    return row.attention, row.remedy


@pytest.mark.parametrize(
    ("state", "remedy"),
    [
        (StudyState.HELD, "corrected images"),
        (StudyState.FAILED, "an administrator puts it back"),
    ],
)
def test_a_study_that_stands_still_says_why_and_what_to_do(clinic: Clinic, state: StudyState, remedy: str) -> None:
    clinic.receive()
    clinic.change(update(StudyRow).values(state=state, reason="this is why"))
    told, what = attention(clinic)
    assert told == "This is why."
    assert remedy in what and "medseg-node" not in what


def test_a_study_of_two_patients_says_what_can_be_done_about_it_and_no_command(clinic: Clinic) -> None:
    clinic.receive()
    (received,) = clinic.repository.instances(STUDY)
    for within in (False, True):
        other = replace(received, patient=Patient("P2"), series_uid=received.series_uid if within else "1.2.3.99")
        found = disagreement([replace(received, patient=Patient("P1")), other])
        assert found is not None
        clinic.change(update(StudyRow).values(state=StudyState.HELD, reason=found.reason))
        told, what = attention(clinic)
        assert "P1" in told and "P2" in told and "--as-is" not in told + what
        assert ("own patient" in what, "not read" in what) == (not within, within)


def test_a_study_that_nothing_asks_needs_nobody_and_has_a_list_of_its_own(clinic: Clinic) -> None:
    clinic.receive()
    wall = "abdominal-ct: series 1.2: no code of SCT 818981001, SCT 113345001 and no text like (?i)abd"
    clinic.change(update(StudyRow).values(state=StudyState.UNMATCHED, reason=wall))
    assert attention(clinic) == ("", "")
    page = clinic.repository.worklist(Filters(WorklistTab.UNMATCHED))
    assert [one.study_uid for one in page.rows] == [STUDY] and page.counts.tabs[WorklistTab.UNMATCHED] == 1
    clinic.change(update(StudyRow).values(attention="its results stay in pacs"))
    assert attention(clinic)[0] == "Its results stay in pacs."


def test_a_delivery_that_an_archive_refuses_needs_attention_and_stays_to_be_reviewed(clinic: Clinic) -> None:
    clinic.planned("a1")
    clinic.answer("a1")
    for uid in clinic.send("a1"):
        clinic.record(uid, DeliveryState.REJECTED, "0xA700 out of resources")
    clinic.release("a1")
    told, what = attention(clinic)
    assert "0xA700" in told and "sent again" in what
    assert clinic.row().tab is Tab.REVIEW


def test_a_review_that_cannot_be_written_needs_attention(clinic: Clinic) -> None:
    clinic.planned("a1")
    clinic.answer("a1")
    clinic.review(ReviewState.FAILED, ("accept", "a1"), reason="the mask of liver is gone")
    told, what = attention(clinic)
    assert told == "The mask of liver is gone." and "sign" in what
    assert (clinic.row().state, clinic.row().tab) == (ShownState.NOT_WRITTEN, Tab.REVIEW)


def test_results_that_others_replaced_after_the_review_are_to_be_reviewed_again(clinic: Clinic) -> None:
    clinic.planned("a1")
    clinic.answer("a1")
    clinic.review(ReviewState.WRITTEN, ("accept", "a1"))
    assert attention(clinic) == ("", "")
    clinic.reopen()
    clinic.plan("a2", generation=2)
    clinic.answer("a2")
    told, what = attention(clinic)
    assert "after it was reviewed" in told and "again" in what
    assert (clinic.row().state, clinic.row().tab) == (ShownState.TO_REVIEW, Tab.REVIEW)


def test_a_study_that_waits_too_long_needs_attention_once_it_does(clinic: Clinic) -> None:
    clinic.receive()
    assert attention(clinic) == ("", "")
    clinic.tick(31 * 60)
    page = clinic.repository.worklist(Filters(WorklistTab.ATTENTION))
    assert [one.is_overdue(page.at) for one in page.rows] == [True]
    assert page.counts.tabs[WorklistTab.ATTENTION] == 1


def test_a_proposed_correction_brings_a_reviewed_study_back(clinic: Clinic) -> None:
    clinic.planned("a1")
    clinic.answer("a1")
    clinic.review(ReviewState.WRITTEN, ("accept", "a1"))
    assert clinic.refreshed().tab is Tab.REVIEWED
    clinic.add(
        ProposalRow(
            study_uid=STUDY, seg_uid="2.25.1", segment=1, job_key="a1", part=0, correction="c",
            state=ProposalState.PROPOSED, received_at=clinic.clock[0],
        )
    )  # fmt: skip
    back = clinic.refreshed()
    assert (back.tab, back.proposals) == (Tab.REVIEW, 1)


# --- What a row says --------------------------------------------------------------------------------------------------


def test_what_a_hostile_header_holds_neither_breaks_a_row_nor_leaves_it_unfound(clinic: Clinic) -> None:
    name = "\x00<img src=x onerror=alert(1)>^\u202e" + "é" * 65_536
    new = NewInstance(
        STUDY, "1.2.3.1", "1.2.3.1.1", "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1", Path("none"), 1, "d", "CT1",
        patient=Patient("\x1b[2J" + "9" * 300, name=name), modality="C\x00T|MR", accession_number="%_\\",
    )  # fmt: skip
    clinic.repository.record_instances([new], lambda _title: 60)
    row = clinic.refreshed()
    assert len(row.patient) <= 200 and not set("\x00\x1b\u202e") & set(row.patient + row.patient_id)
    found = clinic.repository.worklist(Filters(query="onerror=alert(1)")).rows
    assert [one.study_uid for one in found] == [STUDY]
    assert clinic.repository.worklist(Filters(query="%_")).total == 1


def test_two_patients_of_one_study_are_both_shown_and_found(clinic: Clinic) -> None:
    for number, patient in enumerate(("5121", "5121", "5112")):
        new = NewInstance(
            STUDY, "1.2.3.1", f"1.2.3.1.{number}", "1.2.840.10008.5.1.4.1.1.2", "1.2", Path(f"{number}"), 1, "d", "CT1",
            patient=Patient(patient, name="PHANTOM^Epsilon"),
        )  # fmt: skip
        clinic.repository.record_instances([new], lambda _title: 60)
    assert clinic.refreshed().patient_id == "5121 / 5112"
    assert clinic.repository.worklist(Filters(query="5112")).total == 1


def test_minutes_to_the_result_are_told_only_where_they_say_something(clinic: Clinic) -> None:
    clinic.planned("a1")
    clinic.answer("a1")
    (source,) = clinic.repository.worklist_sources([STUDY])
    answered = clinic.refreshed().answered_at
    assert answered is not None
    for before, minutes in ((timedelta(minutes=12), 12), (timedelta(days=400), None), (timedelta(hours=-1), None)):
        assert row_of(source, StudyFacts(acquired_at=answered - before)).minutes == minutes


def test_stat_jobs_and_changes_put_a_study_first(clinic: Clinic) -> None:
    clinic.planned("a1")
    clinic.answer("a1")
    change = {
        "name": "volume", "unit": "ml", "before": 100.0, "after": 112.0, "before_date": "2026-01-01",
        "after_date": "2026-06-01", "difference": 12.0, "per_cent": 12.0, "before_at_least": False,
        "after_at_least": False, "text": "volume +12.0 ml",
    }  # fmt: skip
    finding = {
        "phrase": "liver", "label": "liver", "confidence": 0.83, "voxels": 10, "low_confidence": False,
        "changes": [change],
        "measurements": [
            {"kind": "volume", "name": "volume", "value": 705.9, "unit": "ml", "text": "", "at_least": True}
        ],
    }  # fmt: skip
    missing = [{"label": label, "why": "label-not-learned", "reason": "not learned"} for label in ("aorta", "liver")]
    answers = [
        {"question": "Where?", "answer": "here", "findings": [finding], "not_seen": ["spleen"], "part": 0,
         "not_assessed": missing},
    ]  # fmt: skip
    clinic.change(update(JobRow).values(answers=answers, priority="stat", changed_at=FAR_FUTURE))
    row = clinic.refreshed()
    (chip,) = row.chips
    assert (chip.value, chip.at_least, chip.confidence, chip.change, chip.rises) == (
        "706 ml",
        True,
        0.83,
        "▲ 12 %",
        True,
    )
    assert (row.changed, row.priority.value, row.not_seen) == (True, "stat", 1)
    assert row.not_assessed == 1, "the liver was seen in another answer"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder = tmp_path_factory.mktemp("scene")
    node = scene_node(folder / "data")
    make_scene(node, folder / "images")
    yield node
    node.repository.close()


def test_the_header_of_a_real_study_is_read_once_a_generation(scene: Node) -> None:
    refresh(scene.repository, scene.folder)
    (row,) = scene.repository.worklist(Filters()).rows
    assert row.description.startswith("COMMISSIONING TEST")
    assert row.study_date and row.acquired_at is not None and row.minutes is not None
    assert {chip.label for chip in row.chips} == {"liver", "spleen"} and row.not_seen == 2
    assert row.modalities == ("CR", "CT") and row.research
    (source,) = scene.repository.worklist_sources([row.study_uid])
    assert source.facts == row.facts and source.first is None
