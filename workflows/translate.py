"""Between the DICOM side and the model: a volume becomes a SliceStack, answers become findings on the source grid.

The model was trained on slices as they are displayed: axial ones with anterior up and the patient's left on the right
of the image (PS3.17). A volume is flipped and transposed in plane to that view before it is asked, and its masks are
turned back by the inverse. Slices are never resampled here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_node.identifiers import derived_uid
from dicom_node.results.codes import concept_for
from dicom_node.results.finding import Finding, ReadAnswer, SegmentedConcept
from dicom_node.volumes.load import SeriesVolume
from inference.interface import Answer, SliceStack
from workflows.protocols.schema import ProtocolQuestion

__all__ = ["DisplayView", "display_view", "read_answer", "slice_stack"]

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


def _concept(phrase: str, asked: tuple[SegmentedConcept, ...]) -> SegmentedConcept | None:
    """The concept of an answer's phrase: one the question asks for, else one of the coded table."""
    known = concept_for(phrase)
    for concept in asked:
        if concept.label.casefold() == phrase.casefold() or (known is not None and known == concept):
            return concept
    return known


def read_answer(
    answer: Answer, question: ProtocolQuestion, view: DisplayView, job_key: str, ordinal: int
) -> ReadAnswer:
    """An answer with its masks on the source grid and its phrases coded.

    A phrase without a code is kept in the text and gets no segment: a placeholder code would lie to the archive.
    """
    findings = []
    for number, target in enumerate(answer.targets):
        concept = _concept(target.phrase, question.findings)
        if concept is None:
            continue
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
    seen = {finding.concept for finding in findings}
    not_seen = tuple(concept for concept in question.findings if concept not in seen)
    return ReadAnswer(question=question.text, text=answer.text, findings=tuple(findings), not_seen=not_seen)
