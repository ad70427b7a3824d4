"""What the database knows of earlier results, on both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from dicom_node.headers.patient import Patient
from dicom_node.headers.rejection import RejectedReference, RejectionCode, RejectionNote
from dicom_node.headers.series_kind import SeriesKind
from dicom_node.results.codes import LABELS
from dicom_node.results.earlier import (
    EarlierAnswer,
    EarlierFinding,
    EarlierMeasurement,
    EarlierPart,
    EarlierResult,
    NamedConcept,
)
from workflows.state.keys import request_key
from workflows.state.records import JobPlan, NewInstance, Prior

from .conftest import QUESTION, STUDY, World

ANNA = Patient("P1", "A", "Box^Anna", "19700101")
KIND = SeriesKind("CT", "portal", "2026-01-02T12:00:00", "axial", "", "", 3.0, (0.8, 0.7))
LIVER = NamedConcept.of(LABELS["kidney left"])
RESULT = EarlierResult(
    date(2026, 1, 2),
    (
        EarlierPart(
            (
                EarlierAnswer(
                    "Where?", (LIVER,),
                    (EarlierFinding(LIVER, (EarlierMeasurement("volume", 1480.1, "ml", None, True),)),), "where",
                ),
            ),
            "echo time 30",
        ),
    ),
    "slices of 3 mm", "model 1 (aaaaaaaaaaaa)",
)  # fmt: skip


def receive(world: World, study_uid: str, number: int = 1, patient: Patient | None = ANNA, digest: str = "a") -> None:
    new = NewInstance(
        study_uid=study_uid,
        series_uid=f"{study_uid}.1",
        sop_instance_uid=f"{study_uid}.1.{number}",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        path=Path(f"{study_uid}/{number}.{digest}"),
        bytes=10,
        digest=digest,
        calling_ae_title="CT1",
        patient=patient,
        modality="CT",
        series_description="portal",
    )
    world.repository.record_instances([new], lambda _title: 60)


def planned(world: World, study_uid: str, key: str, prior: Prior | None = None, generation: int = 1) -> JobPlan:
    plan = replace(
        World.job_plan(key), series_uid=f"{study_uid}.1", prior=prior, kind=KIND, inputs=(f"{study_uid}.1.1:a",)
    )
    world.tick(60)
    world.repository.complete_quiet_studies()
    assert world.repository.save_plan(study_uid, generation, [plan], [], "planned") is not None
    return plan


def earlier(world: World, patient_id: str = "P1", protocol: str = "abdomen") -> list[str]:
    return [one.job.job_key for one in world.repository.earlier_jobs(STUDY, patient_id, protocol)]


def test_a_job_counts_once_it_is_answered_and_as_long_as_it_stands(world: World) -> None:
    receive(world, "1.2.9")
    planned(world, "1.2.9", "a1")
    assert earlier(world) == []
    world.answer("a1")
    assert earlier(world) == ["a1"], "on its way to the archive"
    world.deliver("a1")
    (found,) = world.repository.earlier_jobs(STUDY, "P1", "abdomen")
    assert (found.patients, found.job.kind, found.series.modality) == ((ANNA,), KIND, "CT")
    assert found.image is not None and found.image.sop_instance_uid == "1.2.9.1.1"
    assert earlier(world, "P2") == [] and earlier(world, protocol="thorax") == []
    assert world.repository.earlier_jobs("1.2.9", "P1", "abdomen") == [], "a study is no prior of itself"
    assert world.repository.objects_known_here(["2.25.SR.air.a1", "2.25.9"]) == {"2.25.SR.air.a1"}


def test_what_is_to_be_retracted_does_not_stand(world: World) -> None:
    receive(world, "1.2.9")
    planned(world, "1.2.9", "a1")
    world.answer("a1")
    world.deliver("a1")
    prior = Prior("a1", study_uid="1.2.9", result=RESULT)
    assert earlier(world) == ["a1"] and not world.repository.is_to_be_retracted(prior)
    rejected = RejectedReference("1.2.9", "1.2.9.1", "1.2.9.1.1")
    note = RejectionNote(RejectionCode.QUALITY, (rejected,))
    assert world.repository.record_rejection("1.2.9.900.1", note, 60) == ["1.2.9"]
    assert world.repository.job("a1").state.value == "DELIVERED", "nobody has planned the study anew"
    assert earlier(world) == [] and world.repository.is_to_be_retracted(prior)
    assert not world.repository.is_to_be_retracted(Prior(None, "1.2.9.7", "pacs", "1.2.9", RESULT))


def test_whoever_is_named_beside_is_told(world: World) -> None:
    receive(world, "1.2.9")
    receive(world, "1.2.9", 2, Patient("P1", "", "Box^Berta"))
    receive(world, "1.2.9", 3, None)
    planned(world, "1.2.9", "a1")
    world.answer("a1")
    (found,) = world.repository.earlier_jobs(STUDY, "P1", "abdomen")
    assert found.patients == (Patient("P1", "", "Box^Berta"), ANNA)


@pytest.mark.parametrize("prior", [
    None, Prior("k", study_uid="1.2.9", result=RESULT), Prior(None, "1.2.9.7", "pacs", "1.2.9", RESULT, "why not x"),
    Prior(None, note="nobody could be asked"),
])  # fmt: skip
def test_a_prior_is_kept_as_it_was_planned(world: World, prior: Prior | None) -> None:
    receive(world, STUDY)
    plan = planned(world, STUDY, "b1", prior)
    job = world.repository.job("b1")
    assert job.prior == prior and job.kind == KIND
    standing = world.repository.standing_job(STUDY, plan)
    assert standing is not None and standing.prior == prior
    assert world.repository.standing_job(STUDY, replace(plan, inputs=("other",))) is None
    other = replace(QUESTION, findings=(LABELS["spleen"],))
    assert world.repository.standing_job(STUDY, replace(plan, questions=(other,))) is None


def test_what_stands_is_what_is_current_and_whose_prior_is_not_to_be_retracted(world: World) -> None:
    receive(world, "1.2.9")
    planned(world, "1.2.9", "a1")
    world.answer("a1")
    receive(world, STUDY)
    first = planned(world, STUDY, "b1")
    world.answer("b1")
    receive(world, STUDY, 2)
    plan = planned(world, STUDY, "b2", Prior("a1", study_uid="1.2.9", result=RESULT), generation=2)
    standing = world.repository.standing_job(STUDY, plan)
    assert standing is not None and standing.job_key == "b2"
    receive(world, "1.2.9", patient=Patient("P9"), digest="b")
    standing = world.repository.standing_job(STUDY, first)
    assert standing is not None and standing.job_key == "b1", "answered without what is to be retracted"


def test_a_key_depends_on_what_the_earlier_result_says_and_on_nothing_beside_it() -> None:
    asked = ("1", "2", ("a",), "p", "1", (QUESTION,))
    none = request_key(*asked)
    known = "0d495975035ccbfe390bfddcdb4fb4fdd96790103b6c0722b66e73a88f66c2b0"
    assert none == known, "as before earlier results were looked for"
    assert request_key(*asked, Prior(None, note="the archive is down")) == none
    key = request_key(*asked, Prior("k", result=RESULT))
    assert key != none and request_key(*asked, Prior("k", result=RESULT, note="another is not")) == key
    changed = replace(RESULT, date=date(2026, 1, 3))
    assert request_key(*asked, Prior("k", result=changed)) != key
    assert request_key(*asked, Prior("other", result=RESULT)) != key
