"""What a reviewer says of results, as frozen records. Pure.

A **review** is one person's verdicts on the current results of one study: a draft until it is signed, then written as
DICOM by the review step. A study is reviewed again by another review, with the next number.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

from dicom_node.identifiers import StudyUID

__all__ = [
    "Correction", "FindingPlace", "FindingVerdict", "Missed", "Opening", "Proposal", "ProposalState", "Review",
    "ReviewState", "VerdictKind", "WrongWords",
]  # fmt: skip


class VerdictKind(Enum):
    """What a reviewer says of one finding.

    OUTLINE: it is there and its outline is wrong. NAME: it is marked rightly and its name or side is wrong.
    """

    ACCEPT = "accept"
    OUTLINE = "outline"
    NAME = "name"
    NOT_THERE = "not-there"


class ReviewState(Enum):
    """Where a review stands.

    SIGNED: it is written once its undo time is over. WRITTEN: its objects are saved and in the outbox. FAILED: they
    cannot be made; `reason` says why. WITHDRAWN: a draft that was thrown away, or whose results were replaced.
    """

    DRAFT = "DRAFT"
    SIGNED = "SIGNED"
    WRITTEN = "WRITTEN"
    FAILED = "FAILED"
    WITHDRAWN = "WITHDRAWN"


class ProposalState(Enum):
    """Where a SEG that came in as a proposed correction stands."""

    PROPOSED = "PROPOSED"
    CONFIRMED = "CONFIRMED"
    DISMISSED = "DISMISSED"


@dataclass(frozen=True, order=True)
class FindingPlace:
    """Which finding of a study is meant: `answer` among its job's answers, `finding` among that answer's, from 0."""

    job_key: str
    answer: int
    finding: int

    @property
    def text(self) -> str:
        """As pages and addresses have it: job key, answer, finding."""
        return f"{self.job_key}/{self.answer}/{self.finding}"

    @staticmethod
    def parse(text: str) -> FindingPlace:
        """The inverse of `text`. Raises ValueError."""
        job_key, answer, finding = text.split("/")
        return FindingPlace(job_key, int(answer), int(finding))


@dataclass(frozen=True)
class FindingVerdict:
    """What is said of one finding.

    `reason`: from the list or free, perhaps "". `label`: of OUTLINE and NAME, what it is rightly called; None: as it
    is. `correction`: the digest of the corrected mask that replaces the finding's; None: its mask stays.
    """

    place: FindingPlace
    kind: VerdictKind
    reason: str = ""
    label: str | None = None
    correction: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The verdict as a row and the page have it."""
        return {
            "place": self.place.text,
            "kind": self.kind.value,
            "reason": self.reason,
            "label": self.label,
            "correction": self.correction,
        }

    @staticmethod
    def from_json(entry: dict[str, Any]) -> FindingVerdict:
        """The inverse of `as_json`. Raises KeyError or ValueError."""
        return FindingVerdict(
            place=FindingPlace.parse(entry["place"]),
            kind=VerdictKind(entry["kind"]),
            reason=entry.get("reason") or "",
            label=entry.get("label"),
            correction=entry.get("correction"),
        )


@dataclass(frozen=True)
class Missed:
    """Something that an answer should have named and did not: a click on where it is, perhaps with a mask.

    `slice`, from 0, of the part's stack; `row` and `column` of the source grid, the middle of the first pixel is 0, 0.
    `label`: what it is, of the labels that the node has codes for. `correction`: the digest of its mask, if it was
    drawn.
    """

    job_key: str
    answer: int
    label: str
    slice: int
    row: float
    column: float
    reason: str = ""
    correction: str | None = None

    def as_json(self) -> dict[str, Any]:
        """It as a row and the page have it."""
        return asdict(self)

    @staticmethod
    def from_json(entry: dict[str, Any]) -> Missed:
        """The inverse of `as_json`. Raises TypeError."""
        return Missed(**entry)


@dataclass(frozen=True)
class WrongWords:
    """The words of an answer are wrong, whatever is marked: no report repeats them, nor what they say is not seen."""

    job_key: str
    answer: int
    reason: str = ""

    def as_json(self) -> dict[str, Any]:
        """It as a row and the page have it."""
        return asdict(self)

    @staticmethod
    def from_json(entry: dict[str, Any]) -> WrongWords:
        """The inverse of `as_json`. Raises TypeError."""
        return WrongWords(**entry)


@dataclass(frozen=True)
class Review:
    """One review of a study. `number`: from 1. `generation`: of the results that it is of.

    `version`: counts its saves; a save that names an older one is refused. `reviewer`: the account. `name`: the person
    as DICOM has it (PN). `write_at`: when a signed one is written; until then it can be undone.
    """

    study_uid: StudyUID
    number: int
    generation: int
    state: ReviewState
    version: int
    reviewer: str
    name: str
    verdicts: tuple[FindingVerdict, ...]
    missed: tuple[Missed, ...]
    reason: str
    started_at: datetime
    changed_at: datetime
    signed_at: datetime | None = None
    write_at: datetime | None = None
    written_at: datetime | None = None
    words: tuple[WrongWords, ...] = ()

    @property
    def job_keys(self) -> set[str]:
        """The jobs that it says something of."""
        missed, words = {one.job_key for one in self.missed}, {one.job_key for one in self.words}
        return {verdict.place.job_key for verdict in self.verdicts} | missed | words

    def verdict_on(self, place: FindingPlace) -> FindingVerdict | None:
        """What it says of a finding, if anything."""
        return next((verdict for verdict in self.verdicts if verdict.place == place), None)


@dataclass(frozen=True)
class Correction:
    """A mask that a person drew, or that came in as a SEG, on the source grid of one part of a job.

    `path`: relative to the data folder, a file of masks with one mask. `proposal`: SOP Instance UID of the SEG that it
    came in with, or None.
    """

    study_uid: StudyUID
    digest: str
    job_key: str
    part: int
    path: Path
    made_by: str
    made_at: datetime
    voxels: int
    proposal: str | None = None


@dataclass(frozen=True)
class Proposal:
    """A SEG of another source that corrects a result of ours, until a reviewer confirms or dismisses it.

    `author`: who made it, as it says. `place`: the finding that one of its segments corrects; None: a finding that we
    have not. `matched_by`: in words for a person. `correction`: digest of its mask on the source grid.
    """

    sop_instance_uid: str
    segment: int
    study_uid: StudyUID
    job_key: str
    part: int
    place: FindingPlace | None
    label: str
    author: str
    matched_by: str
    correction: str
    state: ProposalState
    received_at: datetime
    decided_by: str = ""
    decided_at: datetime | None = None


@dataclass(frozen=True)
class Opening:
    """Who has a study open. `seen_at`: when the page was last heard of."""

    study_uid: StudyUID
    account: str
    name: str
    seen_at: datetime
