"""Headers of the synthetic body's images: whose they are is nobody's, and each says that it is a test."""

from __future__ import annotations

from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, CTImageStorage, ExplicitVRLittleEndian

__all__ = ["PATIENT_ID", "PATIENT_NAME", "ct_header", "radiograph_header", "save_image"]

PATIENT_NAME, PATIENT_ID = "COMMISSIONING^MEDSEG", "MEDSEG-COMMISSIONING"
_COMMENT = "TEST IMAGE of a synthetic body with marks at known places, made to commission MedSeg Node. Not a patient."

UIDs = tuple[str, str, str]
"""Of study, series and instance."""


def _header(run_id: str, created: datetime, uids: UIDs, series_number: int, number: int, name: str) -> Dataset:
    header = Dataset()
    header.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    header.StudyInstanceUID, header.SeriesInstanceUID, header.SOPInstanceUID = uids
    header.PatientName, header.PatientID = PATIENT_NAME, PATIENT_ID
    header.PatientBirthDate, header.PatientSex = "", "O"
    header.PatientComments = "Not a patient: a commissioning test of MedSeg Node"
    header.StudyDate = header.SeriesDate = header.AcquisitionDate = header.ContentDate = created.strftime("%Y%m%d")
    header.StudyTime = header.SeriesTime = header.AcquisitionTime = header.ContentTime = created.strftime("%H%M%S")
    header.StudyID, header.AccessionNumber, header.ReferringPhysicianName = run_id[:16], "", ""
    header.StudyDescription = "COMMISSIONING TEST, not a patient"
    header.SeriesDescription, header.ImageComments = f"TEST {name}", _COMMENT
    header.SeriesNumber, header.InstanceNumber, header.AcquisitionNumber = series_number, number, 1
    header.Manufacturer, header.ManufacturerModelName = "MedSeg Node", "commissioning body"
    header.SoftwareVersions = version("medseg-node")
    header.BodyPartExamined = "CHEST"
    header.QualityControlImage, header.BurnedInAnnotation = "YES", "NO"
    header.LossyImageCompression = "00"
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 12, 11, 0
    return header


def ct_header(run_id: str, created: datetime, uids: UIDs, series_number: int, number: int, name: str) -> Dataset:
    """A CT image (PS3.3 A.3) without its plane and pixels."""
    header = _header(run_id, created, uids, series_number, number, name)
    header.SOPClassUID, header.Modality, header.PatientPosition = CTImageStorage, "CT", "HFS"
    header.PositionReferenceIndicator, header.KVP = "", "120"
    header.RescaleSlope, header.RescaleIntercept, header.RescaleType = "1", "-1024", "HU"
    header.WindowCenter, header.WindowWidth = "40", "400"
    return header


def radiograph_header(run_id: str, created: datetime, uids: UIDs, series_number: int, name: str) -> Dataset:
    """A computed radiograph (PS3.3 A.2) without its pixels: rows to the patient's left, columns to the feet."""
    header = _header(run_id, created, uids, series_number, 1, name)
    header.ImageType = ["ORIGINAL", "PRIMARY"]
    header.SOPClassUID, header.Modality = ComputedRadiographyImageStorage, "CR"
    header.PatientOrientation, header.ViewPosition = ["L", "F"], "AP"
    header.WindowCenter, header.WindowWidth = "2000", "4000"
    return header


def save_image(header: Dataset, pixels: NDArray[np.uint16], path: Path) -> None:
    """Write an image, Explicit VR Little Endian."""
    header.Rows, header.Columns = pixels.shape
    header.PixelData = pixels.astype("<u2").tobytes()
    header["PixelData"].VR = "OW"
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
    path.parent.mkdir(parents=True, exist_ok=True)
    header.save_as(path, enforce_file_format=True)
