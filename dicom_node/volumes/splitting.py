"""Slices that lie at the same places are several volumes: told apart by the attributes that the standard has for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from pydicom.datadict import dictionary_description, keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from dicom_node.headers.elements import items, number, numbers, text, texts
from dicom_node.headers.functional_groups import functional_group
from dicom_node.volumes.geometry import Plane, depths
from dicom_node.volumes.planes import macro, slice_name

__all__ = ["PlacedSlice", "Slice", "Stack", "split"]


@dataclass(frozen=True)
class Slice:
    """One slice of a series: which file, which frame (from 0, or None), and its header."""

    path: Path
    header: Dataset
    frame: int | None

    @property
    def name(self) -> str:
        return slice_name(self.header, self.frame)


@dataclass(frozen=True)
class PlacedSlice(Slice):
    """A slice with its place in the patient."""

    plane: Plane


@dataclass(frozen=True)
class Stack:
    """Slices of which no two lie at the same place, and what tells them from the series' others ("echo time 30")."""

    slices: tuple[PlacedSlice, ...]
    name: str = ""


_SAME_PLACE_MM = 0.01
_Value = str | float | tuple[float, ...] | None


def split(slices: Sequence[PlacedSlice]) -> list[Stack]:
    """Stacks of parallel slices, one for each echo, phase, b-value, station or whatever else tells them apart.

    Slices that nothing tells apart stay together; `arrange` then names two that lie at the same position. What a
    contrast attribute tells apart is never one stack, also where slices of one lie between those of the other.
    """
    for attribute in _CONTRASTS if len(set(_places(slices))) == len(slices) else ():
        groups = _grouped(slices, [_ATTRIBUTES[attribute](item) for item in slices])
        if _interleaved(list(groups.values())):
            return [
                stack
                for value, group in sorted(groups.items(), key=lambda entry: _sortable(entry[0]))
                for stack in _split(group, _named(attribute, value))
            ]
    return _split(slices, "")


_CONTRASTS = ("echo", "b-value", "temporal position", "temporal position index", "stack")


def _interleaved(groups: Sequence[Sequence[PlacedSlice]]) -> bool:
    """Whether at least two of several groups are stacks, each with slices between those of the other."""
    if len(groups) < 2 or min(len(group) for group in groups) < 2:
        return False
    first = groups[0][0].plane
    along = [depths([first, *(item.plane for item in group)])[1:] for group in groups]
    ranges = [(float(one.min()), float(one.max())) for one in along]
    return all(one[0] < other[1] and other[0] < one[1] for one, other in pairwise(ranges))


def _split(slices: Sequence[PlacedSlice], name: str) -> list[Stack]:
    places = _places(slices)
    most = max(Counter(places).values())
    if most == 1:
        return [Stack(tuple(slices), name)]
    for attribute, groups in _groupings(slices, places):
        if not 1 < len(groups) <= most:
            continue
        split_places = (_places(group) for group in groups.values())
        if max(max(Counter(found).values()) for found in split_places) < most:
            return [
                stack
                for value, group in sorted(groups.items(), key=lambda entry: _sortable(entry[0]))
                for stack in _split(group, ", ".join(filter(None, [name, _named(attribute, value)])))
            ]
    return [Stack(tuple(slices), name)]


def _places(slices: Sequence[PlacedSlice]) -> list[int]:
    """The depth of each slice along the normal, as a number that those at the same depth share."""
    along = depths([item.plane for item in slices])
    order = np.argsort(along, kind="stable")
    places = np.zeros(len(slices), dtype=int)
    places[order] = np.concatenate([[0], np.cumsum(np.diff(along[order]) > _SAME_PLACE_MM)])
    return [int(place) for place in places]


def _groupings(
    slices: Sequence[PlacedSlice], places: Sequence[int]
) -> list[tuple[str, dict[_Value, list[PlacedSlice]]]]:
    """Each attribute with the slices by its value."""
    valued = [(name, [read(item) for item in slices]) for name, read in _ATTRIBUTES.items()]
    valued += [("station", _stations(slices))]
    valued += [(name, _values_of(slices, tag)) for name, tag in _dimensions(slices[0].header).items()]
    valued += [("phase", _ranks(slices, places, keyword)) for keyword in _TIMES]
    return [(name, _grouped(slices, values)) for name, values in valued]


def _grouped(slices: Sequence[PlacedSlice], values: Sequence[_Value]) -> dict[_Value, list[PlacedSlice]]:
    groups: dict[_Value, list[PlacedSlice]] = {}
    for item, value in zip(slices, values, strict=True):
        groups.setdefault(value, []).append(item)
    return groups


def _sortable(value: _Value) -> tuple[int, float, str]:
    """Numbers by size, before texts; what is missing first."""
    if value is None:
        return 0, 0.0, ""
    return (1, float(value), "") if isinstance(value, int | float) else (2, 0.0, str(value))


def _named(attribute: str, value: _Value) -> str:
    if value is None:
        return f"no {attribute}"
    shown = f"{value:g}" if isinstance(value, float) else str(value)
    return f"{attribute} {shown}"


# --- What tells slices apart ------------------------------------------------------------------------------------------


def _number(keyword: str, *macros: str) -> Callable[[PlacedSlice], _Value]:
    """The attribute as a number: of a frame's macros, innermost last, or of the header."""

    def read(item: PlacedSlice) -> _Value:
        found = _within(item, macros)
        return None if found is None else number(found, keyword)

    return read


