"""Whom instances name, studies that are held, rejections and what is to be retracted, on both databases."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dicom_node.headers.patient import Patient
from dicom_node.headers.rejection import RejectedReference, RejectionCode, RejectionNote
from workflows.state.records import NewInstance
from workflows.state.states import DeliveryState
from workflows.state.views import Selection

if TYPE_CHECKING:
    from .conftest import World

STUDY = "1.2.3"


def receive(world: World, number: int, digest: str, patient: Patient | None) -> None:
    uid = f"1.2.3.1.{number}"
    path = Path(f"1.2.3.1/{number}.{digest}")
    classes = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1")
    new = NewInstance(STUDY, "1.2.3.1", uid, *classes, path, 10, digest, "CT1", patient=patient)
    world.repository.record_instances([new], lambda _title: 60)


def note(*numbers: int, study: str = STUDY) -> RejectionNote:
    named = (RejectedReference(study, "1.2.3.1", f"1.2.3.1.{number}") for number in numbers)
    return RejectionNote(RejectionCode.QUALITY, tuple(named))


def chosen(world: World, patient_id: str) -> int:
    return world.repository.count_studies(Selection(patient_id=patient_id))


@pytest.mark.parametrize(
    "patient",
    [
        Patient("P1", "HOSPITAL", "Box^Anna", "19700101"),
        Patient("", "", "", ""),
        Patient("9" * 5000, "i" * 5000, "n" * 50_000, "b" * 500),
        Patient("a\0b", "\0", "\ud800", "山"),
    ],
)
def test_whatever_a_header_names_closes_no_intake_and_is_found_again(world: World, patient: Patient) -> None:
    receive(world, 1, "a", patient)
    (kept,) = world.repository.instances(STUDY)
    assert kept.patient is not None and kept.patient.name == patient.name.replace("\ud800", "?")
    assert len(kept.patient.patient_id) <= 64
    assert chosen(world, patient.patient_id) == 1 and chosen(world, "somebody else") == 0


def test_ids_that_differ_only_behind_what_a_column_holds_stay_two(world: World) -> None:
    receive(world, 1, "a", Patient("9" * 100 + "1"))
    receive(world, 2, "a", Patient("9" * 100 + "2"))
    first, second = world.repository.instances(STUDY)
    assert first.patient != second.patient


def test_an_unknown_patient_is_recorded_once(world: World) -> None:
    receive(world, 1, "a", None)
    path = world.repository.instances(STUDY)[0].path
    world.repository.record_patients(STUDY, {path: Patient("P1")})
    world.repository.record_patients(STUDY, {path: Patient("P2")})
    assert world.repository.instances(STUDY)[0].patient == Patient("P1")


def test_a_held_study_is_held_once_and_its_jobs_are_taken_up_again(world: World) -> None:
    world.planned("a1")
    world.answer("a1")
    world.reopen()
    assert world.repository.hold_study(STUDY, 2, "two patients")
    assert not world.repository.hold_study(STUDY, 2, "two patients")
    assert (world.state(), world.reason(), world.jobs()) == ("HELD", "two patients", {})
    assert world.send("a1") == []
    assert not world.repository.reopen_as_is(STUDY, 1, "someone")
    assert world.repository.reopen_as_is(STUDY, 2, "someone" * 100)
    assert not world.repository.reopen_as_is(STUDY, 2, "someone")
    (reading,) = world.repository.as_is_readings(STUDY)
    assert (reading.generation, reading.by[:7], reading.at) == (3, "someone", world.clock[0])
    assert world.plan("a1", generation=3)
    assert world.state() == "DELIVERING" and len(world.send("a1")) == 2


def test_a_rejection_marks_what_was_read_opens_a_generation_and_does_so_once(world: World) -> None:
    world.receive(2)
    world.planned("1.2.3.1.1:a", "b1")
    world.answer("1.2.3.1.1:a")
    world.answer("b1")
    world.deliver("b1")
    assert world.repository.record_rejection("1.9", note(1), 60) == [STUDY]
    assert (world.state(), world.generation()) == ("RECEIVING", 2)
    assert "rejected by note 1.9 (113001, Rejected for Quality Reasons)" in world.reason()
    assert world.repository.record_rejection("1.9", note(1), 60) == []
    assert world.repository.record_rejection("1.91", note(1), 60) == []
    assert world.generation() == 2
    assert [one.sop_instance_uid for one in world.repository.instances(STUDY)] == ["1.2.3.1.2"]
    marked = world.to_retract()
    assert [(one.result.job_key, [to.state for to in one.deliveries]) for one in marked] == [
        ("1.2.3.1.1:a", [DeliveryState.WITHHELD])
    ] * 2
    details = world.repository.study_details(STUDY)
    assert details is not None
    assert [(one.note_uid, one.received) for one in details.rejected] == [("1.9", True), ("1.91", True)]
    world.make_complete()
    assert world.reason().startswith("1 instances")


def test_a_note_on_what_never_came_is_kept(world: World) -> None:
    assert world.repository.record_rejection("1.9", note(1), 60) == []
    world.receive(1)
    world.receive(2)
    assert [one.sop_instance_uid for one in world.repository.instances(STUDY)] == ["1.2.3.1.2"]
    assert len(next(world.repository.held_studies())[1]) == 2, "the sweep looks after its file"


def test_more_images_than_a_statement_takes_are_rejected(world: World) -> None:
    world.receive(3)
    assert world.repository.record_rejection("1.9", note(*range(1200)), 60) == [STUDY]
    assert world.repository.instances(STUDY) == []


def test_a_correction_marks_only_what_read_the_image_as_it_was(world: World) -> None:
    receive(world, 1, "a", Patient("P1"))
    receive(world, 2, "a", Patient("P1"))
    world.make_complete()
    assert world.plan("1.2.3.1.1:a", "1.2.3.1.2:a", "1.2.3.1.1:b")
    for key in ("1.2.3.1.1:a", "1.2.3.1.2:a", "1.2.3.1.1:b"):
        world.answer(key)
    receive(world, 1, "b", Patient("P2"))
    assert {one.result.job_key for one in world.to_retract()} == {"1.2.3.1.1:a"}
