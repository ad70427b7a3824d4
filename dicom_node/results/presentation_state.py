"""Softcopy presentation states: contours over the source's own images (PS3.3 A.33)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import ImageCms
from pydicom.dataset import Dataset
from pydicom.uid import ColorSoftcopyPresentationStateStorage, GrayscaleSoftcopyPresentationStateStorage

from dicom_node.headers.identity import EncodedItem
from dicom_node.results.colours import cielab_of
from dicom_node.results.companion import companion, referenced_series
from dicom_node.results.contour import MAXIMUM_PARTS, Outline, outlines_by_slice
from dicom_node.results.finding import Finding, ReadPart, ResultContext
from dicom_node.results.identity import ResultIdentity
from dicom_node.results.prepared import ItemEncoder, prepared_sequence
from dicom_node.results.runs import runs_of
from dicom_node.results.softcopy import put_grey_values
from dicom_node.results.stand_ins import Reference, decimals, references
from dicom_node.results.summary import UNVERIFIED, banner
from dicom_node.volumes.load import SeriesVolume

__all__ = ["SERIES_NUMBER_PRESENTATION_STATE", "build_presentation_state"]

SERIES_NUMBER_PRESENTATION_STATE = 9306
_STATE_LAYER = "STATE"
_ICC_DATE = slice(24, 36)
"""Date and time of a profile (ICC.1 7.2.8), which would be those of its making."""


def build_presentation_state(part: ReadPart, context: ResultContext, identity: ResultIdentity) -> Dataset | None:
    """A presentation state of a part's marked slices, grey or colour as the images are; None: nothing was seen.

    A layer for each finding in its colour, with its outlines and its name in every slice that it touches, and one that
    says what the result is worth. Grey values are shown as the images say. The same input gives the same bytes. Texts
    of the annotations are written as `identity` has it.
    """
    images, encoder = references(part.volume), ItemEncoder(identity)
    annotations: list[EncodedItem] = []
    marked: set[int] = set()
    for number, finding in enumerate(part.findings, start=1):
        for index, pieces, count in outlines_by_slice(runs_of(finding.mask)):
            marked.add(index)
            annotations.append(_annotation(encoder, images[index], _layer_name(number), finding, pieces, count))
    if not annotations:
        return None
    sop_class = (
        ColorSoftcopyPresentationStateStorage if part.volume.is_color else GrayscaleSoftcopyPresentationStateStorage
    )
    kind = f"contours part {part.ordinal + 1}" if part.ordinal else "contours"
    state = companion(sop_class, "PR", SERIES_NUMBER_PRESENTATION_STATE, kind, [part], context)
    state.Laterality = None  # type 2C; the sides stand in the texts
    state.PresentationCreationDate, state.PresentationCreationTime = state.ContentDate, state.ContentTime
    state.ContentLabel, state.ContentCreatorName = "MEDSEG", ""
    state.ContentDescription = banner(context)[:64]
    shown = [images[index] for index in sorted(marked)]
    state.ReferencedSeriesSequence = _referenced(part.volume, shown)
    state.DisplayedAreaSelectionSequence = [_displayed_area(part.volume)]
    annotations.insert(0, _state_annotation(encoder, context))
    prepared = prepared_sequence("GraphicAnnotationSequence", annotations)
    state[prepared.tag] = prepared
    state.GraphicLayerSequence = [*_layers(part)]
    if part.volume.is_color:
        state.ICCProfile = _srgb()
    else:
        put_grey_values(state, part.volume, sorted(marked))
    return state


def _layer_name(number: int) -> str:
    return f"FINDING {number}"


def _annotation(
    encoder: ItemEncoder, reference: Reference, layer: str, finding: Finding, pieces: Sequence[Outline], count: int
) -> EncodedItem:
    """PS3.3 C.10.5. Pixel units count from the top left corner of the first pixel, as outlines do (C.10.5.1.2)."""
    frame = {} if reference.frame_number is None else {"ReferencedFrameNumber": str(reference.frame_number)}
    name = f"{finding.label[:1].upper()}{finding.label[1:]}, {finding.assurance}"
    more = f" ({MAXIMUM_PARTS} largest of {count} parts)" if count > len(pieces) else ""
    image = encoder.item(
        ReferencedSOPClassUID=reference.sop_class_uid, ReferencedSOPInstanceUID=reference.sop_instance_uid, **frame
    )
    note = encoder.item(
        UnformattedTextValue=f"{name}{more}",
        AnchorPoint=pieces[0].points[int(np.argmin(pieces[0].points[:, 1]))],
        AnchorPointAnnotationUnits="PIXEL",
        AnchorPointVisibility="N",
    )
    graphics = [
        encoder.item(
            GraphicAnnotationUnits="PIXEL",
            GraphicDimensions=2,
            NumberOfGraphicPoints=len(piece.points),
            GraphicData=piece.points,
            GraphicType="POLYLINE",
            GraphicFilled="N",
        )
        for piece in pieces
    ]
    return encoder.item(
        ReferencedImageSequence=[image],
        GraphicLayer=layer,
        TextObjectSequence=[note],
        GraphicObjectSequence=graphics,
    )


def _state_annotation(encoder: ItemEncoder, context: ResultContext) -> EncodedItem:
    """What the result is worth, on every image, at the top of the screen."""
    told = [f"{context.terms.upper()} - not for clinical use"] if context.terms else []
    note = encoder.item(
        UnformattedTextValue="\r\n".join([*told, UNVERIFIED]),
        BoundingBoxAnnotationUnits="DISPLAY",
        BoundingBoxTopLeftHandCorner=np.array([0.02, 0.02]),
        BoundingBoxBottomRightHandCorner=np.array([0.6, 0.12]),
        BoundingBoxTextHorizontalJustification="LEFT",
    )
    return encoder.item(GraphicLayer=_STATE_LAYER, TextObjectSequence=[note])


def _layers(part: ReadPart) -> Iterator[Dataset]:
    state = Dataset()
    state.GraphicLayer, state.GraphicLayerOrder, state.GraphicLayerDescription = _STATE_LAYER, 1, UNVERIFIED
    yield state
    for number, finding in enumerate(part.findings, start=1):
        if finding.pixels_by_slice.any():
            layer = Dataset()
            layer.GraphicLayer, layer.GraphicLayerOrder = _layer_name(number), number + 1
            layer.GraphicLayerRecommendedDisplayGrayscaleValue = 65535
            layer.GraphicLayerRecommendedDisplayCIELabValue = list(cielab_of(finding.concept.label).value)
            layer.GraphicLayerDescription = finding.label
            yield layer


def _referenced(volume: SeriesVolume, shown: Sequence[Reference]) -> list[Dataset]:
    """PS3.3 C.11.11: instances once, with those of their frames that are shown."""
    listed = referenced_series([(volume.series_uid, one) for one in shown], "ReferencedImageSequence")
    frames: dict[str, list[int]] = {}
    for one in shown:
        if one.frame_number is not None:
            frames.setdefault(one.sop_instance_uid, []).append(one.frame_number)
    if frames:
        for item in listed[0].ReferencedImageSequence:
            item.ReferencedFrameNumber = frames[item.ReferencedSOPInstanceUID]
    return listed


def _displayed_area(volume: SeriesVolume) -> Dataset:
    """All of every image (PS3.3 C.10.4): the first pixel is 1, 1 here."""
    rows, columns = volume.values.shape[1:3]
    area = Dataset()
    area.DisplayedAreaTopLeftHandCorner, area.DisplayedAreaBottomRightHandCorner = [1, 1], [columns, rows]
    area.PresentationSizeMode = "SCALE TO FIT"
    if volume.pixel_spacing_mm is not None:
        area.PresentationPixelSpacing = decimals(volume.pixel_spacing_mm)
    else:
        stated = volume.source.get("PixelAspectRatio")
        area.PresentationPixelAspectRatio = list(stated) if stated else [1, 1]
    return area


def _srgb() -> bytes:
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[_ICC_DATE] = bytes(12)
    return bytes(profile) + b"\0" * (len(profile) % 2)
