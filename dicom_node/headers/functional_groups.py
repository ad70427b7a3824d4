"""Functional groups of multi-frame instances (PS3.3 C.7.6.16): a frame's own macro before the shared one."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from dicom_node.headers.elements import BROKEN, integer, items, require_few_items

__all__ = ["functional_group", "functional_group_items", "number_of_frames"]


_PER_FRAME = "PerFrameFunctionalGroupsSequence"
_ITEMS_OF_A_FRAME, _ITEMS_OF_ANY = 200, 100_000
"""So many items a frame's groups may hold, with those in them, and so many in any case."""


def number_of_frames(header: Dataset) -> int:
    """Number of Frames, and 1 where the header does not say."""
    return max(1, integer(header, "NumberOfFrames") or 1)


def functional_group(header: Dataset, frame: int, macro: str) -> Dataset | None:
    """The first item of the functional group macro `macro` of a frame (from 0), or None."""
    return next(iter(functional_group_items(header, frame, macro)), None)


def functional_group_items(header: Dataset, frame: int, macro: str) -> tuple[Dataset, ...]:
    """The items of a macro of a frame (from 0), its own or else the shared ones; none where neither has it.

    Raises UnparseableInstance where the groups are many more than the frames.
    """
    if isinstance(header.get_item(_PER_FRAME), RawDataElement):  # not decoded yet
        require_few_items(header, _PER_FRAME, _ITEMS_OF_ANY + _ITEMS_OF_A_FRAME * number_of_frames(header))
    per_frame = _items(header)
    if frame < len(per_frame) and (own := tuple(items(per_frame[frame], macro))):
        return own
    return tuple(items(header, "SharedFunctionalGroupsSequence", macro))


def _items(header: Dataset) -> Sequence[Dataset]:
    """A frame's groups each; none where they are broken."""
    try:
        per_frame = header.get(_PER_FRAME) or ()
    except BROKEN:
        return ()
    return per_frame if isinstance(per_frame, Sequence) and not isinstance(per_frame, str | bytes) else ()
