"""A small CT series with a bright box at known patient coordinates, in any orientation."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

SPACING_MM = (0.8, 0.7)
STEP_MM = 3.0
SHAPE = (9, 24, 32)
BOX = (slice(2, 5), slice(4, 10), slice(20, 29))


@dataclass(frozen=True)
class BoxSeries:
    """`files` in random order; `low`, `high`: patient coordinates (mm) of the box's extreme voxel centres."""

    files: list[Path]
    low: np.ndarray
    high: np.ndarray


def ct_header(index: int, position: Sequence[float], orientation: Sequence[float]) -> Dataset:
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID = CTImageStorage
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID = f"1.2.3.{index + 1}"
    header.StudyInstanceUID, header.SeriesInstanceUID, header.FrameOfReferenceUID = "1.2.1", "1.2.2", "1.2.4"
    header.PatientName, header.PatientID, header.PatientBirthDate, header.PatientSex = "Box^Test", "P1", "19700101", "O"
    header.AccessionNumber, header.StudyID, header.StudyDate, header.StudyTime = "A1", "S1", "20260101", "120000"
    header.Modality, header.InstanceNumber, header.ImageType = "CT", 1000 - index, ["ORIGINAL", "PRIMARY", "AXIAL"]
    header.ImagePositionPatient = [f"{value:.6f}" for value in position]
    header.ImageOrientationPatient = [f"{value:.8f}" for value in orientation]
    header.PixelSpacing, header.SliceThickness = list(SPACING_MM), STEP_MM
    header.Rows, header.Columns = SHAPE[1:]
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 12, 11, 0
    header.RescaleSlope, header.RescaleIntercept, header.RescaleType = 1, -1024, "HU"
    return header


@pytest.fixture
def box_series(tmp_path: Path) -> Callable[..., BoxSeries]:
    """Write the series; `change(index, header)` may spoil an instance before it is saved."""

    def write(
        orientation: Sequence[float] = (1, 0, 0, 0, 1, 0),
        step_sign: int = 1,
        change: Callable[[int, Dataset], None] | None = None,
    ) -> BoxSeries:
        right, down = np.array(orientation[:3], dtype=float), np.array(orientation[3:], dtype=float)
        right /= np.linalg.norm(right)
        down = down - right * (down @ right)
        down /= np.linalg.norm(down)
        step = step_sign * STEP_MM * np.cross(right, down)
        origin = np.array([-37.5, 12.25, 101.0])
        voxels = np.zeros(SHAPE, dtype=np.uint16)
        voxels[BOX] = 4095
        files, corners = [], []
        for index in range(SHAPE[0]):
            header = ct_header(index, origin + index * step, (*right, *down))
            header.PixelData = voxels[index].tobytes()
            header["PixelData"].VR = "OW"
            if change is not None:
                change(index, header)
            # File names say nothing about positions.
            files.append(tmp_path / f"{(index * 7) % 11:02d}.dcm")
            header.save_as(files[-1], enforce_file_format=True)
        for index in (BOX[0].start, BOX[0].stop - 1):
            for row in (BOX[1].start, BOX[1].stop - 1):
                for column in (BOX[2].start, BOX[2].stop - 1):
                    corners.append(origin + index * step + right * column * SPACING_MM[1] + down * row * SPACING_MM[0])
        random.Random(3).shuffle(files)
        return BoxSeries(files, np.min(corners, axis=0), np.max(corners, axis=0))

    return write
