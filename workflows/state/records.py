"""What the node remembers, as frozen records: rows of the database never leave this package.

A **study** has **series**, a series has **instances**. A **job** is one series asked the questions of one reading
protocol; it holds **parts** (a volume, or an image). Its answers become **result objects** (at most one SEG a part, one
SR a job, for each profile), and each object has a **delivery** to each destination of its profile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from pathlib import Path

from dicom_node.headers.patient import Patient
from dicom_node.headers.rejection import RejectionCode
from dicom_node.headers.series_kind import SeriesKind
from dicom_node.identifiers import SeriesUID, SOPInstanceUID, StudyUID
from dicom_node.results.profiles import Profile, ResultKind, Wishes, kinds_of
from dicom_node.volumes.frames import MIDDLE_FRAME, FrameChoice
from inference.interface import PredictorDescription
from workflows.protocols.schema import Priority, ProtocolQuestion
from workflows.protocols.verdicts import Verdict
from workflows.state.answers import AnswerRecord
from workflows.state.prior import Prior
from workflows.state.retrying import TroubleKind
from workflows.state.states import DeliveryState, JobState, QuestionState, RetractionState, StudyState

__all__ = [
    "AsIsReading", "ClaimedDelivery", "ClaimedRetraction", "Delivery", "Destination", "Due", "Event", "Instance", "Job",
    "JobPlan", "NewInstance", "Part", "PartKind", "Prior", "Priority", "QuietStudy", "RejectedInstance", "ResultObject",
    "Retraction", "RetractionOf", "SavedNote", "SavedObject", "Series", "Study", "Trouble", "TroubleKind",
    "UnconfirmedObject",
]  # fmt: skip


_NONE: frozenset[ResultKind] = frozenset()


class PartKind(Enum):
    """What a part of a job is: a stack of slices with one geometry, or an image that stands for itself."""

    VOLUME = "volume"
    IMAGE = "image"


@dataclass(frozen=True)
class Trouble:
    """One attempt that came to nothing; `reason` is a sentence for a person."""

    kind: TroubleKind
    reason: str


@dataclass(frozen=True)
class Event:
    """What was over with a job before it was put back, or who has stopped it or put it back; `told` is a sentence."""

    at: datetime
    told: str


@dataclass(frozen=True)
class Destination:
    """Where a job's objects go, and shaped for which viewer; fixed when the job is planned.

    `archive`: the name of one of [[archives]]; "" waits until one is configured. `wishes`: what it wants otherwise than
    its profile has it.
    """

    archive: str
    profile: Profile
    wishes: Wishes = field(default_factory=Wishes)

    def kinds(self, *, seen: bool) -> frozenset[ResultKind]:
        """The objects that go there; `seen`: whether any question marked anything."""
        return kinds_of(self.profile, self.wishes, seen=seen)


@dataclass(frozen=True)
class Part:
    """One of a job's parts, numbered from 0 in the order in which its series holds them.

    `name`: what tells it from the others, such as "echo time 30"; empty where it is alone.
    """

    ordinal: int
    kind: PartKind
    slices: int
    name: str = ""


@dataclass(frozen=True)
class Study:
    """A study, its current generation and where it stands. `attention`: why a person has to look at it, or "".

    `evidence`: why it counted as complete: "proved: ...", "announced by ...", "assumed: ..."; "" while it is received.
    `failure`: as what its planning failed; None where its jobs say what failed. `restarted_at`: when images that came
    again have last restarted what had failed of it.
    `inputs_removed_at`: when retention removed its images, None while they are there.
    """

    study_uid: StudyUID
    generation: int
    state: StudyState
    reason: str
    accession_number: str
    source_ae_title: str
    verdicts: tuple[Verdict, ...]
    reread: bool
    first_received_at: datetime
    last_received_at: datetime
    changed_at: datetime
    attention: str = ""
    failure: TroubleKind | None = None
    restarted_at: datetime | None = None
    evidence: str = ""
    inputs_removed_at: datetime | None = None


@dataclass(frozen=True)
class QuietStudy:
    """A study of which nothing new has come for its quiet period, or of which all that was announced is here.

    `quiet_s`: for how long. `attempts`: how often it was asked or waited for since the last instance came.
    `announced`: by AE title of who announced them, SOP Instance UIDs. `here`: the UIDs of what was received, without
    what was lost; what a note rejects counts as here.
    """

    study_uid: StudyUID
    generation: int
    source_ae_title: str
    last_received_at: datetime
    quiet_s: float
    attempts: int
    here: frozenset[str]
    announced: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Series:
    """A series of a study."""

    study_uid: StudyUID
    series_uid: SeriesUID
    modality: str
    series_description: str


@dataclass(frozen=True)
class Instance:
    """A stored instance. `path`: relative to the data folder. `digest`: sha256 of the data set.

    `patient`: whom its header names; None: received before that was kept, the file says it. `lost_at`: since when its
    file is known to be gone or damaged, `lost_reason`: why, "" where nobody knows. `removed_at`: when retention removed
    its file, which is no loss. `read_digest`, `read_path`: of the bytes that jobs read, where others came since;
    without `read_path` both hold the same.
    """

    study_uid: StudyUID
    series_uid: SeriesUID
    sop_instance_uid: SOPInstanceUID
    sop_class_uid: str
    transfer_syntax_uid: str
    path: Path
    bytes: int
    digest: str
    calling_ae_title: str
    generation: int
    received_at: datetime
    patient: Patient | None
    lost_at: datetime | None
    read_digest: str | None = None
    read_path: Path | None = None
    lost_reason: str = ""
    removed_at: datetime | None = None

    @property
    def as_read(self) -> Instance:
        """The file that jobs have read, where other bytes came since and wait for the next plan."""
        if self.read_path is None or self.read_digest is None:
            return self
        return replace(self, path=self.read_path, digest=self.read_digest, read_path=None, read_digest=None)

    @property
    def input_digest(self) -> str:
        """The digest that names it among a job's inputs: of the first bytes that held what it holds."""
        return self.digest if self.read_digest is None or self.read_path is not None else self.read_digest


