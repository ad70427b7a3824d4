"""What the worklist shows and is asked, as frozen records. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from typing import Any

from dicom_node.headers.patient import Patient
from dicom_node.headers.study_facts import StudyFacts
from workflows.state.answers import AnswerRecord
from workflows.state.records import Instance, Priority, Study
from workflows.state.retrying import TroubleKind
from workflows.state.reviewing import Opening, Review
from workflows.state.states import JobState

__all__ = [
    "Chip", "Counts", "Filters", "Received", "ShownState", "Tab", "WorklistJob", "WorklistPage", "WorklistRow",
    "WorklistSource", "WorklistTab",
]  # fmt: skip


class ShownState(Enum):
    """Where a study stands for who reviews it. NOT_WRITTEN: it was signed, and its objects cannot be made."""

    RECEIVING = "receiving"
    WAITING = "waiting"
    READING = "reading"
    TO_REVIEW = "to-review"
    IN_REVIEW = "in-review"
    NOT_WRITTEN = "not-written"
    ACCEPTED = "accepted"
    CORRECTED = "corrected"
    REJECTED = "rejected"
    MIXED = "mixed"
    UNMATCHED = "unmatched"
    HELD = "held"
    FAILED = "failed"


class Tab(Enum):
    """Where a study is listed. READING: it will come to be reviewed. That it needs attention is told apart."""

    REVIEW = "review"
    READING = "reading"
    REVIEWED = "reviewed"
    NONE = "none"


class WorklistTab(Enum):
    """The tabs of the page."""

    REVIEW = "review"
    MINE = "mine"
    REVIEWED = "reviewed"
    ATTENTION = "attention"
    UNMATCHED = "not-asked"


class Received(Enum):
    """When the first instance of a study came."""

    TODAY = "today"
    WEEK = "week"
    ANY = "any"


@dataclass(frozen=True)
class Chip:
    """A finding in a row. `value`: number and unit. `confidence`: 0 to 1. `change`: such as "▲ 12 %", or "".

    `rises`: whether the change is upwards. `low`: its confidence is too low to measure anything. `series`: how many
    series show it. `told`: the whole of it, for who listens or hovers.
    """

    label: str
    colour: str
    value: str
    at_least: bool
    confidence: float
    change: str
    rises: bool
    low: bool
    series: int
    told: str


@dataclass(frozen=True)
class WorklistJob:
    """What the worklist needs of a current job."""

    job_key: str
    protocol: str
    protocol_version: str
    questions: tuple[Mapping[str, Any], ...]
    answers: tuple[AnswerRecord, ...]
    state: JobState
    reason: str
    failure: TroubleKind | None
    priority: Priority
    terms: str | None
    changed_at: datetime


@dataclass(frozen=True)
class WorklistSource:
    """All that a row is made from. `stamp`: changes whenever any of it does.

    `first`: an image whose header says what the study is. `facts`: those that the row has of this generation; None:
    they are to be read. `proposals`: corrections that wait for a reviewer. `answered_at`: as the row has it.
    """

    study: Study
    stamp: str
    patients: tuple[Patient, ...]
    modalities: tuple[str, ...]
    jobs: tuple[WorklistJob, ...]
    review: Review | None
    proposals: int
    first: Instance | None
    facts: StudyFacts | None
    answered_at: datetime | None


@dataclass(frozen=True)
class WorklistRow:
    """A study as the worklist shows it. Texts from outside are cut and on one line; `search` is folded.

    `answered`, `questions`: how many of its questions are. `attention`: why a person has to look, `remedy`: what to do.
    `overdue_at`: from when it has waited too long, None: never; `waits_for`: what for. `minutes`: from acquisition to
    result. `changed`: there is a change since the prior. `verdicts`: how many of each kind. `asked`: protocols with
    their versions.
    """

    study_uid: str
    stamp: str
    generation: int
    patient: str
    patient_id: str
    search: str
    accession: str
    description: str
    study_date: str
    study_time: str
    sex: str
    age: str
    modalities: tuple[str, ...]
    protocols: tuple[str, ...]
    asked: tuple[str, ...]
    chips: tuple[Chip, ...]
    not_seen: int
    not_assessed: int
    state: ShownState
    answered: int
    questions: int
    tab: Tab
    attention: str
    remedy: str
    waits_for: str
    overdue_at: datetime | None
    priority: Priority
    changed: bool
    first_received_at: datetime
    last_received_at: datetime
    acquired_at: datetime | None
    answered_at: datetime | None
    minutes: int | None
    verdicts: Mapping[str, int]
    reviewer: str
    reviewer_name: str
    review_state: str
    reviewed_at: datetime | None
    proposals: int
    research: bool
    facts: StudyFacts

    def is_overdue(self, now: datetime) -> bool:
        """Whether it has waited too long."""
        return self.overdue_at is not None and self.overdue_at <= now


@dataclass(frozen=True)
class Filters:
    """What is chosen of the worklist; empty restricts nothing. `account`: who looks, for what is theirs.

    `query`: words that name, Patient ID, accession number or Study Instance UID hold. `after`, `before`: the study that
    the page begins behind, or ends before.
    """

    tab: WorklistTab = WorklistTab.REVIEW
    modality: tuple[str, ...] = ()
    protocol: tuple[str, ...] = ()
    priority: tuple[Priority, ...] = ()
    received: Received = Received.ANY
    change: bool = False
    query: str = ""
    account: str = ""
    after: str = ""
    before: str = ""

    def without(self, name: str) -> Filters:
        """The same, with one of them not chosen: what a facet counts."""
        return replace(self, **{name: getattr(_NONE, name)})


_NONE = Filters()


@dataclass(frozen=True)
class Counts:
    """What stands beside tabs and filters: how many studies there would be.

    `mine`: by account, reviews that are begun and not written. `waiting`: studies that wait to be reviewed, `oldest`:
    when the first of them came. `reading`: those being read.
    """

    tabs: Mapping[WorklistTab, int]
    mine: Mapping[str, int]
    modality: Mapping[str, int]
    protocol: Mapping[str, int]
    priority: Mapping[Priority, int]
    received: Mapping[Received, int]
    change: int
    waiting: int
    reading: int
    oldest: datetime | None


@dataclass(frozen=True)
class WorklistPage:
    """One page of rows with the counts. `total`: rows of all pages; `place`: of the first row, from 1.

    `reading`: how many of the total are still being read.

    `openings`: by Study Instance UID, who has it open now.
    """

    rows: tuple[WorklistRow, ...]
    counts: Counts
    total: int
    place: int
    at: datetime
    openings: Mapping[str, tuple[Opening, ...]] = field(default_factory=dict)
    reading: int = 0

    @property
    def more(self) -> bool:
        """Whether there are rows behind this page."""
        return self.place - 1 + len(self.rows) < self.total
