"""Kinds of input without a place in the patient: projections, frames over time, photographs, captures."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence as Items

from tests.corpus.kind import Kind, Made, answered, refused, register
from tests.corpus.phantom import BLOCK, BRIGHT, COLUMNS, DARK, ROWS, Block, frames_block, image_header, put_pixels

__all__ = ["IMAGE_KINDS"]

IMAGE_KINDS: list[Kind] = []
_kind = partial(register, IMAGE_KINDS)
_RETIRED_ULTRASOUND, _RETIRED_ULTRASOUND_CINE = "1.2.840.10008.5.1.4.1.1.6", "1.2.840.10008.5.1.4.1.1.3"
_TEST_FILES = "pydicom/src/pydicom/data/test_files"


def _picture(dtype: type = np.uint16) -> tuple[NDArray[np.generic], Block]:
    """A dark picture with the bright block."""
    values = np.full((ROWS, COLUMNS), DARK, dtype=dtype)
    values[BLOCK[1:]] = min(BRIGHT, np.iinfo(dtype).max)
    return values, Block(66)


def _image(sop_class: str, modality: str, number: int = 1) -> Dataset:
    header = image_header(sop_class, modality, number)
    put_pixels(header, _picture()[0])
    return header


def _radiograph(sop_class: str = uid.ComputedRadiographyImageStorage, modality: str = "CR", number: int = 1) -> Dataset:
    header = _image(sop_class, modality, number)
    header.ImagerPixelSpacing, header.PatientOrientation = [0.2, 0.2], ["L", "F"]
    return header


def _one(header: Dataset) -> Made:
    return answered([header], Block(66))


def _in_colour(sop_class: str, modality: str) -> Made:
    header = image_header(sop_class, modality)
    put_pixels(header, np.repeat(_picture(np.uint8)[0][..., None], 3, axis=-1))
    return _one(header)


def _frames(sop_class: str, modality: str) -> Made:
    """Frames over time: the middle one is read."""
    values, block = frames_block()
    header = image_header(sop_class, modality)
    put_pixels(header, values)
    header.FrameTime = 40
    return answered([header], block)


# --- Radiographs ------------------------------------------------------------------------------------------------------


@_kind("DX", "highdicom/data/test_files/dx_image.dcm")
def _dx() -> Made:
    return _one(_radiograph(uid.DigitalXRayImageStorageForPresentation, "DX"))


@_kind("CR", f"{_TEST_FILES}/dicomdirtests/77654033/CR1/6154")
def _cr() -> Made:
    return _one(_radiograph())


@_kind("DX, MONOCHROME1")
def _monochrome1() -> Made:
    header = _radiograph(uid.DigitalXRayImageStorageForPresentation, "DX")
    header.PhotometricInterpretation = "MONOCHROME1"
    header.PixelData = (4095 - _picture()[0]).astype(np.uint16).tobytes()
    return _one(header)


@_kind("DX without Patient Orientation")
def _dx_without_orientation() -> Made:
    header = _radiograph(uid.DigitalXRayImageStorageForPresentation, "DX")
    del header.PatientOrientation
    return _one(header)


@_kind("CR with Patient Orientation empty")
def _cr_orientation_empty() -> Made:
    header = _radiograph()
    header.PatientOrientation = None
    return _one(header)


@_kind("CR with Pixel Spacing alone")
def _pixel_spacing_only() -> Made:
    header = _radiograph()
    del header.ImagerPixelSpacing
    header.PixelSpacing = [0.2, 0.2]
    return _one(header)


@_kind("CR without any spacing")
def _no_spacing() -> Made:
    header = _radiograph()
    del header.ImagerPixelSpacing
    return _one(header)


@_kind("CR, two views in a series")
def _two_views() -> Made:
    return answered([_radiograph(number=number) for number in (1, 2)], Block(66), Block(66))


@_kind("MG, two views in a series")
def _mammograms() -> Made:
    headers = [_radiograph(uid.DigitalMammographyXRayImageStorageForPresentation, "MG", number) for number in (1, 2)]
    for header, view in zip(headers, ("CC", "MLO"), strict=True):
        header.ViewPosition, header.ImageLaterality = view, "L"
    return answered(headers, Block(66), Block(66))


@_kind("IO")
def _intra_oral() -> Made:
    return _one(_radiograph(uid.DigitalIntraOralXRayImageStorageForPresentation, "IO"))


@_kind("RT image", "pynetdicom/pynetdicom/tests/dicom_files/RTImageStorage.dcm")
def _rt_image() -> Made:
    return _one(_radiograph(uid.RTImageStorage, "RTIMAGE"))


# --- Frames over time -------------------------------------------------------------------------------------------------


@_kind("XA, cine")
def _angiography() -> Made:
    return _frames(uid.XRayAngiographicImageStorage, "XA")


@_kind("RF, cine")
def _fluoroscopy() -> Made:
    return _frames(uid.XRayRadiofluoroscopicImageStorage, "RF")


@_kind("NM, several frames")
def _nuclear() -> Made:
    return _frames(uid.NuclearMedicineImageStorage, "NM")


@_kind("US, one frame", f"{_TEST_FILES}/examples_palette.dcm")
def _ultrasound() -> Made:
    return _one(_image(uid.UltrasoundImageStorage, "US"))


@_kind("US, several images in a series")
def _ultrasounds() -> Made:
    headers = [_image(uid.UltrasoundImageStorage, "US", number) for number in (1, 2, 3)]
    return answered(headers, *[Block(66)] * 3)


@_kind("US, cine", f"{_TEST_FILES}/examples_ybr_color.dcm")
def _ultrasound_cine() -> Made:
    return _frames(uid.UltrasoundMultiFrameImageStorage, "US")


@_kind("US, the retired class of one frame")
def _retired_ultrasound() -> Made:
    return _one(_image(_RETIRED_ULTRASOUND, "US"))


@_kind("US, the retired class of several frames")
def _retired_ultrasound_cine() -> Made:
    return _frames(_RETIRED_ULTRASOUND_CINE, "US")


@_kind("Ophthalmic tomography without plane positions")
def _tomography() -> Made:
    return _frames(uid.OphthalmicTomographyImageStorage, "OPT")


@_kind("Intravascular OCT")
def _intravascular() -> Made:
    return _frames(uid.IntravascularOpticalCoherenceTomographyImageStorageForPresentation, "IVOCT")


@_kind("Video (MPEG-4)")
def _video() -> Made:
    header = image_header(uid.VideoEndoscopicImageStorage, "ES")
    put_pixels(header, np.repeat(frames_block()[0].astype(np.uint8)[..., None], 3, axis=-1))
    header.file_meta.TransferSyntaxUID = uid.MPEG4HP41
    header.PixelData = encapsulate([b"\0" * 1000])
    header["PixelData"].is_undefined_length = True
    return refused([header], "undecodable-pixel-data", "is video (MPEG-4", "export the key frames")


# --- Photographs and captures -----------------------------------------------------------------------------------------


@_kind("ES")
def _endoscopy() -> Made:
    return _in_colour(uid.VLEndoscopicImageStorage, "ES")


@_kind("VL photographic")
def _photograph() -> Made:
    return _in_colour(uid.VLPhotographicImageStorage, "XC")


@_kind("VL microscopic")
def _microscopy() -> Made:
    return _in_colour(uid.VLMicroscopicImageStorage, "GM")


@_kind("OP", "dcmjs/test/sample-op.dcm")
def _fundus() -> Made:
    return _in_colour(uid.OphthalmicPhotography8BitImageStorage, "OP")


@_kind("Secondary Capture", f"{_TEST_FILES}/GDCMJ2K_TextGBR.dcm")
def _capture() -> Made:
    return _in_colour(uid.SecondaryCaptureImageStorage, "OT")


@_kind("Secondary Capture that calls itself CT")
def _capture_as_ct() -> Made:
    header = _image(uid.SecondaryCaptureImageStorage, "CT")
    header.RescaleSlope, header.RescaleIntercept = 1, -1024
    return _one(header)


@_kind("Secondary Capture, several frames")
def _captures() -> Made:
    return _frames(uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage, "OT")


@_kind("US, spacing by region")
def _region() -> Made:
    header, region = _image(uid.UltrasoundImageStorage, "US"), Dataset()
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX = region.PhysicalDeltaY = 0.02
    region.RegionLocationMinX0 = region.RegionLocationMinY0 = 0
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = COLUMNS - 1, ROWS - 1
    header.SequenceOfUltrasoundRegions = Items([region])
    return _one(header)