@dataclass(frozen=True)
class RejectedInstance:
    """An instance that a rejection note takes out of use; its row and file stay, if it was ever received.

    `study_uid`, `series_uid`: as the note says, the series perhaps "". `received`: whether the instance has a row.
    """

    study_uid: StudyUID
    series_uid: str
    sop_instance_uid: SOPInstanceUID
    note_uid: SOPInstanceUID
    code: RejectionCode
    noted_at: datetime
    received: bool


@dataclass(frozen=True)
class AsIsReading:
    """A person had a HELD study read, each series under its own patient; it holds for this generation only."""

    study_uid: StudyUID
    generation: int
    by: str
    at: datetime


@dataclass(frozen=True)
class Job:
    """One series asked the questions of one reading protocol (`keys.py` has what each key is made from).

    `model`: the weights that it was planned for, and once it is answered those that answered. `software`: the version
    that planned it. `attempts`: claims, ever. `troubles`: attempts that came to nothing since it was last put back.
    `failure`: as what it failed. `waits`: how often it was put off since then. `ready_at`: when it may be taken up
    next. `useful_until`: it is not taken up later than that; None: at any time. `history`: what was before it was put
    back, the earliest first.
    `notes`: what its report says of instances that were not read, and of numbers. `made`: the kinds of objects that
    were made for each profile, as far as there was anything to say in them. `edition`: counts how often its
    objects were made under UIDs of their own, since those before were retracted. `kind`: of its series, and when it
    was taken; None in a job that was planned before this was kept. `question`: a person has asked it, no protocol; what
    became of its answer. `protocol_digest`: SHA-256 of the protocol's file as it was planned with; "" of no file.
    """

    job_key: str
    request_key: str
    answer_key: str
    study_uid: StudyUID
    series_uid: SeriesUID
    generation: int
    protocol: str
    protocol_version: str
    questions: tuple[ProtocolQuestion, ...]
    inputs: tuple[str, ...]
    model: PredictorDescription
    software: str
    prior: Prior | None
    frames: FrameChoice
    destinations: tuple[Destination, ...]
    parts: tuple[Part, ...]
    notes: tuple[str, ...]
    answers: tuple[AnswerRecord, ...]
    state: JobState
    reason: str
    attempts: int
    troubles: tuple[Trouble, ...]
    predecessor_key: str | None
    created_at: datetime
    changed_at: datetime
    edition: int = 1
    made: Mapping[Profile, frozenset[ResultKind]] = field(default_factory=dict)
    kind: SeriesKind | None = None
    priority: Priority = Priority.ROUTINE
    failure: TroubleKind | None = None
    waits: int = 0
    ready_at: datetime | None = None
    useful_until: datetime | None = None
    history: tuple[Event, ...] = ()
    question: QuestionState | None = None
    protocol_digest: str = ""

    @property
    def unmade_profiles(self) -> tuple[Profile, ...]:
        """The profiles of which some destination wants objects that were not made yet."""
        wanting = (
            one for one in self.destinations if not one.kinds(seen=self.seen) <= self.made.get(one.profile, _NONE)
        )
        return tuple(dict.fromkeys(one.profile for one in wanting))

    @property
    def protocol_name(self) -> str:
        """Name and version of the protocol."""
        return f"{self.protocol} {self.protocol_version}"

    @property
    def profiles(self) -> tuple[Profile, ...]:
        """The profiles that objects are made for, each once."""
        return tuple(dict.fromkeys(destination.profile for destination in self.destinations))

    @property
    def seen(self) -> bool:
        """Whether any question marked anything."""
        return any(answer.findings for answer in self.answers)

    def question_of(self, number: int) -> ProtocolQuestion | None:
        """The question of an answer, by its place among the answers, from 0: each part answers all questions in order.

        An answer that is not in its place, as of an early version, is known by its text; None: of no question.
        """
        text = self.answers[number].question
        in_place = self.questions[number % len(self.questions)] if self.questions else None
        if in_place is not None and in_place.text == text:
            return in_place
        return next((question for question in self.questions if question.text == text), None)

    def wishes(self, profile: Profile) -> tuple[Wishes, ...]:
        """What the destinations of a profile want."""
        return tuple(one.wishes for one in self.destinations if one.profile is profile)


