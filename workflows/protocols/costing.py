"""Costing: how long the model takes for what is asked, from times that the node has measured itself. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from dicom_node.headers.study import SeriesHeader
from dicom_node.sop_classes import ImageKind, image_kind
from dicom_node.volumes.frames import FrameChoice
from workflows.protocols.schema import ReadingProtocol

__all__ = ["Cost", "MeasuredAnswer", "Work", "cost_of", "minutes_of", "slices_read", "work_of"]

Work = int
"""Slices times questions."""


@dataclass(frozen=True)
class MeasuredAnswer:
    """A job whose model time was measured: s, slices that it read, questions that it answered."""

    seconds: float
    slices: int
    questions: int


@dataclass(frozen=True)
class Cost:
    """What a series asked by a protocol takes: median seconds a question and slice, from this node's own jobs.

    `jobs`: how many were measured; 0: nothing is known and no minutes are told.
    """

    seconds_a_slice_and_question: float = 0.0
    seconds_a_job: float = 0.0
    jobs: int = 0


def cost_of(measured: Iterable[MeasuredAnswer]) -> Cost:
    """The medians of what was measured."""
    known = [one for one in measured if one.slices > 0 and one.questions > 0 and one.seconds > 0]
    if not known:
        return Cost()
    return Cost(
        statistics.median(one.seconds / (one.slices * one.questions) for one in known),
        statistics.median(one.seconds for one in known),
        len(known),
    )


def minutes_of(work: Work, cost: Cost | None) -> float | None:
    """How long the model takes, in minutes; None: nothing was measured."""
    return None if cost is None or not cost.jobs else work * cost.seconds_a_slice_and_question / 60


def work_of(series: SeriesHeader, protocol: ReadingProtocol) -> Work:
    """Slices of a series that a protocol has read, times the questions that it asks of them."""
    return slices_read(series, protocol.frames) * len(protocol.questions)


def slices_read(series: SeriesHeader, frames: FrameChoice) -> int:
    """How many slices or frames of a series are read, as far as its header tells."""
    instances = max(series.instances, 1)
    kinds = {image_kind(uid) for uid in series.sop_class_uids}
    total = max(series.frames or 0, instances)
    if kinds <= {ImageKind.IMAGE, ImageKind.CAPTURE}:  # their frames lie over time or views: some are chosen
        return instances * len(frames.of(total // instances))
    return total
