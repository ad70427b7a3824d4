"""Small phantoms: instances with a bright block at known voxels and so at known patient coordinates; no patient."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

__all__ = [
    "AXIAL", "BLOCK", "BRIGHT", "COLUMNS", "DARK", "OBLIQUE", "ROWS", "Block", "Stack", "ct_header", "frames_block",
    "image_header", "multi_frame", "put_pixels", "put_plane", "save_all", "slices",
]  # fmt: skip

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
OBLIQUE = (0.9, 0.3, -0.2, -0.25, 0.9, 0.3)
"""Row direction, and roughly the column direction: `Stack` makes them perpendicular."""
BLOCK = (slice(2, 4), slice(5, 11), slice(20, 31))
"""The bright voxels: slices, rows, columns."""
ROWS, COLUMNS = 32, 48
DARK, BRIGHT = 100, 3000
BOX_SPACING_MM, BOX_STEP_MM, BOX_SHAPE = (0.8, 0.7), 3.0, (9, 24, 32)


@dataclass(frozen=True)
class Block:
    """The bright voxels of a part. `low`, `high`: the extremes of their centres, mm LPS; None without patient geometry.

    `volume_ml`: pixel area x the slices' extents along their normal; half of each gap belongs to either neighbour.
    """

    voxels: int
    low: NDArray[np.float64] | None = None
    high: NDArray[np.float64] | None = None
    volume_ml: float | None = None


class Stack:
    """Parallel planes in the patient.

    `positions`: `slices 3`, mm LPS, of the centres of the first voxels; `row`, `column`: directions in which a row and
    a column run; `spacing`: between rows, between columns, mm. `block`: the bright voxels.
    """

    def __init__(
        self,
        orientation: Sequence[float] = AXIAL,
        depths: Sequence[float] = tuple(2.0 * number for number in range(6)),
        *,
        tilt_degrees: float = 0.0,
        origin: Sequence[float] = (-10.0, -20.0, 50.0),
        spacing: tuple[float, float] = (0.8, 0.7),
        block: tuple[slice, slice, slice] = BLOCK,
    ) -> None:
        right, down = np.array(orientation[:3], dtype=float), np.array(orientation[3:], dtype=float)
        self.row = right / np.linalg.norm(right)
        down = down - self.row * (down @ self.row)
        self.column = down / np.linalg.norm(down)
        self.normal = np.cross(self.row, self.column)
        self.depths = np.array(depths, dtype=float)
        # A tilted gantry moves each slice within its plane as the table goes on (PS3.3 C.8.2.1.1.2).
        step = self.normal + math.tan(math.radians(tilt_degrees)) * self.column
        self.positions = np.array(origin, dtype=float) + np.outer(self.depths, step)
        self.spacing = spacing
        self.block = block

    @property
    def orientation(self) -> NDArray[np.float64]:
        return np.concatenate([self.row, self.column])

    def voxels(self, bright: int = BRIGHT) -> NDArray[np.uint16]:
        """`slices rows columns`."""
        values = np.full((len(self.positions), ROWS, COLUMNS), DARK, dtype=np.uint16)
        values[self.block] = bright
        return values

    def expected(self) -> Block:
        """Where the block lies and how large it is."""
        places = np.argwhere(self.voxels() == BRIGHT)
        points = (
            self.positions[places[:, 0]]
            + np.outer(places[:, 1] * self.spacing[0], self.column)
            + np.outer(places[:, 2] * self.spacing[1], self.row)
        )
        extents = np.abs(np.gradient(self.depths))[places[:, 0]] if len(self.depths) > 1 else np.zeros(len(places))
        volume = float(extents.sum()) * math.prod(self.spacing) / 1000
        return Block(len(places), points.min(axis=0), points.max(axis=0), volume)


def image_header(sop_class: str, modality: str, number: int = 1, *, series: str = "1.2.2") -> Dataset:
    """Patient, study, series, equipment and 12 bits of grey: what every image has. `number`: of the instance."""
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID = sop_class
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID = f"1.2.3.{number}"
    header.StudyInstanceUID, header.SeriesInstanceUID = "1.2.1", series
    header.PatientName, header.PatientID, header.PatientBirthDate, header.PatientSex = "Box^Test", "P1", "19700101", "O"
    header.AccessionNumber, header.StudyID, header.StudyDate, header.StudyTime = "A1", "S1", "20260101", "120000"
    header.Modality, header.InstanceNumber, header.ImageType = modality, number, ["ORIGINAL", "PRIMARY", "AXIAL"]
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 12, 11, 0
    return header


def put_plane(
    header: Dataset,
    position: Sequence[float],
    orientation: Sequence[float],
    spacing: Sequence[float],
    thickness: float,
    frame_of_reference: str = "1.2.4",
) -> None:
    """The image plane of a single-frame instance (PS3.3 C.7.6.2)."""
    header.FrameOfReferenceUID = frame_of_reference
    header.ImagePositionPatient = [f"{value:.6f}" for value in position]
    header.ImageOrientationPatient = [f"{value:.8f}" for value in orientation]
    header.PixelSpacing, header.SliceThickness = list(spacing), thickness


def put_pixels(header: Dataset, values: NDArray[np.generic]) -> None:
    """`rows columns` or `frames rows columns` of uint8 or uint16; with 3 at the end in colour."""
    if values.shape[-1] == 3:
        header.SamplesPerPixel, header.PhotometricInterpretation, header.PlanarConfiguration = 3, "RGB", 0
        values_of_a_frame = values.shape[:-1]
    else:
        values_of_a_frame = values.shape
    if values.dtype == np.uint8:
        header.BitsAllocated, header.BitsStored, header.HighBit = 8, 8, 7
    header.Rows, header.Columns = values_of_a_frame[-2:]
    if len(values_of_a_frame) == 3:
        header.NumberOfFrames = values_of_a_frame[0]
    header.PixelData = values.tobytes() + b"\0" * (values.nbytes % 2)
    header["PixelData"].VR = "OB" if values.dtype == np.uint8 else "OW"


def slices(stack: Stack, sop_class: str, modality: str, first: int = 1) -> list[Dataset]:
    """A stack as single-frame instances; `first`: number of the first one."""
    headers = []
    for index, values in enumerate(stack.voxels()):
        header = image_header(sop_class, modality, first + index)
        put_plane(header, stack.positions[index], stack.orientation, stack.spacing, 2.0)
        if modality == "CT":
            header.RescaleSlope, header.RescaleIntercept, header.RescaleType = 1, -1024, "HU"
        put_pixels(header, values)
        headers.append(header)
    return headers


def multi_frame(
    stacks: Sequence[Stack],
    sop_class: str,
    modality: str,
    number: int = 1,
    *,
    measures_per_frame: bool = False,
    dimension: str = "",
) -> Dataset:
    """Stacks as one enhanced multi-frame instance with functional groups (PS3.3 C.7.6.16).

    `dimension`: the attribute of Frame Content that tells the stacks apart, StackID or TemporalPositionIndex.
    """
    header = image_header(sop_class, modality, number)
    header.FrameOfReferenceUID = "1.2.4"
    put_pixels(header, np.concatenate([stack.voxels() for stack in stacks]))
    frames, shared = [], Dataset()
    for ordinal, stack in enumerate(stacks, start=1):
        for index, position in enumerate(stack.positions, start=1):
            frame, plane, content = Dataset(), Dataset(), Dataset()
            plane.ImagePositionPatient = [f"{value:.6f}" for value in position]
            frame.PlanePositionSequence = Items([plane])
            content.InStackPositionNumber, content.StackID = index, "1"
            content.DimensionIndexValues = [ordinal, index]
            if dimension:
                setattr(content, dimension, str(ordinal) if dimension == "StackID" else ordinal)
            frame.FrameContentSequence = Items([content])
            if measures_per_frame or len(stacks) > 1:
                _put_measures(frame, stack)
            frames.append(frame)
    if modality == "CT":
        rescale = Dataset()
        rescale.RescaleSlope, rescale.RescaleIntercept, rescale.RescaleType = 1, -1024, "HU"
        shared.PixelValueTransformationSequence = Items([rescale])
    if not measures_per_frame and len(stacks) == 1:
        _put_measures(shared, stacks[0])
    header.SharedFunctionalGroupsSequence, header.PerFrameFunctionalGroupsSequence = Items([shared]), Items(frames)
    return header


def _put_measures(groups: Dataset, stack: Stack) -> None:
    orientation, measures = Dataset(), Dataset()
    orientation.ImageOrientationPatient = [f"{value:.8f}" for value in stack.orientation]
    measures.PixelSpacing, measures.SliceThickness = list(stack.spacing), 2.0
    groups.PlaneOrientationSequence, groups.PixelMeasuresSequence = Items([orientation]), Items([measures])


def frames_block() -> tuple[NDArray[np.uint16], Block]:
    """Five frames without patient geometry, the middle three with the block; and what the middle one holds of it."""
    values = np.full((5, ROWS, COLUMNS), DARK, dtype=np.uint16)
    values[1:4, BLOCK[1], BLOCK[2]] = BRIGHT
    return values, Block(int((values[2] == BRIGHT).sum()))


def save_all(headers: Sequence[Dataset], folder: Path) -> list[Path]:
    """Write instances under names that say nothing about their order."""
    paths = []
    for index, header in enumerate(headers):
        paths.append(folder / f"{(index * 7) % 31:02d}-{index:02d}.dcm")
        header.save_as(paths[-1], enforce_file_format=True)
    return sorted(paths)


def ct_header(index: int, position: Sequence[float], orientation: Sequence[float]) -> Dataset:
    """Slice `index` of a CT, numbered from the other end, without pixels."""
    header = image_header(CTImageStorage, "CT", index + 1)
    header.InstanceNumber = 1000 - index
    put_plane(header, position, orientation, BOX_SPACING_MM, BOX_STEP_MM)
    header.Rows, header.Columns = BOX_SHAPE[1:]
    header.RescaleSlope, header.RescaleIntercept, header.RescaleType = 1, -1024, "HU"
    return header
