"""Functional groups of multi-frame instances (PS3.3 C.7.6.16): a frame's own macro before the shared one."""

from __future__ import annotations

from pydicom.dataset import Dataset

from dicom_node.headers.elements import integer, items

__all__ = ["functional_group", "functional_group_items", "number_of_frames"]


def number_of_frames(header: Dataset) -> int:
    """Number of Frames, and 1 where the header does not say."""
    return max(1, integer(header, "NumberOfFrames") or 1)


def functional_group(header: Dataset, frame: int, macro: str) -> Dataset | None:
    """The first item of the functional group macro `macro` of a frame (from 0), or None."""
    return next(iter(functional_group_items(header, frame, macro)), None)


def functional_group_items(header: Dataset, frame: int, macro: str) -> tuple[Dataset, ...]:
    """The items of a macro of a frame (from 0), its own or else the shared ones; none where neither has it."""
    per_frame = header.get("PerFrameFunctionalGroupsSequence") or ()
    if frame < len(per_frame) and (own := tuple(items(per_frame[frame], macro))):
        return own
    return tuple(items(header, "SharedFunctionalGroupsSequence", macro))