@dataclass(frozen=True)
class Retraction:
    """Why and since when a result object is to be retracted: it should never have been made."""

    reason: str
    at: datetime
    code: RejectionCode = RejectionCode.QUALITY


@dataclass(frozen=True)
class RetractionOf:
    """The retraction of one result object from one archive: because it was wrong, or because another replaced it.

    `told`: what stands in the way or was done, for a person. `note_uid`: of the rejection note that names it.
    """

    sop_instance_uid: SOPInstanceUID
    archive: str
    code: RejectionCode
    reason: str
    wanted_at: datetime
    state: RetractionState
    told: str
    note_uid: str | None
    done_at: datetime | None


@dataclass(frozen=True)
class ResultObject:
    """A saved result object: its bytes are on the disk and are never written again.

    `part`: ordinal of the job's part that it is of; None: of the whole job. `path`: relative to the data folder.
    `references`: SOP Instance UIDs of our own objects that it refers to; they are delivered first. `retraction`: that
    it is to be retracted; its deliveries say where it went. `series_uid`: "" where it was saved before that was kept.
    `reviewed_by`: the person who verified or corrected it, or "": such an object is never retracted. `review`: number
    of the review that made it; None: a model's answer did. `replaced_by`: of the review whose results replace it.
    """

    sop_instance_uid: SOPInstanceUID
    sop_class_uid: str
    job_key: str
    kind: ResultKind
    part: int | None
    profile: Profile
    path: Path
    digest: str
    references: tuple[str, ...]
    retraction: Retraction | None
    series_uid: str = ""
    reviewed_by: str = ""
    review: int | None = None
    replaced_by: int | None = None


