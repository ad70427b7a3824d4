"""Stand-ins: what the writer of a SEG is told of its source, in one form for every kind of source.

The writer derives references, positions and measures from the images that it is handed, and fails on whatever a real
header leaves out or says in another place. So it is handed plain slices of our own making: one for each slice of a
part, with the part's geometry and a number for a UID. `Reference` puts the true image back in place of that number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage
from pydicom.valuerep import DS

from dicom_node.headers.elements import number, numbers, text
from dicom_node.identifiers import derived_uid
from dicom_node.volumes.geometry import StackGeometry
from dicom_node.volumes.load import SeriesVolume, SliceSource

__all__ = [
    "Reference",
    "evidence",
    "frame_of_reference_uid",
    "put_classes",
    "references",
    "slice_thickness_mm",
    "stand_in_index",
    "stand_ins",
]

_ROOT = "2.25."
_NO_PLACE = StackGeometry(
    positions=np.zeros((1, 3)),
    right=np.array([1.0, 0.0, 0.0]),
    down=np.array([0.0, 1.0, 0.0]),
    pixel_spacing_mm=(1.0, 1.0),
    slice_extents_mm=None,
    frame_of_reference_uid="",
)
_EMPTY = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
          "StudyTime", "ReferringPhysicianName")  # fmt: skip
_LOSSY = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")


@dataclass(frozen=True)
class Reference:
    """An image, or a frame of one (from 1), as results refer to it (PS3.3 10.3)."""

    sop_class_uid: str
    sop_instance_uid: str
    frame_number: int | None

    @classmethod
    def to(cls, source: SliceSource) -> Reference:
        header = source.header
        return cls(text(header, "SOPClassUID"), text(header, "SOPInstanceUID"), source.frame_number)


def references(volume: SeriesVolume) -> tuple[Reference, ...]:
    """What each slice is called, in the order of `volume.values`."""
    return tuple(Reference.to(source) for source in volume.slices)


def frame_of_reference_uid(volume: SeriesVolume) -> str:
    """The source's, or for slices with places but without one a UID of the series' own: they share their space."""
    stated = text(volume.source, "FrameOfReferenceUID")
    if stated or volume.geometry is None:
        return stated
    return derived_uid("frame of reference of", volume.series_uid)


def slice_thickness_mm(volume: SeriesVolume) -> float | None:
    """The source's Slice Thickness where its slices agree on one, else what a slice stands for; None if unknown."""
    stated = {number(source.header, "SliceThickness") for source in volume.slices}
    thickness = next(iter(stated)) if len(stated) == 1 else None
    if thickness is not None and thickness > 0:
        return thickness
    return None if volume.spacing_mm is None else volume.spacing_mm[0]


def stand_ins(volume: SeriesVolume) -> list[Dataset]:
    """A CT slice for each slice of the volume. Images without places get places one above the other, to be removed."""
    common = Dataset()
    common.SOPClassUID, common.Modality = CTImageStorage, "CT"
    common.StudyInstanceUID, common.SeriesInstanceUID = volume.study_uid, volume.series_uid
    common.Rows, common.Columns = volume.values.shape[1:3]
    for keyword in _EMPTY:
        setattr(common, keyword, "")
    for keyword in _LOSSY:
        said = numbers if keyword == "LossyImageCompressionRatio" else text  # the writer fails on one that is no number
        if said(volume.source, keyword):
            common[keyword] = volume.source[keyword]
    common.FrameOfReferenceUID = frame_of_reference_uid(volume) or derived_uid("no frame of reference")
    if indicator := text(volume.source, "PositionReferenceIndicator"):
        common.PositionReferenceIndicator = indicator
    common.SliceThickness = DS(slice_thickness_mm(volume) or 1.0, auto_format=True)
    return [_placed(common, index, plane) for index, plane in enumerate(_planes(volume))]


def evidence(header: Dataset) -> Dataset:
    """A source, or a SEG of ours, as the writer of a report is told of it: its UIDs, and nobody's identity.

    The writer fails on a retired class, so every item calls itself CT; `put_classes` puts the true ones back.
    """
    item = Dataset()
    item.SOPClassUID = CTImageStorage
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        setattr(item, keyword, text(header, keyword))
    for keyword in _EMPTY:
        setattr(item, keyword, "")
    return item


def put_classes(report: Dataset, headers: Iterable[Dataset]) -> None:
    """Give the evidence of a report (PS3.3 C.17.2) the SOP classes of `headers`."""
    classes = {text(header, "SOPInstanceUID"): text(header, "SOPClassUID") for header in headers}
    for study in report.CurrentRequestedProcedureEvidenceSequence:
        for series in study.ReferencedSeriesSequence:
            for item in series.ReferencedSOPSequence:
                item.ReferencedSOPClassUID = classes[item.ReferencedSOPInstanceUID]


def stand_in_index(sop_instance_uid: str) -> int:
    """Which slice a stand-in is of."""
    return int(sop_instance_uid.removeprefix(_ROOT)) - 1


def _planes(volume: SeriesVolume) -> Iterator[tuple[Sequence[float], StackGeometry]]:
    """The position and the geometry of each slice."""
    for index in range(len(volume.slices)):
        if volume.geometry is None:
            yield (0.0, 0.0, float(index)), _NO_PLACE
        else:
            yield volume.geometry.positions[index].tolist(), volume.geometry


def _placed(common: Dataset, index: int, plane: tuple[Sequence[float], StackGeometry]) -> Dataset:
    position, geometry = plane
    image = Dataset()
    image.update(common)
    image.SOPInstanceUID = f"{_ROOT}{index + 1}"
    image.ImagePositionPatient = decimals(position)
    image.ImageOrientationPatient = decimals([*geometry.right, *geometry.down])
    image.PixelSpacing = decimals(geometry.pixel_spacing_mm)
    return image


def decimals(values: Iterable[float]) -> list[Any]:
    """Decimal strings, with as many digits as fit (PS3.5 6.2)."""
    return [DS(float(value), auto_format=True) for value in values]
