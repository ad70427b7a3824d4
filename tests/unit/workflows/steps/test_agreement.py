"""Written reviews are counted once each, with nothing in the counts that says whose images they were."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from dicom_node.results.mask_file import read_masks, write_masks
from tests.scene import make_scene, scene_node
from workflows.bootstrap import Node
from workflows.state.agreeing import AgreementFilter, CaseKind
from workflows.state.answers import NotAssessedRecord
from workflows.state.records import Job
from workflows.state.review_tables import ReviewRow
from workflows.state.reviewing import FindingPlace, FindingVerdict, Missed, ReviewState, VerdictKind
from workflows.state.tables import JobRow
from workflows.steps.agreement import OTHER, count_reviews, masks_of

AT = datetime(2026, 11, 4, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Node:
    folder = tmp_path_factory.mktemp("agreement")
    node = scene_node(folder / "data")
    make_scene(node, folder / "images")
    return node


@pytest.fixture
def node(scene: Node) -> Node:
    with scene.repository._writing() as session:
        for row in session.query(ReviewRow).all():
            session.delete(row)
        from workflows.state.agreement_tables import AgreementReviewRow, AgreementRow

        session.query(AgreementRow).delete()
        session.query(AgreementReviewRow).delete()
    return scene


def job_of(node: Node) -> Job:
    (view,) = node.repository.study_views()
    return next(one.job for one in view.jobs if one.job.kind is not None and one.job.parts[0].slices > 1)


def written(node: Node, verdicts: Sequence[FindingVerdict], missed: Sequence[Missed] = (), number: int = 1) -> None:
    with node.repository._writing() as session:
        session.add(
            ReviewRow(
                study_uid=job_of(node).study_uid,
                number=number,
                generation=1,
                state=ReviewState.WRITTEN,
                version=1,
                reviewer="anna",
                name="Test^Anna",
                verdicts=[one.as_json() for one in verdicts],
                missed=[one.as_json() for one in missed],
                reason="",
                started_at=AT,
                changed_at=AT,
                written_at=AT,
            )
        )


def corrected(node: Node, job: Job, mask: np.ndarray) -> str:
    folder = node.folder.reviews / job.study_uid
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / "draft.npz"
    write_masks(draft, [mask], mask.shape)
    digest = hashlib.sha256(draft.read_bytes()).hexdigest()
    draft.replace(folder / f"{digest}.npz")
    return digest


def test_what_could_not_be_looked_for_was_not_missed(node: Node) -> None:
    job = job_of(node)
    place = FindingPlace(job.job_key, 0, 0)
    missed = [Missed(job.job_key, 1, label, 3, 10, 10) for label in ("kidney left", "aorta")]
    written(node, [FindingVerdict(place, VerdictKind.ACCEPT)], missed)
    aorta = NotAssessedRecord("aorta", "label-not-learned", "this model has not learned it")
    answers = [replace(one, not_assessed=(aorta,)).as_json() for one in job.answers]
    with node.repository._writing() as session:
        row = session.get(JobRow, job.job_key)
        kept, row.answers = row.answers, answers
    try:
        count_reviews(node.repository, node.folder)
        assert [one.finding for one in node.repository.agreement_cases()] == ["liver", "kidney left"]
    finally:
        with node.repository._writing() as session:
            session.get(JobRow, job.job_key).answers = kept


def test_verdicts_corrections_and_what_was_missed(node: Node) -> None:
    job = job_of(node)
    masks = masks_of(job, node.repository, node.folder)
    ours = masks[0, 0]
    theirs = ours.copy()
    theirs[: int(np.flatnonzero(ours.any(axis=(1, 2)))[0]) + 1] = False
    digest = corrected(node, job, theirs)
    liver, spleen = FindingPlace(job.job_key, 0, 0), FindingPlace(job.job_key, 0, 1)
    written(
        node,
        [FindingVerdict(liver, VerdictKind.OUTLINE, correction=digest), FindingVerdict(spleen, VerdictKind.ACCEPT)],
        [Missed(job.job_key, 1, "kidney left", 3, 10, 10), Missed(job.job_key, 1, "what Mrs Phantom has", 3, 1, 1)],
    )
    assert count_reviews(node.repository, node.folder) == 1
    assert count_reviews(node.repository, node.folder) == 0, "once each"
    cases = node.repository.agreement_cases()
    assert [(one.finding, one.kind) for one in cases] == [
        ("liver", CaseKind.OUTLINE), ("spleen", CaseKind.ACCEPT), ("kidney left", CaseKind.MISSED),
        (OTHER, CaseKind.MISSED),
    ]  # fmt: skip
    first = cases[0]
    overlap, a, b = (ours & theirs).sum(), ours.sum(), theirs.sum()
    assert first.dice == pytest.approx(2 * overlap / (a + b))
    volume = job.answers[0].findings[0].value_of("volume")
    assert volume is not None and first.before_ml == pytest.approx(volume)
    assert first.after_ml == pytest.approx(volume * b / a)
    assert (first.protocol, first.weights) == ("abdominal-ct 3", "boxes 1 bbbbbbbbbbbb")
    assert first.question == job.questions[0].text and first.scanner != "" and "PHANTOM" not in first.scanner.upper()
    assert {one.review for one in cases} == {1}
    assert node.repository.agreement_cases(AgreementFilter(finding="liver", since=AT))[0].kind is CaseKind.OUTLINE
    assert node.repository.agreement_cases(AgreementFilter(until=AT)) == []


def test_the_last_review_of_a_study_counts(node: Node) -> None:
    place = FindingPlace(job_of(node).job_key, 0, 0)
    written(node, [FindingVerdict(place, VerdictKind.NOT_THERE)])
    assert count_reviews(node.repository, node.folder) == 1
    written(node, [FindingVerdict(place, VerdictKind.ACCEPT)], number=2)
    assert count_reviews(node.repository, node.folder) == 1
    assert [one.kind for one in node.repository.agreement_cases()] == [CaseKind.ACCEPT]
    assert node.repository.counted_reviews() == 1


def test_a_correction_whose_file_is_gone_counts_as_a_verdict(node: Node) -> None:
    place = FindingPlace(job_of(node).job_key, 0, 0)
    nowhere = FindingPlace("no such job", 0, 0)
    beyond = FindingPlace(job_of(node).job_key, 0, 99)
    written(
        node,
        [
            FindingVerdict(place, VerdictKind.OUTLINE, correction="0" * 64),
            FindingVerdict(nowhere, VerdictKind.ACCEPT),
            FindingVerdict(beyond, VerdictKind.ACCEPT),
        ],
    )
    count_reviews(node.repository, node.folder)
    (one,) = node.repository.agreement_cases()
    assert (one.kind, one.dice, one.before_ml) == (CaseKind.OUTLINE, None, None)


def test_masks_are_read_by_answer_and_finding(node: Node) -> None:
    job = job_of(node)
    found = masks_of(job, node.repository, node.folder)
    assert sorted(found)[:2] == [(0, 0), (0, 1)]
    folder = next(iter({node.folder.absolute(one.path).parent for one in node.repository.objects(job.job_key)}))
    assert np.array_equal(found[0, 0], read_masks(Path(folder) / "masks.npz")[0])
