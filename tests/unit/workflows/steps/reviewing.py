"""Signed reviews for tests: what a reviewer has said, as the page would have left it in the database."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy.orm import Session

from dicom_node.results.mask_file import write_masks
from workflows.state.review_tables import CorrectionRow, ReviewRow
from workflows.state.reviewing import FindingPlace, FindingVerdict, Missed, ReviewState, VerdictKind, WrongWords
from workflows.steps.retract import retract_results
from workflows.steps.review import ReviewWriter, write_review

if TYPE_CHECKING:
    from .conftest import Steps

REVIEWER = "Adler^Eva"
WRITER = ReviewWriter("io", "MEDSEG", "Phantom Clinic")
ACCEPT, OUTLINE, NAME, NOT_THERE = VerdictKind.ACCEPT, VerdictKind.OUTLINE, VerdictKind.NAME, VerdictKind.NOT_THERE


def verdict(key: str, finding: int, kind: VerdictKind, answer: int = 0, **more: Any) -> FindingVerdict:
    return FindingVerdict(FindingPlace(key, answer, finding), kind, **more)


def sign(
    steps: Steps,
    study_uid: str,
    verdicts: Sequence[FindingVerdict],
    missed: Sequence[Missed] = (),
    words: Sequence[WrongWords] = (),
    **values: Any,
) -> int:
    """A signed review, whose undo time is over in ten seconds; its number."""
    study = steps.repository.study(study_uid)
    assert study is not None
    last = steps.repository.review(study_uid)
    row: dict[str, Any] = {
        "study_uid": study_uid,
        "number": 1 if last is None else last.number + 1,
        "generation": study.generation,
        "state": ReviewState.SIGNED,
        "reviewer": "eva",
        "name": REVIEWER,
        "verdicts": [one.as_json() for one in (*verdicts, *words)],
        "missed": [one.as_json() for one in missed],
        "started_at": steps.now,
        "changed_at": steps.now,
        "signed_at": steps.now,
        "write_at": steps.now + timedelta(seconds=10),
        **values,
    }
    with Session(steps.repository._engine) as session, session.begin():
        session.add(ReviewRow(**row))
    return int(row["number"])


def correct(steps: Steps, study_uid: str, key: str, mask: np.ndarray, part: int = 0) -> str:
    """A corrected mask, as the page keeps one; its digest."""
    folder = steps.folder.root / "reviews" / study_uid
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / "drawn.npz"
    write_masks(draft, [mask], mask.shape)  # type: ignore[arg-type]
    digest = hashlib.sha256(draft.read_bytes()).hexdigest()
    path = draft.replace(folder / f"{digest}.npz")
    row = CorrectionRow(
        study_uid=study_uid, digest=digest, job_key=key, part=part, path=str(steps.folder.relative(path)),
        made_by="eva", made_at=steps.now, voxels=int(mask.sum()),
    )  # fmt: skip
    with Session(steps.repository._engine) as session, session.begin():
        session.merge(row)
    return digest


def write(steps: Steps, study_uid: str, writer: ReviewWriter = WRITER) -> None:
    """Let the undo time pass and write what is due."""
    steps.tick(11)
    due = steps.repository.next_review()
    assert due is not None and due[0] == study_uid
    write_review(*due, steps.repository, steps.folder, writer, steps.waker)


def deliver(steps: Steps, *archives: str) -> None:
    """Send all that is due, take back what is to be taken back, send the notes, until nothing is left."""
    for _ in range(4):
        steps.tick(60)
        for archive in archives or ("pacs",):
            while (due := steps.repository.next_delivery(archive)) is not None:
                steps.publish(*due)
                if steps.repository.next_delivery(archive) == due:
                    break
            while (wanted := steps.repository.next_retraction(archive)) is not None:
                retract_results(*wanted, steps.repository, steps.folder, steps.sender, steps.waker)
                if steps.repository.next_retraction(archive) == wanted:
                    break


def reviewed(steps: Steps, study_uid: str) -> ReviewState:
    review = steps.repository.review(study_uid)
    assert review is not None
    return review.state


def made(steps: Steps, study_uid: str, kind: str) -> list[Path]:
    """Files of a kind that reviews have made, in order."""
    objects = steps.repository.review_objects(study_uid)
    return [steps.folder.absolute(one.path) for one in objects if one.kind.value == kind]


def to_archives(steps: Steps, **ways: Any) -> None:
    steps.sender = replace(steps.sender, routes={**steps.sender.routes, **ways})
