"""The grey values of a presentation state: the modality LUT, the windows and the polarity of its images."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset

from dicom_node.headers.elements import items, numbers, text, texts
from dicom_node.results.stand_ins import Reference, decimals
from dicom_node.volumes.load import SeriesVolume, SliceSource
from dicom_node.volumes.planes import macro
from dicom_node.volumes.rescale import Rescale, rescale_of

__all__ = ["put_grey_values"]


@dataclass(frozen=True)
class _Window:
    """The first window of an image (PS3.3 C.11.2), in what it is counted in.

    A state may have several to choose from (PS3.3 C.11.8), and not every viewer opens one that has: DCMTK does not.
    """

    centre: float
    width: float
    explanation: str
    function: str


def put_grey_values(state: Dataset, volume: SeriesVolume, shown: Sequence[int]) -> None:
    """Modality LUT, softcopy VOI LUT and presentation LUT (PS3.3 C.11.1, C.11.8, C.11.6) as the slices have them.

    `shown`: the slices that the state is for. A state has one modality LUT for all of its images; where their rescales
    differ it has none, and windows are those of stored values. Without a window in an image it has no VOI LUT.
    """
    state.PresentationLUTShape = "INVERSE" if volume.inverted else "IDENTITY"
    slices = [volume.slices[index] for index in shown]
    rescales = [_rescale(item) for item in slices]
    first = rescales[0]
    common = all(rescale == first for rescale in rescales)
    if first.table is not None:
        state.ModalityLUTSequence = [_lut(items(slices[0].header, "ModalityLUTSequence").__next__())]
    elif common and first.stated:
        state.RescaleSlope, state.RescaleIntercept = decimals([first.slope, first.intercept])
        state.RescaleType = first.type or "US"
    windows: dict[_Window, list[Reference]] = {}
    for item, rescale in zip(slices, rescales, strict=True):
        if (window := _window(item)) is not None:
            windows.setdefault(window if common else _stored(window, rescale), []).append(Reference.to(item))
    if windows:
        state.SoftcopyVOILUTSequence = [
            _voi(window, images if len(images) < len(slices) else ()) for window, images in windows.items()
        ]
    elif tables := list(items(slices[0].header, "VOILUTSequence")):
        voi = Dataset()
        voi.VOILUTSequence = [_lut(table) for table in tables]
        if len(slices) > 1:
            voi.ReferencedImageSequence = _image_items([Reference.to(slices[0])])
        state.SoftcopyVOILUTSequence = [voi]


def _frame(source: SliceSource) -> int | None:
    return None if source.frame_number is None else source.frame_number - 1


def _rescale(source: SliceSource) -> Rescale:
    return rescale_of(source.header, _frame(source))


def _window(source: SliceSource) -> _Window | None:
    holder = macro(source.header, _frame(source), "FrameVOILUTSequence")
    if not numbers(holder, "WindowCenter"):
        holder = source.header
    centres, widths = numbers(holder, "WindowCenter"), numbers(holder, "WindowWidth")
    if not centres or len(centres) != len(widths) or widths[0] < 1:
        return None
    told = texts(holder, "WindowCenterWidthExplanation")
    explanation = told[0] if len(told) == len(centres) else ""
    return _Window(centres[0], widths[0], explanation, text(holder, "VOILUTFunction"))


def _stored(window: _Window, rescale: Rescale) -> _Window:
    """The same window of stored values."""
    centre = (window.centre - rescale.intercept) / rescale.slope
    width = max(1.0, window.width / abs(rescale.slope))
    return _Window(centre, width, window.explanation, window.function)


def _voi(window: _Window, images: Sequence[Reference]) -> Dataset:
    """`images`: those that the window is for; () for all."""
    item = Dataset()
    if images:
        item.ReferencedImageSequence = _image_items(images)
    item.WindowCenter, item.WindowWidth = decimals([window.centre, window.width])
    if window.explanation:
        item.WindowCenterWidthExplanation = window.explanation
    if window.function:
        item.VOILUTFunction = window.function
    return item


def _image_items(images: Sequence[Reference]) -> list[Dataset]:
    listed: dict[str, Dataset] = {}
    for image in images:
        item = listed.setdefault(image.sop_instance_uid, Dataset())
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = image.sop_class_uid, image.sop_instance_uid
        if image.frame_number is not None:
            item.ReferencedFrameNumber = [*(item.get("ReferencedFrameNumber") or []), image.frame_number]
    return list(listed.values())


def _lut(table: Dataset) -> Dataset:
    """A table with the representations that its values have, which its data set alone does not tell."""
    item = copy.deepcopy(table)
    item["LUTDescriptor"].VR = "SS" if min(item.LUTDescriptor) < 0 else "US"
    item["LUTData"].VR = "OW" if isinstance(item["LUTData"].value, bytes) else "US"
    return item
