"""What the node remembers, as frozen records: rows of the database never leave this package.

A **study** has **series**, a series has **instances**. A **job** is one series asked the questions of one reading
protocol; it holds **parts** (a volume, or an image). Its answers become **result objects** (at most one SEG a part, one
SR a job, for each profile), and each object has a **delivery** to each destination of its profile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
from workflows.protocols.schema import ProtocolQuestion
from workflows.protocols.verdicts import Verdict
from workflows.state.answers import AnswerRecord
from workflows.state.prior import Prior
from workflows.state.states import DeliveryState, JobState, RetractionState, StudyState

__all__ = [
    "AsIsReading", "ClaimedDelivery", "ClaimedRetraction", "Delivery", "Destination", "Due", "Instance", "Job",
    "JobPlan", "NewInstance", "Part", "PartKind", "Prior", "RejectedInstance", "ResultObject", "Retraction",
    "RetractionOf", "SavedNote", "SavedObject", "Series", "Study", "Trouble", "TroubleKind", "UnconfirmedObject",
]  # fmt: skip


_NONE: frozenset[ResultKind] = frozenset()


class PartKind(Enum):
    """What a part of a job is: a stack of slices with one geometry, or an image that stands for itself."""

    VOLUME = "volume"
    IMAGE = "image"


class TroubleKind(Enum):
    """Why an attempt at a job came to nothing. Each kind is told as what it is."""

    WORKER_DIED = "worker-died"
    NO_ROOM = "no-room"
    DEFECT = "defect"


@dataclass(frozen=True)
class Trouble:
    """One attempt that came to nothing; `reason` is a sentence for a person."""

    kind: TroubleKind
    reason: str


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
    """A study, its current generation and where it stands. `attention`: why a person has to look at it, or ""."""

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

    `patient`: whom its header names; None: received before that was kept, the file says it. `lost_at`: when the sweep
    found its file gone; None while it is there.
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
    that planned it. `attempts`: claims. `troubles`: attempts that came to nothing.
    `notes`: what its report says of instances that were not read, and of numbers. `made`: the kinds of objects that
    were made for each profile, as far as there was anything to say in them. `edition`: counts how often its
    objects were made under UIDs of their own, since those before were retracted. `kind`: of its series, and when it
    was taken; None in a job that was planned before this was kept.
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
    `reviewed_by`: the person who verified or corrected it, or "": such an object is never retracted.
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


@dataclass(frozen=True)
class Delivery:
    """One result object on its way to one destination.

    DELIVERED says that the archive answered 0x0000. `committed_at`: when it committed itself to keep the object;
    `seen_at`: when a query showed it there; `confirm_reason`: why neither is so yet.
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


# --- What the steps hand over -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NewInstance:
    """An instance whose file is already safe on disk.

    `path`: relative to the data folder. `image`: whether its SOP class holds images; only these open a generation.
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


@dataclass(frozen=True)
class JobPlan:
    """A job as planned: everything its keys are made from, and the keys."""

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
    """A delivery that its claimer may send, or that stands before one: `delivery.state` tells."""

    result: ResultObject
    delivery: Delivery


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