@dataclass(frozen=True)
class Delivery:
    """One result object on its way to one destination.

    DELIVERED says that the archive answered 0x0000. `committed_at`: when it committed itself to keep the object;
    `seen_at`: when a query showed it there; `confirm_reason`: why neither is so yet. `wake_at`: when one that is
    PENDING is due next.
    """

    sop_instance_uid: SOPInstanceUID
    archive: str
    state: DeliveryState
    reason: str
    attempts: int
    delivered_at: datetime | None
    committed_at: datetime | None = None
    seen_at: datetime | None = None
    confirm_reason: str = ""
    wake_at: datetime | None = None


# --- What the steps hand over -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NewInstance:
    """An instance whose file is already safe on disk.

    `path`: relative to the data folder. `image`: whether its SOP class holds images; only these open a generation.
    `keep_late`: whether an image that comes after its study was read is kept and not read.
    """

    study_uid: str
    series_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    path: Path
    bytes: int
    digest: str
    calling_ae_title: str
    image: bool = True
    patient: Patient | None = None
    modality: str = ""
    series_description: str = ""
    accession_number: str = ""
    keep_late: bool = False


@dataclass(frozen=True)
class JobPlan:
    """A job as planned: everything its keys are made from, and the keys.

    `useful_for_s`: seconds after the study's last instance in which its answer is of use; None: at any time.
    `protocol_digest`: of the protocol's file, in no key: an edit that asks the same makes nothing be read again.
    """

    job_key: str
    request_key: str
    answer_key: str
    series_uid: str
    protocol: str
    protocol_version: str
    questions: tuple[ProtocolQuestion, ...]
    inputs: tuple[str, ...]
    model: PredictorDescription
    software: str
    destinations: tuple[Destination, ...]
    prior: Prior | None = None
    frames: FrameChoice = MIDDLE_FRAME
    kind: SeriesKind | None = None
    priority: Priority = Priority.ROUTINE
    useful_for_s: float | None = None
    protocol_digest: str = ""


@dataclass(frozen=True)
class SavedObject:
    """A result object whose bytes are already safe on disk; `path` is relative to the data folder."""

    sop_instance_uid: str
    sop_class_uid: str
    kind: ResultKind
    part: int | None
    profile: Profile
    path: Path
    digest: str
    references: tuple[str, ...] = ()
    series_uid: str = ""


@dataclass(frozen=True)
class SavedNote:
    """A rejection note whose bytes are already safe on disk, and the objects that it names in `archive`.

    `code`, `reason`: what it says of them.
    """

    sop_instance_uid: str
    sop_class_uid: str
    archive: str
    code: RejectionCode
    reason: str
    path: Path
    digest: str
    names: tuple[str, ...]
    series_uid: str = ""


# --- What the repository hands out ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ClaimedDelivery:
    """A delivery that its claimer may send, or that stands before one: `held` and `delivery.state` tell."""

    result: ResultObject
    delivery: Delivery
    held: bool = True


@dataclass(frozen=True)
class UnconfirmedObject:
    """An object that was delivered and is neither committed nor seen again.

    `attempts`: how often that was asked since it was sent last; `resends`: how often it was sent again.
    """

    result: ResultObject
    study_uid: StudyUID
    attempts: int
    resends: int


@dataclass(frozen=True)
class ClaimedRetraction:
    """A retraction that its claimer may carry out."""

    result: ResultObject
    retraction: RetractionOf
    attempts: int


@dataclass(frozen=True)
class Due:
    """What the scheduler has to wake: ids only.

    `deliveries` and `confirmations`: job key and archive; `retractions`: Study Instance UID and archive.
    """

    plans: Sequence[str] = field(default_factory=tuple)
    jobs: Sequence[str] = field(default_factory=tuple)
    deliveries: Sequence[tuple[str, str]] = field(default_factory=tuple)
    confirmations: Sequence[tuple[str, str]] = field(default_factory=tuple)
    retractions: Sequence[tuple[str, str]] = field(default_factory=tuple)

    def __bool__(self) -> bool:
        return bool(self.plans or self.jobs or self.deliveries or self.confirmations or self.retractions)
