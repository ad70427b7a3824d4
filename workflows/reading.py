"""Between the DICOM side and the model: a volume becomes a SliceStack, answers become findings on the source grid.

The model was trained on slices as they are displayed: axial ones with anterior up and the patient's left on the right
of the image (PS3.17). A volume is flipped and transposed in plane to that view before it is asked, and its masks are
turned back by the inverse. Slices are never resampled here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from dicom_node.identifiers import derived_uid
from dicom_node.results.codes import concept_for
from dicom_node.results.finding import Code, Finding, ReadAnswer, SegmentedConcept
from dicom_node.volumes.load import SeriesVolume
from inference.interface import Answer, SliceStack
from workflows.protocols.schema import ProtocolQuestion

__all__ = ["LEAST_CONFIDENCE", "DisplayView", "display_view", "read_answer", "slice_stack"]

LEAST_CONFIDENCE = 0.05
"""Confidence is the overlap (IoU) that is expected with a reader's outline: a mask below this is expected to miss."""

log = structlog.get_logger()

# In-plane axes of the display convention, as unit vectors of patient space (LPS, mm): along a row, down a column.
_DISPLAY_AXES = {
    0: (np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, -1.0])),  # sagittal: posterior right, feet down
    1: (np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, -1.0])),  # coronal: patient's left right, feet down
    2: (np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0])),  # axial: patient's left right, posterior down
}


@dataclass(frozen=True)
class DisplayView:
    """How the source grid is turned in plane for display: transpose first, then flips. `restore` undoes `apply`."""

    transpose: bool
    flip_rows: bool
    flip_columns: bool

    def apply(self, values: NDArray[Any]) -> NDArray[Any]:
        """`slices rows columns [3]` on the source grid -> the same in display orientation."""
        if self.transpose:
            values = np.swapaxes(values, 1, 2)
        if self.flip_rows:
            values = values[:, ::-1]
        if self.flip_columns:
            values = values[:, :, ::-1]
        return np.ascontiguousarray(values)

    def restore(self, values: NDArray[Any]) -> NDArray[Any]:
        """The inverse of `apply`."""
        if self.flip_columns:
            values = values[:, :, ::-1]
        if self.flip_rows:
            values = values[:, ::-1]
        if self.transpose:
            values = np.swapaxes(values, 1, 2)
        return np.ascontiguousarray(values)


def display_view(volume: SeriesVolume) -> DisplayView:
    """The view that shows this volume by the display convention; the identity without patient geometry."""
    if volume.geometry is None:
        return DisplayView(False, False, False)
    directions = np.asarray(volume.geometry.direction, dtype=float)  # columns: slice, row index, column index axes
    normal, down, along = directions[:, 0], directions[:, 1], directions[:, 2]
    wanted_along, wanted_down = _DISPLAY_AXES[int(np.argmax(np.abs(normal)))]
    transpose = abs(float(along @ wanted_along)) < abs(float(down @ wanted_along))
    if transpose:
        along, down = down, along
    return DisplayView(transpose, float(down @ wanted_down) < 0, float(along @ wanted_along) < 0)


def slice_stack(volume: SeriesVolume, view: DisplayView) -> SliceStack:
    """The volume's values in display orientation, with modality and spacing."""
    spacing = volume.spacing_mm
    if spacing is not None and view.transpose:
        spacing = (spacing[0], spacing[2], spacing[1])
    return SliceStack(
        values=view.apply(volume.values),
        modality=volume.modality,
        spacing_mm=spacing,
        stored_range=volume.stored_range,
    )


def read_answer(
    answer: Answer,
    question: ProtocolQuestion,
    view: DisplayView,
    job_key: str,
    ordinal: int,
    *,
    only_findings: bool = True,
) -> ReadAnswer:
    """An answer with its masks on the source grid and its phrases coded.

    Marked is what the question's findings name, with a confidence of `LEAST_CONFIDENCE` or more. What else the model
    named stays in the text, which then says that it was not marked and why, and gets neither segment nor measurement.
    `only_findings=False` (no protocol asked): whatever has a code may be marked. A phrase without a code never is:
    a placeholder would lie to the archive.
    """
    findings: list[Finding] = []
    unmarked: list[str] = []
    doubted: list[SegmentedConcept] = []
    met: set[SegmentedConcept] = set()
    for number, target in enumerate(answer.targets):
        finding, concept = _asked_for(target.phrase, question.findings)
        if finding is None and only_findings:
            unmarked.append(f"{target.phrase}, named but not asked for")
        elif concept is None:
            unmarked.append(f"{target.phrase}, for which no code is known")
        elif target.confidence < LEAST_CONFIDENCE:
            doubted.append(finding or concept)
            unmarked.append(f"{target.phrase}, with a confidence of {target.confidence:.2f}")
        else:
            met.add(finding or concept)
            findings.append(
                Finding(
                    phrase=target.phrase,
                    concept=concept,
                    confidence=target.confidence,
                    mask=view.restore(target.mask),
                    tracking_id=f"{concept.label} {ordinal + 1}.{number + 1}",
                    tracking_uid=derived_uid(job_key, "tracking", str(ordinal), str(number)),
                )
            )
    text = answer.text
    if doubted and not findings:  # the model's own words would claim what is not delivered
        text = f'Nothing is marked. The model said: "{text}"'
    if unmarked:
        text = f"{text} [Not marked: {'; '.join(unmarked)}.]".strip()
        log.info("named_and_not_marked", job_key=job_key, question=question.id, phrases=unmarked)
    wanted = dict.fromkeys((*question.findings, *doubted))
    not_seen = tuple(concept for concept in wanted if concept not in met)
    return ReadAnswer(question=question.text, text=text, findings=tuple(findings), not_seen=not_seen)


def _asked_for(
    phrase: str, findings: tuple[SegmentedConcept, ...]
) -> tuple[SegmentedConcept | None, SegmentedConcept | None]:
    """The finding that a phrase names, if any, and the concept to mark it as.

    A phrase names a finding by its label or by its codes; a finding without a side is named by either side, and is
    then marked as that side.
    """
    known = concept_for(phrase)
    for finding in findings:
        if finding.label.casefold() == phrase.strip().casefold():
            return finding, finding
    if known is not None:
        same = [finding for finding in findings if _same_but_for_side(finding, known)]
        for finding in same:
            if _same_code(finding.laterality, known.laterality):
                return finding, finding
        for finding in same:
            if finding.laterality is None:
                return finding, known
    return None, known


def _same_but_for_side(one: SegmentedConcept, other: SegmentedConcept) -> bool:
    pairs = (one.category, other.category), (one.type, other.type), (one.site, other.site)
    return all(_same_code(*pair) for pair in pairs)


def _same_code(one: Code | None, other: Code | None) -> bool:
    """Code's own comparison knows SRT's codes for SCT's, and fails on None."""
    return one is other if one is None or other is None else bool(one == other)
