"""Finding, ReadAnswer, ReadPart: what SEG, SR and picture are made from, and what they say about their making."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dicom_node.results.comparison import Change
from dicom_node.results.concept import Code, SegmentedConcept
from dicom_node.results.measurement import Measurement
from dicom_node.results.profiles import Profile
from dicom_node.results.telling import marked_pixels
from dicom_node.volumes.load import SeriesVolume

__all__ = [
    "Code", "Drawn", "Finding", "NotAssessed", "PointedOut", "ReadAnswer", "ReadPart", "ResultContext", "Reviewer",
    "SegmentedConcept",
]  # fmt: skip

_LOW_CONFIDENCE = ", low confidence"


class Drawn(Enum):
    """Who a mask and its name are from; the values are those of Segment Algorithm Type (PS3.3 C.8.20.2).

    CORRECTED: the model's, whose outline or name a person has corrected.
    """

    MODEL = "AUTOMATIC"
    CORRECTED = "SEMIAUTOMATIC"
    PERSON = "MANUAL"


@dataclass(frozen=True)
class Finding:
    """One thing that an answer named and marked.

    `mask`: bool `slices rows columns` on the part's own grid, in the order of SeriesVolume.
    `confidence`: 0 to 1, that of the model, and so of nothing that a person drew; `low_confidence`: it is below the
    node's limit, so that nothing is measured, and whatever names the finding says so. `tracking_uid` is shared by the
    segment and the measurement group. `measurements`: those of `measure`, taken once; every result shows these and
    measures nothing itself. `changes`: since an earlier result.
    """

    phrase: str
    concept: SegmentedConcept
    confidence: float
    mask: NDArray[np.bool_]
    tracking_id: str
    tracking_uid: str
    measurements: tuple[Measurement, ...]
    low_confidence: bool = False
    changes: tuple[Change, ...] = ()
    drawn: Drawn = Drawn.MODEL

    def __post_init__(self) -> None:
        if self.low_confidence and self.measurements:
            raise ValueError(f"{self.tracking_id} is of low confidence and must not be measured")

    @cached_property
    def pixels_by_slice(self) -> NDArray[np.int64]:
        """How many pixels are marked in each slice: counted once, as every object asks for it."""
        return marked_pixels(self.mask)

    @property
    def largest_slice(self) -> int:
        """The slice with the most marked pixels, from 0; the first of several."""
        return int(np.argmax(self.pixels_by_slice))

    @property
    def assurance(self) -> str:
        """How sure its mask is, in words: "confidence 0.83", or that a person has corrected or drawn it."""
        match self.drawn:
            case Drawn.MODEL:
                return f"confidence {self.confidence:.2f}"
            case Drawn.CORRECTED:
                return "corrected by a person"
            case Drawn.PERSON:
                return "drawn by a person"

    @property
    def label(self) -> str:
        """What the finding is called, at most 64 characters (a Segment Label, LO)."""
        return self.qualified(self.concept.label)

    def qualified(self, name: str) -> str:
        """A name of the finding, at most 64 characters, with what holds of all of it."""
        return f"{name[: 64 - len(_LOW_CONFIDENCE)]}{_LOW_CONFIDENCE}" if self.low_confidence else name[:64]


@dataclass(frozen=True)
class PointedOut:
    """Something that a person points at in an image, and `text`, what is said of it.

    `slice_index`: from 0, of the part's stack. `row`, `column`: of its grid; the middle of the first pixel is 0, 0.
    """

    slice_index: int
    row: float
    column: float
    text: str


@dataclass(frozen=True)
class NotAssessed:
    """Something that was asked for and not looked for: nobody knows whether it is there.

    `concept`: None where no code is known. `why`: a word for programs, such as label-not-learned; `reason`: a sentence.
    """

    phrase: str
    concept: SegmentedConcept | None
    why: str
    reason: str

    @property
    def label(self) -> str:
        """What it is called."""
        return self.phrase if self.concept is None else self.concept.label

    @property
    def told(self) -> str:
        """What it is called, and why it was not assessed."""
        return f"{self.label}: {self.reason}"


@dataclass(frozen=True)
class ReadAnswer:
    """One question of a job with its answer's text, what was seen and what was looked for and not seen.

    `pointed_out`: what a reviewer says of places that have no mask.
    `compared`: sentences on an earlier result that no finding has in its `changes`, such as what was not asked then.
    `not_assessed`: what was asked for and could not be looked for. `goes_on`: the question goes on from the one before
    it, whose findings it means; only what that one did not say stands in this one's. `not_asked`: the question was not
    asked, as what it depends on was not seen or is small, and the text says so: nothing was looked for.
    """

    question: str
    text: str
    findings: tuple[Finding, ...]
    not_seen: tuple[SegmentedConcept, ...]
    compared: tuple[str, ...] = ()
    pointed_out: tuple[PointedOut, ...] = ()
    not_assessed: tuple[NotAssessed, ...] = ()
    goes_on: bool = False
    not_asked: bool = False

    def __post_init__(self) -> None:
        if self.not_asked and (self.not_seen or self.not_assessed or not self.goes_on):
            raise ValueError("a question that was not asked goes on from another, and has looked for nothing")

    @property
    def says_nothing(self) -> bool:
        """Whether nothing in it is coded, so that an object has to say that nothing was marked."""
        assessed = self.findings or self.not_seen or any(one.concept is not None for one in self.not_assessed)
        return not assessed and not self.goes_on


@dataclass(frozen=True)
class ReadPart:
    """A part of a job, a volume or an image, with an answer for each question.

    `ordinal`: its place among the job's parts, from 0.
    """

    ordinal: int
    volume: SeriesVolume
    answers: tuple[ReadAnswer, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The findings of all answers; a finding's place, from 1, is the number of its segment."""
        return tuple(finding for answer in self.answers for finding in answer.findings)


@dataclass(frozen=True)
class Reviewer:
    """Who verified results. `name`: as DICOM has persons (PN). `organisation`: "" where none is stated."""

    name: str
    organisation: str
    at: datetime


@dataclass(frozen=True)
class ResultContext:
    """What result objects say about their making. All UIDs derive from `object_key`, all dates are `created`."""

    object_key: str
    created: datetime
    algorithm_name: str
    algorithm_version: str
    weights_digest: str
    terms: str | None  # "research use only" or None
    protocol: str  # "name version"
    station_ae_title: str
    profile: Profile
    complete: bool = True
    node_uid: str = ""  # of the installation; empty where nothing is installed
    predecessors: Sequence[tuple[str, str]] = ()  # (SOP Class UID, SOP Instance UID) of SRs this one replaces
    reviewer: Reviewer | None = None  # None: no person has verified it
    protocol_digest: str = ""  # SHA-256 of the protocol's file; empty where no file is known: then nothing names it

    @property
    def named_protocol(self) -> str:
        """Name and version of the protocol, and the first digits of its file's digest, where that is known."""
        return f"{self.protocol} (sha256 {self.protocol_digest[:12]})" if self.protocol_digest else self.protocol
