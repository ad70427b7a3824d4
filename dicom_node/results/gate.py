"""The gate: our own objects are read back before they count as saved.

A SEG must cover the same patient-space voxels as the masks. SEG and SR must be about the source's patient and study,
byte for byte and letter for letter.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_node.errors import ResultRefused
from dicom_node.headers.functional_groups import functional_group, functional_group_items
from dicom_node.headers.identity import PATIENT_AND_STUDY, EncodedElement, source_identity
from dicom_node.results import codes
from dicom_node.results.finding import ReadPart
from dicom_node.results.identity import ResultIdentity
from dicom_node.results.stand_ins import Reference, frame_of_reference_uid, references
from dicom_node.results.stored_segmentation import segment_frames, voxel_centres
from dicom_node.volumes.geometry import StackGeometry
from dicom_node.volumes.load import SeriesVolume

__all__ = ["check_report", "check_segmentation"]

_TOLERANCE_VOXELS = 0.3
"""Positions are decimal strings and slices may lie a little off the mean step; half a voxel would be the next one."""


def check_segmentation(path: Path, part: ReadPart, identity: ResultIdentity) -> None:
    """Read a part's SEG back and compare it with what it was made from.

    Patient, study and frame of reference must be the source's; every frame must name the source image at whose position
    it lies; every segment must cover exactly its mask's voxels, by the stored frames' positions in the patient,
    whatever their order. Raises ResultRefused naming the difference.
    """
    segmentation, volume, findings = pydicom.dcmread(path), part.volume, part.findings
    _require_same_identity(segmentation, identity, "SEG")
    _require_source(segmentation, volume)
    _require_true_references(segmentation, volume)
    if len(segmentation.SegmentSequence) != len(findings):
        raise ResultRefused(f"{len(segmentation.SegmentSequence)} segments for {len(findings)} findings")
    for number, finding in enumerate(findings, start=1):
        segment = segmentation.SegmentSequence[number - 1]
        if (int(segment.SegmentNumber), str(segment.TrackingUID)) != (number, finding.tracking_uid):
            raise ResultRefused(f"segment {number} does not carry its finding's tracking UID")
        stored = _mask_on_source_grid(segmentation, number, volume)
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
    _require_same_identity(report, identity, "SR")
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


def _require_same_identity(result: Dataset, identity: ResultIdentity, name: str) -> None:
    """Before anything of `result` is decoded: bytes, and what they say in the character set that it declares."""
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
    for index in range(len(segmentation.PerFrameFunctionalGroupsSequence)):
        named = _named(segmentation, index)
        if named not in sources:
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


def _mask_on_source_grid(segmentation: Dataset, number: int, volume: SeriesVolume) -> NDArray[np.bool_]:
    """A segment as bool `slices rows columns` on the grid of `volume`."""
    mask = np.zeros(volume.values.shape[:3], dtype=np.bool_)
    frames = list(segment_frames(segmentation, number))
    if volume.geometry is None:
        sources = references(volume)
        for frame in frames:
            if frame.mask.shape != mask.shape[1:]:
                raise ResultRefused(f"segment {number} has frames of {frame.mask.shape}, the image is {mask.shape[1:]}")
            mask[sources.index(_named(segmentation, frame.index))] |= frame.mask
        return mask
    points = np.concatenate([np.empty((0, 3)), *(voxel_centres(segmentation, frame) for frame in frames)])
    indices = volume.geometry.indices(points)
    nearest = np.rint(indices).astype(np.int64)
    if np.abs(indices - nearest).max(initial=0.0) > _TOLERANCE_VOXELS:
        raise ResultRefused(f"segment {number} lies between the source's voxels in patient space")
    if ((nearest < 0) | (nearest >= mask.shape)).any():
        raise ResultRefused(f"segment {number} lies outside the source's volume in patient space")
    mask[tuple(nearest.T)] = True
    return mask