def _text(keyword: str, *macros: str) -> Callable[[PlacedSlice], _Value]:
    def read(item: PlacedSlice) -> _Value:
        found = _within(item, macros)
        return None if found is None else "\\".join(texts(found, keyword)) or None

    return read


def _within(item: PlacedSlice, macros: Sequence[str]) -> Dataset | None:
    if item.frame is None or not macros:
        return item.header
    found = functional_group(item.header, item.frame, macros[0])
    for inner in macros[1:]:
        found = None if found is None else next(items(found, inner), None)
    return found


def _direction(item: PlacedSlice) -> _Value:
    """The diffusion gradient of a slice, as a value that can be compared."""
    found = _within(item, ("MRDiffusionSequence", "DiffusionGradientDirectionSequence"))
    values = () if found is None else numbers(found, "DiffusionGradientOrientation")
    return tuple(round(value, 3) for value in values) or None


_ATTRIBUTES: dict[str, Callable[[PlacedSlice], _Value]] = {
    "stack": _text("StackID", "FrameContentSequence"),
    "image type": _text("ImageType"),
    "frame type": _text("FrameType", "MRImageFrameTypeSequence"),
    "CT frame type": _text("FrameType", "CTImageFrameTypeSequence"),
    "echo time": _number("EchoTime"),
    "effective echo time": _number("EffectiveEchoTime", "MREchoSequence"),
    "echo": _number("EchoNumbers"),
    "b-value": _number("DiffusionBValue", "MRDiffusionSequence"),
    "gradient direction": _direction,
    "inversion time": _number("InversionTime"),
    "temporal position": _number("TemporalPositionIdentifier"),
    "temporal position index": _number("TemporalPositionIndex", "FrameContentSequence"),
    "cardiac phase": _number("NominalPercentageOfCardiacPhase", "CardiacSynchronizationSequence"),
    "trigger delay": _number("NominalCardiacTriggerDelayTime", "CardiacSynchronizationSequence"),
    "respiratory phase": _number("NominalPercentageOfRespiratoryPhase", "RespiratorySynchronizationSequence"),
    "trigger time": _number("TriggerTime"),
    "frame reference time": _number("FrameReferenceTime"),
    "tube voltage": _number("KVP"),
    "convolution kernel": _text("ConvolutionKernel"),
    "acquisition": _number("AcquisitionNumber"),
    "frame acquisition": _number("FrameAcquisitionNumber", "FrameContentSequence"),
}
"""In the order in which they are tried. The first that tells slices of one place apart is the one."""

_TIMES = ("TriggerTime", "FrameReferenceDateTime", "FrameAcquisitionDateTime", "AcquisitionDateTime", "AcquisitionTime")


def _stations(slices: Sequence[PlacedSlice]) -> list[_Value]:
    """Which of several piles beside each other, such as two hands, a slice lies in: its offset along the plane, mm."""
    positions = np.array([item.plane.position for item in slices], dtype=float)
    cosines = np.array(slices[0].plane.orientation, dtype=float)
    offsets = np.rint((positions - positions[0]) @ np.stack([cosines[:3], cosines[3:]], axis=1))
    return [(float(right), float(down)) for right, down in offsets]


_SPATIAL = frozenset({"ImagePositionPatient", "InStackPositionNumber", "StackID", "ReferencedSegmentNumber"})


def _dimensions(header: Dataset) -> dict[str, int]:
    """The dimensions of a multi-frame instance but for those of space (PS3.3 C.7.6.17): name and place of the index."""
    found = {}
    for place, item in enumerate(items(header, "DimensionIndexSequence")):
        pointer = item.get("DimensionIndexPointer")
        if pointer is None or Tag(pointer).is_private:
            continue
        keyword = keyword_for_tag(pointer)
        if keyword and keyword not in _SPATIAL:
            found[dictionary_description(pointer).casefold()] = place
    return found


def _values_of(slices: Sequence[PlacedSlice], place: int) -> list[_Value]:
    values: list[_Value] = []
    for item in slices:
        content = macro(item.header, item.frame, "FrameContentSequence")
        indices = numbers(content, "DimensionIndexValues")
        values.append(indices[place] if place < len(indices) else None)
    return values


def _ranks(slices: Sequence[PlacedSlice], places: Sequence[int], keyword: str) -> list[_Value]:
    """Which of those at its place a slice was taken as, by a time.

    None for all unless every place tells, and has as many: where one is missing, those after it would be counted wrong.
    """
    by_place: dict[int, list[tuple[str, int]]] = {}
    for index, (item, place) in enumerate(zip(slices, places, strict=True)):
        content = item.header if item.frame is None else macro(item.header, item.frame, "FrameContentSequence")
        by_place.setdefault(place, []).append((_moment(content, keyword), index))
    ranks: list[_Value] = [None] * len(slices)
    if len({len(taken) for taken in by_place.values()}) > 1:
        return ranks
    for taken in by_place.values():
        if "" in {moment for moment, _ in taken} or len({moment for moment, _ in taken}) != len(taken):
            return [None] * len(slices)
        for rank, (_, index) in enumerate(sorted(taken), start=1):
            ranks[index] = float(rank)
    return ranks


def _moment(content: Dataset, keyword: str) -> str:
    """A time that can be compared with others of its kind as text."""
    if keyword == "TriggerTime" and (value := number(content, keyword)) is not None:
        return f"{value:020.6f}"
    day = text(content, "AcquisitionDate") if keyword == "AcquisitionTime" else ""  # some scans go on after midnight
    return text(content, keyword) and day + text(content, keyword)
