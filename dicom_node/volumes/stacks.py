"""Stacks: slices with places in the patient, put together by grid, direction and spacing, or refused as mixed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from pydicom.dataset import Dataset

from dicom_node.errors import VolumeRefusal, VolumeRefused
from dicom_node.headers.elements import integer, text
from dicom_node.volumes.geometry import StackGeometry, arrange
from dicom_node.volumes.pixels import is_color
from dicom_node.volumes.splitting import PlacedSlice, Slice, Stack, split

__all__ = ["Planned", "arranged"]


@dataclass(frozen=True)
class Planned:
    """A part that can be read. `slices`: in order. `geometry`: None for images without patient geometry.

    `name`: what tells it from the other parts of its series ("echo time 30", "instance 2"); empty where it is alone.
    """

    slices: tuple[Slice, ...]
    geometry: StackGeometry | None
    name: str


def arranged(slices: Sequence[PlacedSlice]) -> list[Planned]:
    """Stacks of slices of one grid, direction and spacing, each in order.

    Raises VolumeRefused for slices that are different and, taken apart, no stacks.
    """
    kinds = _alike(slices)
    _require_clear_directions(kinds)
    planned = []
    for group, kind in kinds:
        for stack in split(group):
            try:
                planned.append(_in_order(stack, kind))
            except VolumeRefused as refused:
                if len(kinds) == 1:
                    raise
                raise _mixed(kinds, refused) from refused
    return planned


_CLEARLY_TURNED = 0.02
"""Difference of direction cosines, about 1 degree, from which slices are a stack of their own."""


def _require_clear_directions(kinds: Sequence[tuple[list[PlacedSlice], str]]) -> None:
    """Slices that are turned by less than a degree are one stack that was spoilt, by a motion correction say."""
    for (one, _), (other, _) in combinations(kinds, 2):
        turned = _turned(one[0], other[0])
        if _DIRECTION_TOLERANCE < turned < _CLEARLY_TURNED and len(one) + len(other) > 2:
            raise VolumeRefused(
                VolumeRefusal.MIXED_ORIENTATIONS,
                f"{one[0].name} and {other[0].name} are turned by less than a degree against each other; send the "
                "series with one Image Orientation (Patient)",
            )


def _number(item: Slice) -> int:
    """Instance Number, or the frame's: parts come in the order in which their first slices are numbered."""
    return (integer(item.header, "InstanceNumber") or 0) if item.frame is None else item.frame


def _in_order(stack: Stack, kind: str) -> Planned:
    header = stack.slices[0].header
    rows, columns = integer(header, "Rows") or 0, integer(header, "Columns") or 0
    order, geometry = arrange([item.plane for item in stack.slices], rows, columns)
    return Planned(tuple(stack.slices[index] for index in order), geometry, ", ".join(filter(None, [kind, stack.name])))


_DIRECTION_TOLERANCE = 1e-3
"""Largest difference of direction cosines, about 0.06 degrees."""
_SPACING_TOLERANCE = 1e-3
"""Largest relative difference of pixel spacings."""
_MOST_GROUPS = 200
"""Each slice is compared with each of them."""


def _alike(slices: Sequence[PlacedSlice]) -> list[tuple[list[PlacedSlice], str]]:
    """Slices of one class, shape, frame of reference, direction and spacing, and what tells each such group apart."""
    groups: list[list[PlacedSlice]] = []
    shaped: dict[tuple[object, ...], list[list[PlacedSlice]]] = {}
    for item in slices:
        near = shaped.setdefault((_shape(item.header), item.plane.frame_of_reference_uid), [])
        group = next((one for one in near if _same_direction(one[0], item) and _same_spacing(one[0], item)), None)
        if group is None:
            if len(groups) == _MOST_GROUPS:
                raise VolumeRefused(
                    VolumeRefusal.MIXED_SHAPES,
                    f"holds more than {_MOST_GROUPS:,} kinds of slices, each of another shape, direction or spacing; "
                    "send each stack as its own series",
                )
            near.append([item])
            groups.append(near[-1])
        else:
            group.append(item)
    if len(groups) < 2:
        return [(group, "") for group in groups]
    groups.sort(key=lambda group: min(_number(item) for item in group))
    return [(group, f"stack {place}, {_seen_from(group[0])}") for place, group in enumerate(groups, start=1)]


def _seen_from(item: PlacedSlice) -> str:
    right, down = np.array(item.plane.orientation).reshape(2, 3)
    return ("sagittal", "coronal", "axial")[int(np.argmax(np.abs(np.cross(right, down))))]


def _same_shape(one: PlacedSlice, other: PlacedSlice) -> bool:
    return _shape(one.header) == _shape(other.header)


def _shape(header: Dataset) -> tuple[object, ...]:
    inverted = text(header, "PhotometricInterpretation") == "MONOCHROME1"
    return text(header, "SOPClassUID"), integer(header, "Rows"), integer(header, "Columns"), is_color(header), inverted


def _same_frame_of_reference(one: PlacedSlice, other: PlacedSlice) -> bool:
    return one.plane.frame_of_reference_uid == other.plane.frame_of_reference_uid


def _same_direction(one: PlacedSlice, other: PlacedSlice) -> bool:
    return _turned(one, other) <= _DIRECTION_TOLERANCE


def _turned(one: PlacedSlice, other: PlacedSlice) -> float:
    """The largest difference of direction cosines. In plain Python, which is faster for six."""
    pairs = zip(one.plane.orientation, other.plane.orientation, strict=True)
    return max(abs(first - second) for first, second in pairs)


def _same_spacing(one: PlacedSlice, other: PlacedSlice) -> bool:
    pairs = zip(one.plane.spacing_mm, other.plane.spacing_mm, strict=True)
    return max(abs(first / second - 1) for first, second in pairs) <= _SPACING_TOLERANCE


_SAME: dict[VolumeRefusal, Callable[[PlacedSlice, PlacedSlice], bool]] = {
    VolumeRefusal.MIXED_SHAPES: _same_shape,
    VolumeRefusal.MIXED_FRAMES_OF_REFERENCE: _same_frame_of_reference,
    VolumeRefusal.MIXED_ORIENTATIONS: _same_direction,
    VolumeRefusal.MIXED_SPACINGS: _same_spacing,
}


def _mixed(kinds: Sequence[tuple[list[PlacedSlice], str]], refused: VolumeRefused) -> VolumeRefused:
    """The refusal of a series whose slices differ and do not fall apart into stacks: by what they differ in first."""
    first, second = kinds[0][0][0], kinds[1][0][0]
    reason = next(reason for reason, same in _SAME.items() if not same(first, second))
    what = reason.value.removeprefix("mixed-").replace("-", " ")
    return VolumeRefused(reason, f"{first.name} and {second.name} differ in their {what}, and apart: {refused.detail}")
