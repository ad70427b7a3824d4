"""Finding, ReadAnswer, ReadPart: what SEG, SR and picture are made from, and what they say about their making."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from dicom_node.results.concept import Code, SegmentedConcept
from dicom_node.results.measurement import Measurement
from dicom_node.results.profiles import Profile
from dicom_node.volumes.load import SeriesVolume

__all__ = ["Code", "Finding", "ReadAnswer", "ReadPart", "ResultContext", "SegmentedConcept"]


@dataclass(frozen=True)
class Finding:
    """One thing that an answer named and marked.

    `mask`: bool `slices rows columns` on the part's own grid, in the order of SeriesVolume.
    `confidence`: 0 to 1. `tracking_uid` is shared by the segment and the measurement group. `measurements`: those of
    `measure`, taken once; every result shows these and measures nothing itself.
    """

    phrase: str
    concept: SegmentedConcept
    confidence: float
    mask: NDArray[np.bool_]
    tracking_id: str
    tracking_uid: str
    measurements: tuple[Measurement, ...]


@dataclass(frozen=True)
class ReadAnswer:
    """One question of a job with its answer's text, what was seen and what was looked for and not seen."""

    question: str
    text: str
    findings: tuple[Finding, ...]
    not_seen: tuple[SegmentedConcept, ...]


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
    predecessors: Sequence[tuple[str, str]] = ()  # (SOP Class UID, SOP Instance UID) of SRs this one replaces
