"""What a review adds to the outlines on a slice: corrections that others propose, and what was missed."""

from __future__ import annotations

from typing import Any

from dicom_node.errors import ResultRefused
from dicom_node.results.mask_file import read_boxed_masks
from dicom_node.showing.outlines import loops
from workflows.bootstrap import Node
from workflows.state.reviewing import Missed, ProposalState, Review
from workflows.steps.showing import corrected_path

__all__ = ["review_outlines"]

_COLOUR = "#ffffff"
_AROUND = 4.0
"""Pixels from the click on something missed to the corners of its mark."""


def review_outlines(
    node: Node, review: Review | None, job_key: str, part: int, answers: Any, index: int
) -> list[dict[str, Any]]:
    """As `outlines` has them, of one slice; `dashed` tells them from findings, beside what they are called.

    `answers`: of the job, to know which of them are of the part.
    """
    found = []
    study_uid = node.repository.job(job_key).study_uid
    for one in node.repository.proposals(study_uid):
        if (one.job_key, one.part, one.state) != (job_key, part, ProposalState.PROPOSED):
            continue
        drawn = _drawn(node, study_uid, one.correction, index)
        place = f"proposal/{one.sop_instance_uid}/{one.segment}"
        found.append(_outline(place, f"{one.label}, proposed", drawn))
    for number, miss in enumerate(review.missed if review is not None else ()):
        if miss.job_key == job_key and miss.answer < len(answers) and answers[miss.answer].part == part:
            found.append(_outline(f"missed/{number}", f"{miss.label}, missed", _missed(node, study_uid, miss, index)))
    return [one for one in found if one["loops"]]


def _missed(node: Node, study_uid: str, miss: Missed, index: int) -> list[Any]:
    if miss.correction is not None:
        return _drawn(node, study_uid, miss.correction, index)
    if miss.slice != index:
        return []
    column, row = miss.column + 0.5, miss.row + 0.5
    return [[(column, row - _AROUND), (column + _AROUND, row), (column, row + _AROUND), (column - _AROUND, row)]]


def _drawn(node: Node, study_uid: str, digest: str, index: int) -> list[Any]:
    try:
        (mask,) = read_boxed_masks(corrected_path(node.folder, study_uid, digest))
    except (ResultRefused, OSError, ValueError):
        return []
    return loops(mask.slice(index)) if 0 <= index < mask.shape[0] else []


def _outline(place: str, label: str, drawn: list[Any]) -> dict[str, Any]:
    return {"place": place, "label": label, "colour": _COLOUR, "corrected": False, "dashed": True, "loops": drawn}
