"""The gate: our own objects are read back before they count as saved.

A SEG must cover the same patient-space voxels as the masks. SEG and SR must be about the source's patient and study,
byte for byte and letter for letter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.errors import ResultRefused, UnparseableInstance
from dicom_node.headers.functional_groups import functional_group, functional_group_items
from dicom_node.headers.identity import PATIENT_AND_STUDY, EncodedElement, element_tag, source_identity
from dicom_node.headers.raw import RawHeader, find_items, read_raw_header
from dicom_node.results import codes
from dicom_node.results.finding import ReadPart
from dicom_node.results.identity import ResultIdentity
from dicom_node.results.profiles import ResultKind
from dicom_node.results.stand_ins import Reference, frame_of_reference_uid, references
from dicom_node.results.stored_segmentation import SegmentFrame, frames_by_segment, pixel_centres, voxel_centres
from dicom_node.results.telling import MOST_PICTURES
from dicom_node.volumes.geometry import StackGeometry
from dicom_node.volumes.load import SeriesVolume

__all__ = ["check_companion", "check_report", "check_segmentation", "mask_on_source_grid", "require_same_identity"]

_PATIENT_AND_STUDY_TAGS = frozenset(element_tag(keyword) for keyword in PATIENT_AND_STUDY)
_CLASS_UID, _INSTANCE_UID, _FRAME_NUMBER = _REFERENCE = tuple(
    element_tag(keyword) for keyword in ("ReferencedSOPClassUID", "ReferencedSOPInstanceUID", "ReferencedFrameNumber")
)
_TOLERANCE_VOXELS = 0.3
"""Positions are decimal strings and slices may lie a little off the mean step; half a voxel would be the next one."""


def check_segmentation(path: Path, part: ReadPart, identity: ResultIdentity) -> None:
    """Read a part's SEG back and compare it with what it was made from.

    Patient, study and frame of reference must be the source's; every frame must name the source image at whose position
    it lies; every segment must cover exactly its mask's voxels, by the stored frames' positions in the patient,
    whatever their order. Raises ResultRefused naming the difference.
    """
    segmentation, volume, findings = pydicom.dcmread(path), part.volume, part.findings
    require_same_identity(segmentation, identity, "SEG")
    _require_source(segmentation, volume)
    _require_true_references(segmentation, volume)
    if len(segmentation.SegmentSequence) != len(findings):
        raise ResultRefused(f"{len(segmentation.SegmentSequence)} segments for {len(findings)} findings")
    stored_frames = frames_by_segment(segmentation)
    for number, finding in enumerate(findings, start=1):
        segment = segmentation.SegmentSequence[number - 1]
        if (int(segment.SegmentNumber), str(segment.TrackingUID)) != (number, finding.tracking_uid):
            raise ResultRefused(f"segment {number} does not carry its finding's tracking UID")
        stored = mask_on_source_grid(segmentation, number, volume, stored_frames.get(number, []))
        if not np.array_equal(stored, finding.mask):
            raise ResultRefused(
                f"segment {number} ({finding.concept.label}) does not cover its mask: "
                f"{int(stored.sum())} voxels stored, {int(finding.mask.sum())} marked, "
                f"{int((stored & finding.mask).sum())} in common"
            )


def check_report(path: Path, parts: Sequence[ReadPart], identity: ResultIdentity) -> None:
    """Read a job's SR back and compare it with what it was made from.

    Patient and study must be the source's, every image that was read must be among the evidence, and the questions must
    be those that were asked. Raises ResultRefused naming the difference.
    """
    report = pydicom.dcmread(path)
    require_same_identity(report, identity, "SR")
    evidence = {
        str(item.ReferencedSOPInstanceUID)
        for keyword in ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence")
        for study in report.get(keyword, [])
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    missing = {str(source.SOPInstanceUID) for part in parts for source in part.volume.sources} - evidence
    if missing:
        raise ResultRefused(f"{len(missing)} images are not in the SR's evidence, e.g. {min(missing)}")
    asked = [identity.fitted(answer.question, "UT").rstrip() for part in parts for answer in part.answers]
    written = [
        str(item.TextValue)
        for item in report.ContentSequence
        if item.ValueType == "TEXT" and item.ConceptNameCodeSequence[0].CodeValue == codes.QUESTION.value
    ]
    if written != asked:
        raise ResultRefused("the SR's questions do not read as those that were asked")


def check_companion(
    path: Path,
    kind: ResultKind,
    parts: Sequence[ReadPart],
    identity: ResultIdentity,
    ours: Sequence[str] = (),
) -> None:
    """Read a capture, a document, key objects or a presentation state back: the source's patient and study, its images.

    Every object that it names, at any depth, must be an image of `parts`, or one of `ours` (SOP Instance UIDs of the
    job's own); every image that it must name is named. A capture's pixels must be as many as its header says, a
    document's bytes a PDF of the stated length. Raises ResultRefused naming the difference.
    """
    companion = pydicom.dcmread(path)
    require_same_identity(companion, identity, kind.value)
    if kind in (ResultKind.CAPTURE, ResultKind.CAPTURE_IMAGES):
        _require_whole_pixels(companion, kind.value)
    if kind is ResultKind.DOCUMENT:
        _require_pdf(companion)
    named = _all_objects_named(path)
    slices = [references(part.volume) for part in parts]
    images = {image for one in slices for image in one}
    whole = {Reference(image.sop_class_uid, image.sop_instance_uid, None) for image in images}
    strangers = {one for one in named - images - whole if one.sop_instance_uid not in ours}
    if strangers:
        stranger = min(strangers, key=lambda one: one.sop_instance_uid)
        raise ResultRefused(f"the {kind.value} names an object that is not of its job, {stranger.sop_instance_uid}")
    to_be_named = whole if kind is ResultKind.DOCUMENT else _pictures_of(kind, parts, slices, named)
    if missing := to_be_named - named:
        example = min(missing, key=lambda one: one.sop_instance_uid)
        raise ResultRefused(f"{len(missing)} images are not named by the {kind.value}, e.g. {example.sop_instance_uid}")


def _pictures_of(
    kind: ResultKind, parts: Sequence[ReadPart], slices: Sequence[tuple[Reference, ...]], named: set[Reference]
) -> set[Reference]:
    """What an object of a kind has to name of its findings. A presentation state is of the part whose images it names.

    `slices`: what the slices of each part are called.
    """
    findings = [(images, finding) for part, images in zip(parts, slices, strict=True) for finding in part.findings]
    if kind is ResultKind.PRESENTATION_STATE:
        return {
            images[index]
            for images, finding in findings
            if named.intersection(images)
            for index in np.flatnonzero(finding.pixels_by_slice).tolist()
        }
    largest = [images[finding.largest_slice] for images, finding in findings if finding.pixels_by_slice.any()]
    return set(largest if kind is ResultKind.KEY_OBJECTS else largest[:MOST_PICTURES])


def _all_objects_named(path: Path) -> set[Reference]:
    """Of a file of ours. Its sequences are stepped through as bytes: a presentation state has tens of thousands."""
    with path.open("rb") as stream:
        header = read_raw_header(stream)
    if header.transfer_syntax_uid != ExplicitVRLittleEndian or not header.whole:
        raise ResultRefused(f"{path.name} is cut off, or not in Explicit VR Little Endian")
    try:
        return set(_objects_named(header))
    except UnparseableInstance as error:
        raise ResultRefused(f"{path.name} cannot be read back: {error}") from error


def _objects_named(header: RawHeader) -> Iterator[Reference]:
    """Every object that an item names, with its frames (PS3.3 10.3), but for what patient and study name."""
    for element in header.elements:
        if element.vr != b"SQ" or element.tag in _PATIENT_AND_STUDY_TAGS:
            continue
        for item in find_items(header.contents[element.start : element.end], header.transfer_syntax_uid):
            values = {inner.tag: item.value(inner) for inner in item.elements if inner.tag in _REFERENCE}
            if _INSTANCE_UID in values:
                class_uid, uid = (_ascii(values.get(tag, b"")) for tag in (_CLASS_UID, _INSTANCE_UID))
                numbers = _ascii(values.get(_FRAME_NUMBER, b"")).split("\\")
                for number in numbers if all(number.strip().isdigit() for number in numbers) else ("",):
                    yield Reference(class_uid, uid, int(number) if number else None)
            yield from _objects_named(item)


def _ascii(value: bytes) -> str:
    return value.decode("ascii", "replace").strip(" \0")


def _require_whole_pixels(capture: Dataset, name: str) -> None:
    frames = int(capture.get("NumberOfFrames") or 1)
    expected = frames * int(capture.Rows) * int(capture.Columns) * int(capture.SamplesPerPixel)
    if len(capture.PixelData) != expected + expected % 2:
        raise ResultRefused(f"the {name} has {len(capture.PixelData)} bytes of pixels, its header says {expected}")
    if frames > 1 and len(capture.get("PageNumberVector") or ()) != frames:
        raise ResultRefused(f"the {name} has {frames} frames and another number of pages")
    if capture.get("BurnedInAnnotation") != "YES":
        raise ResultRefused(f"the {name} does not say that a patient's name stands in its pixels")


def _require_pdf(document: Dataset) -> None:
    content, length = document.EncapsulatedDocument, int(document.EncapsulatedDocumentLength)
    if not content.startswith(b"%PDF-") or not content[:length].rstrip().endswith(b"%%EOF"):
        raise ResultRefused("the PDF is none, or is cut off")
    if len(content) != length + length % 2:
        raise ResultRefused(f"the PDF has {len(content)} bytes, its header says {length}")
    if document.get("BurnedInAnnotation") != "YES":
        raise ResultRefused("the PDF does not say that a patient's name stands on its pages")


def require_same_identity(result: Dataset, identity: ResultIdentity, name: str) -> None:
    """Raise ResultRefused unless patient and study of an object are the identity's.

    To be called before anything of `result` is decoded: bytes, and what they say in the character set that it declares.
    """
    stored = source_identity(result)
    if stored.character_set != identity.character_set:
        raise ResultRefused(f"SpecificCharacterSet of the {name} is not the one that its job is written in")
    for keyword in PATIENT_AND_STUDY:
        ours, theirs = stored.element(keyword), identity.source.element(keyword)
        if _value(ours) != _value(theirs):
            raise ResultRefused(f"{keyword} of the {name} is not the source's, byte for byte")
        if stored.texts(keyword) != identity.source.texts(keyword) and theirs is not None:
            raise ResultRefused(f"{keyword} of the {name} does not read as the source's")


def _value(element: EncodedElement | None) -> object:
    return b"" if element is None else element.value  # absent and empty are the same (type 2)


def _require_source(segmentation: Dataset, volume: SeriesVolume) -> None:
    if str(segmentation.get("FrameOfReferenceUID") or "") != frame_of_reference_uid(volume):
        raise ResultRefused("FrameOfReferenceUID of the SEG is not the source's")
    source = volume.source
    referenced = {
        str(item.ReferencedSOPInstanceUID)
        for series in segmentation.get("ReferencedSeriesSequence", [])
        if series.SeriesInstanceUID == source.SeriesInstanceUID
        for item in series.ReferencedInstanceSequence
    }
    if str(source.SOPInstanceUID) not in referenced:
        raise ResultRefused("the SEG's Referenced Series Sequence does not name its source")


def _require_true_references(segmentation: Dataset, volume: SeriesVolume) -> None:
    """Viewers place a frame by its position or by the image that it names: both must say the same."""
    sources = references(volume)
    known = frozenset(sources)
    for index in range(len(segmentation.PerFrameFunctionalGroupsSequence)):
        named = _named(segmentation, index)
        if named not in known:
            raise ResultRefused(f"frame {index + 1} of the SEG names an image that is not of this part")
        if volume.geometry is not None and named != sources[_slice_at(segmentation, index, volume.geometry)]:
            raise ResultRefused(f"frame {index + 1} of the SEG does not name the image at whose position it lies")


def _named(segmentation: Dataset, frame: int) -> Reference:
    """The one image that a frame says it was drawn on."""
    derivations = functional_group_items(segmentation, frame, "DerivationImageSequence")
    items = [item for derivation in derivations for item in derivation.get("SourceImageSequence", [])]
    if len(items) != 1:
        raise ResultRefused(f"frame {frame + 1} of the SEG names {len(items)} images, not one")
    if items[0].get("SpatialLocationsPreserved") != "YES":
        raise ResultRefused(f"frame {frame + 1} of the SEG does not say that locations are preserved")
    number = items[0].get("ReferencedFrameNumber")
    return Reference(
        str(items[0].ReferencedSOPClassUID),
        str(items[0].ReferencedSOPInstanceUID),
        None if number is None else int(number),
    )


def _slice_at(segmentation: Dataset, frame: int, geometry: StackGeometry) -> int:
    """The slice of the source in whose plane a frame lies."""
    plane = functional_group(segmentation, frame, "PlanePositionSequence")
    if plane is None:
        raise ResultRefused(f"frame {frame + 1} of the SEG has no Plane Position")
    index = geometry.indices(np.array([plane.ImagePositionPatient], dtype=np.float64))[0, 0]
    nearest = round(float(index))
    if abs(float(index) - nearest) > _TOLERANCE_VOXELS or not 0 <= nearest < len(geometry.positions):
        raise ResultRefused(f"frame {frame + 1} of the SEG lies outside the source's slices in patient space")
    return nearest


def mask_on_source_grid(
    segmentation: Dataset, number: int, volume: SeriesVolume, frames: Sequence[SegmentFrame]
) -> NDArray[np.bool_]:
    """A segment as bool `slices rows columns` on the grid of `volume`. `frames`: those that hold it."""
    mask = np.zeros(volume.values.shape[:3], dtype=np.bool_)
    if volume.geometry is None:
        sources = references(volume)
        for frame in frames:
            if frame.mask.shape != mask.shape[1:]:
                raise ResultRefused(f"segment {number} has frames of {frame.mask.shape}, the image is {mask.shape[1:]}")
            mask[sources.index(_named(segmentation, frame.index))] |= frame.mask
        return mask
    for frame in frames:
        if (slice_index := _same_grid(segmentation, frame, volume.geometry, mask.shape)) is not None:
            mask[slice_index] |= frame.mask
            continue
        indices = volume.geometry.indices(voxel_centres(segmentation, frame))
        nearest = np.rint(indices).astype(np.int64)
        if np.abs(indices - nearest).max(initial=0.0) > _TOLERANCE_VOXELS:
            raise ResultRefused(f"segment {number} lies between the source's voxels in patient space")
        if ((nearest < 0) | (nearest >= mask.shape)).any():
            raise ResultRefused(f"segment {number} lies outside the source's volume in patient space")
        mask[tuple(nearest.T)] = True
    return mask


def _same_grid(
    segmentation: Dataset, frame: SegmentFrame, geometry: StackGeometry, shape: tuple[int, ...]
) -> int | None:
    """The slice on whose pixels those of a frame lie, each on its own; None where they do not, or it is not known.

    Both are plane grids, so how far they lie apart changes evenly, and is nowhere larger than in a corner.
    """
    rows, columns = frame.mask.shape
    if (rows, columns) != shape[1:]:
        return None
    expected = np.array([(row, column) for row in (0, rows - 1) for column in (0, columns - 1)])
    indices = geometry.indices(pixel_centres(segmentation, frame.index, expected))
    slice_index = round(float(indices[0, 0]))
    if not 0 <= slice_index < shape[0]:
        return None
    apart = indices - np.column_stack([np.full(len(expected), slice_index), expected])
    return slice_index if np.abs(apart).max() <= _TOLERANCE_VOXELS else None
