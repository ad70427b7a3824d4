"""Identity: whether the images of a study name one patient, and what to say and do where they do not. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dicom_node.headers.patient import Contradiction, Patient, first_contradiction
from workflows.state.records import Instance

__all__ = ["Disagreement", "contradiction_in", "disagreement"]

_NAMED = 3
_NEVER = ". A series that names two patients is never read"
_SEND = ". Send the corrected images"


@dataclass(frozen=True)
class Disagreement:
    """Why a study is held. `reason`: names both patients, for state and `explain`, never for a log.

    `attributes`: what contradicts, no values. `within`: the series that disagree in themselves; () where only series
    disagree with each other, which may be read as they are.
    """

    reason: str
    attributes: str
    within: tuple[str, ...]


def disagreement(images: Sequence[Instance]) -> Disagreement | None:
    """How the images of a study contradict each other about whom they are of; None: they agree.

    Every image is compared with every other of the study, since an image that names nobody agrees with all. An image
    whose patient is not known says nothing.
    """
    by_series: dict[str, dict[Patient, None]] = defaultdict(dict)
    for image in images:
        if image.patient is not None:
            by_series[image.series_uid][image.patient] = None
    within = {
        series_uid: found
        for series_uid, patients in by_series.items()
        if (found := first_contradiction(patients)) is not None
    }
    if within:
        return Disagreement(_within(within), next(iter(within.values())).attributes, tuple(within))
    between = first_contradiction(patient for patients in by_series.values() for patient in patients)
    if between is None:
        return None
    return Disagreement(_between(between, by_series, images[0].study_uid), between.attributes, ())


def contradiction_in(reason: str) -> tuple[str, bool]:
    """What a HELD study's reason says contradicts, without what to do; and whether the study may be read as it is."""
    told, never, _ = reason.partition(_NEVER)
    return told.partition(_SEND)[0], not never


def _within(found: Mapping[str, Contradiction]) -> str:
    named = "; ".join(
        f"images of series {series_uid} contradict each other in {one.attributes}: {one.first.told()}, and "
        f"{one.second.told()}"
        for series_uid, one in list(found.items())[:_NAMED]
    )
    more = f"; so do those of {len(found) - _NAMED} more series" if len(found) > _NAMED else ""
    return f"{named}{more}{_NEVER}: send the corrected images, or a rejection note for those that are wrong"


def _between(found: Contradiction, by_series: Mapping[str, Mapping[Patient, None]], study_uid: str) -> str:
    first, second = (
        next(series_uid for series_uid, patients in by_series.items() if patient in patients)
        for patient in (found.first, found.second)
    )
    return (
        f"series contradict each other in {found.attributes}: {first} is of {found.first.told()}, {second} is of "
        f"{found.second.told()}{_SEND}, or a rejection note for those that are wrong; if each "
        f"series is right as it is, `medseg-node reread --study {study_uid} --as-is` reads each under its own patient"
    )
