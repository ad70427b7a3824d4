"""Finding and ReadAnswer: what SEG and SR are made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

import numpy as np
from numpy.typing import NDArray
from pydicom.sr.coding import Code

__all__ = ["Code", "Finding", "Profile", "ReadAnswer", "ResultContext", "SegmentedConcept"]


class Profile(Enum):
    """Destination profiles: the viewer or archive that results are shaped for."""

    AIR = "air"
    OHIF = "ohif"


@dataclass(frozen=True)
class SegmentedConcept:
    """What a segment is of, coded (PS3.3 C.8.20.4): category, type, laterality, finding site."""

    label: str
    category: Code
    type: Code
    laterality: Code | None = None
    site: Code | None = None


@dataclass(frozen=True)
class Finding:
    """One thing that an answer named and marked.

    `mask`: bool `slices rows columns` on the source series' own grid, in the order of SeriesVolume.
    `confidence`: 0 to 1. `tracking_uid` is shared by the segment and the measurement group.
    """

    phrase: str
    concept: SegmentedConcept
    confidence: float
    mask: NDArray[np.bool_]
    tracking_id: str
    tracking_uid: str


@dataclass(frozen=True)
class ReadAnswer:
    """One question of a job with its answer's text, what was seen and what was looked for and not seen."""

    question: str
    text: str
    findings: tuple[Finding, ...]
    not_seen: tuple[SegmentedConcept, ...]


@dataclass(frozen=True)
class ResultContext:
    """What result objects say about their making. All UIDs derive from `job_key`, all dates are `created`."""

    job_key: str
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
