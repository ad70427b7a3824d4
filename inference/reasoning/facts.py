"""Facts of an answer, measured from its masks.

Every number in the words of an answer is one of these. They are defined as the node's own measurements are: volume is
the number of voxels times what each stands for, parts hang together by faces, and a size is "at least" where the mask
touches the border of an image or the first or last slice. Sizes in the patient's directions are of the whole mask in
all its slices; they are not the long axis of a report, which lies in one slice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.card import Plane
from inference.interface import LOW_CONFIDENCE, SeenTarget, SliceStack
from inference.reasoning.directions import Midline, PatientAxes, midline, patient_axes, shows_both_sides
from inference.reasoning.names import label_side
from inference.reasoning.neighbours import INSIDE, distance_mm, place_beside
from inference.reasoning.references import Measure, references_of
from inference.reasoning.sizes import extents_mm, longest_line_mm, outer_points, widest_mm
from inference.reasoning.tubes import is_round_tube, is_tube

__all__ = ["MIDDLE", "FindingFacts", "facts_of"]

MIDDLE = "middle"
_SIDE_SHARE = 0.8
_MOST_POINTS = 100_000
"""Of a mask that tell on which side of others it lies."""


@dataclass(frozen=True)
class FindingFacts:
    """What was measured of one finding; None where the stack does not allow it.

    `slices`: first and last that show it, from 0. `volume_ml`, `area_mm2`. `extents_mm`: right-left,
    anterior-posterior, head-feet. `side`: of the patient, left, right or "" (both, midline, or not to be told).
    `cut_off`: it touches the edge of what was imaged. `parts`: connected parts. `neighbours`: phrases of findings
    within 5 mm, nearest first; without a spacing those that it lies inside.

    `label_side`: what its name says, `measured_side`: where it lies, left, right, middle or "". Where they disagree
    `side` is empty. `places`: for each neighbour where this lies as seen from it ("below"), or "". `length_mm`: the
    longest line through the largest part, of a single image, and of a stack where a reference value is one; `width_mm`
    likewise (`references.Measure`), and of other round tubes in axial slices. A tube has neither extents nor length
    (`tubes.py`), and what is not `measured` has no size. `cut_in_plane`: it touches the border of an image.
    `image_share`: of the pixels of the slices that show it, 0 to 1. `zone`: where in the picture, of a single image.
    `mean_hu`: of CT.
    """

    phrase: str
    confidence: float
    slices: tuple[int, int]
    voxels: int
    parts: int
    cut_off: bool
    side: str = ""
    volume_ml: float | None = None
    area_mm2: float | None = None
    extents_mm: tuple[float, float, float] | None = None
    neighbours: tuple[str, ...] = ()
    label_side: str = ""
    measured_side: str = ""
    places: tuple[str, ...] = ()
    length_mm: float | None = None
    width_mm: float | None = None
    cut_in_plane: bool = False
    image_share: float = 0.0
    zone: str = ""
    mean_hu: float | None = None

    @property
    def measured(self) -> bool:
        """Whether the confidence bears sizes; below it the mask is shown and not measured."""
        return self.confidence >= LOW_CONFIDENCE

    @property
    def side_in_doubt(self) -> bool:
        """Whether the name says one side and the mask lies on the other."""
        return {self.label_side, self.measured_side} == {"left", "right"}


@dataclass(frozen=True)
class _Mask:
    """A target's mask and what holds it.

    `points`: every voxel, or evenly drawn ones of a large mask, `points 3`; `outer`: ends of its rows.
    """

    target: SeenTarget
    box: tuple[slice, ...]
    voxels: int
    points: NDArray[np.intp] = field(repr=False)
    outer: NDArray[np.intp] = field(repr=False)

    @property
    def inside(self) -> NDArray[np.bool_]:
        """The mask in its box."""
        return self.target.mask[self.box]


@dataclass(frozen=True)
class _Sizes:
    volume_ml: float | None = None
    area_mm2: float | None = None
    extents_mm: tuple[float, float, float] | None = None
    length_mm: float | None = None
    width_mm: float | None = None


def facts_of(stack: SliceStack, targets: Sequence[SeenTarget]) -> tuple[FindingFacts, ...]:
    """Measure every target on its stack; one whose mask is empty is left out."""
    masks = [mask for target in targets if (mask := _mask(target)) is not None]
    axes = patient_axes(stack)
    middle = midline(stack, axes) if masks and axes is not None and _tells_sides(stack, axes) else None
    return tuple(_facts(stack, mask, masks, axes, middle) for mask in masks)


def _mask(target: SeenTarget) -> _Mask | None:
    [box] = ndimage.find_objects(target.mask.view(np.uint8), max_label=1) or [None]
    if box is None:
        return None
    start = [side.start for side in box]
    inside = target.mask[box]
    marked = np.flatnonzero(inside)
    drawn = np.unravel_index(marked[:: math.ceil(len(marked) / _MOST_POINTS)], inside.shape)
    return _Mask(target, box, len(marked), np.stack(drawn, axis=1) + start, outer_points(inside) + start)


def _tells_sides(stack: SliceStack, axes: PatientAxes) -> bool:
    return axes.signed[0] and shows_both_sides(stack, axes)


def _facts(
    stack: SliceStack, mask: _Mask, masks: Sequence[_Mask], axes: PatientAxes | None, middle: Midline | None
) -> FindingFacts:
    target, shape = mask.target, _shape(stack)
    parts, count = ndimage.label(mask.inside)
    named = target.code.side if target.code is not None and target.code.side else label_side(target.phrase)
    lies = "" if axes is None or middle is None else _side(axes.along(0, mask.points), middle)
    disagree = {named, lies} == {"left", "right"}
    in_plane = any(side.start == 0 or side.stop == length for side, length in zip(mask.box[1:], shape[1:], strict=True))
    at_end = (shape[0] > 1 and stack.spacing_mm is not None) or (shape[0] == 1 and stack.context.affine is not None)
    near = _neighbours(stack, mask, masks, axes)
    sizes = _sizes(stack, mask, parts, axes) if target.confidence >= LOW_CONFIDENCE else _Sizes()
    shown = mask.box[0].stop - mask.box[0].start
    return FindingFacts(
        phrase=target.phrase,
        confidence=target.confidence,
        slices=(mask.box[0].start, mask.box[0].stop - 1),
        voxels=mask.voxels,
        parts=int(count),
        cut_off=in_plane or (at_end and (mask.box[0].start == 0 or mask.box[0].stop == shape[0])),
        side="" if disagree else named or (lies if lies != MIDDLE else ""),
        neighbours=tuple(phrase for phrase, _ in near),
        label_side=named,
        measured_side=lies,
        places=tuple(place for _, place in near),
        cut_in_plane=in_plane,
        image_share=mask.voxels / (shown * shape[1] * shape[2]),
        zone=_zone(mask.points, shape) if shape[0] == 1 else "",
        mean_hu=_mean_hu(stack, mask),
        volume_ml=sizes.volume_ml,
        area_mm2=sizes.area_mm2,
        extents_mm=sizes.extents_mm,
        length_mm=sizes.length_mm,
        width_mm=sizes.width_mm,
    )


def _shape(stack: SliceStack) -> tuple[int, int, int]:
    """Slices, rows and columns of a stack."""
    slices, rows, columns = stack.values.shape[:3]
    return slices, rows, columns


def _side(left: NDArray[np.float64], body: Midline) -> str:
    for side, beyond in (("left", left - body.middle), ("right", body.middle - left)):
        if (beyond > body.margin).mean() >= _SIDE_SHARE:
            return side
    return MIDDLE


def _neighbours(
    stack: SliceStack, mask: _Mask, masks: Sequence[_Mask], axes: PatientAxes | None
) -> list[tuple[str, str]]:
    """Phrases and places of what is near, nearest first; without a spacing only of what this lies inside."""
    near = []
    for other in masks:
        if other is mask or other.target.phrase == mask.target.phrase:
            continue
        apart: float | None = 0.0
        if stack.spacing_mm is not None:
            apart = distance_mm(mask.target.mask, mask.box, other.target.mask, other.box, stack.spacing_mm)
        if apart is None:
            continue
        share = float(np.count_nonzero(mask.inside & other.target.mask[mask.box])) / mask.voxels
        place = place_beside(mask.points, other.points, share, axes)
        if place == INSIDE or stack.spacing_mm is not None:
            near.append((apart, other.target.phrase, place))
    return [(phrase, place) for _, phrase, place in sorted(near, key=lambda item: item[0])]


def _zone(points: NDArray[np.intp], shape: tuple[int, int, int]) -> str:
    """The ninth of the picture in which the centre lies, as "upper left part"."""
    row, column = (min(2, int(3 * (points[:, axis].mean() + 0.5) / shape[axis])) for axis in (1, 2))
    height, side = ("upper", "middle", "lower")[row], ("left", "central", "right")[column]
    if height == "middle":
        return f"{side} part"
    return f"{height} {'middle' if side == 'central' else side} part"


def _mean_hu(stack: SliceStack, mask: _Mask) -> float | None:
    if stack.modality != "CT" or stack.values.ndim != 3:
        return None
    return float(stack.values[mask.box][mask.inside].mean(dtype=np.float64))


def _sizes(stack: SliceStack, mask: _Mask, parts: NDArray[np.int32], axes: PatientAxes | None) -> _Sizes:
    spacing, calibrated = stack.spacing_mm, stack.context.calibrated
    if spacing is None or not all(step > 0 for step in spacing):
        return _Sizes()
    largest = mask.inside if parts.max() == 1 else parts == 1 + int(np.argmax(np.bincount(parts.reshape(-1))[1:]))
    tube = is_tube(mask.target.phrase)
    if len(stack.values) == 1:
        if not calibrated:
            return _Sizes()
        length = None if tube else longest_line_mm(outer_points(largest)[:, 1:], spacing[1:])
        return _Sizes(area_mm2=mask.voxels * spacing[1] * spacing[2], length_mm=length)
    wanted = {reference.measure for reference in references_of(mask.target.phrase)} if calibrated else set()
    whole = axes is not None and axes.in_mm and all(axes.known) and not tube
    across = calibrated and stack.context.plane is Plane.AXIAL and is_round_tube(mask.target.phrase)
    return _Sizes(
        volume_ml=mask.voxels * math.prod(spacing) / 1000,
        extents_mm=extents_mm(mask.outer, axes) if axes is not None and whole else None,
        length_mm=longest_line_mm(outer_points(largest), spacing) if Measure.LENGTH in wanted else None,
        width_mm=widest_mm(mask.inside, spacing[1:]) if across or Measure.WIDTH in wanted else None,
    )
