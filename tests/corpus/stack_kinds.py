"""Kinds of input that lie in the patient: slices and enhanced multi-frame images."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import imagecodecs
import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence as Items

from tests.corpus.kind import Kind, Made, answered, refused, register
from tests.corpus.phantom import (
    BLOCK,
    DARK,
    OBLIQUE,
    Stack,
    image_header,
    multi_frame,
    put_pixels,
    slices,
)

__all__ = ["STACK_KINDS"]

STACK_KINDS: list[Kind] = []
_kind = partial(register, STACK_KINDS)
_ct = partial(slices, sop_class=uid.CTImageStorage, modality="CT")
_mr = partial(slices, sop_class=uid.MRImageStorage, modality="MR")
_DEPTHS = [0.625 * index for index in range(6)]
_enhanced_mr = partial(multi_frame, sop_class=uid.EnhancedMRImageStorage, modality="MR")


def _each(headers: Sequence[Dataset], change: Callable[[int, Dataset], None]) -> Sequence[Dataset]:
    for index, header in enumerate(headers):
        change(index, header)
    return headers


def _all(headers: Sequence[Dataset], **values: object) -> Sequence[Dataset]:
    for header in headers:
        for keyword, value in values.items():
            setattr(header, keyword, value)
    return headers


def _without(headers: Sequence[Dataset], keyword: str) -> Sequence[Dataset]:
    for header in headers:
        delattr(header, keyword)
    return headers


# --- Geometry ---------------------------------------------------------------------------------------------------------


@_kind("CT, axial", "totalseg_ct_dicom/example_ct_dicom")
def _axial() -> Made:
    return answered(_ct(Stack()), Stack().expected())


@_kind("MR, oblique", "dcm_qa_decubitus/In/HFP/2_t1_fl2d_sag")
def _oblique() -> Made:
    stack = Stack(OBLIQUE)
    return answered(_mr(stack), stack.expected())


@_kind("CT, gantry tilt", "dcm_qa_ct/In/GE")
def _tilted() -> Made:
    stack = Stack(tilt_degrees=15.0)
    return answered(_ct(stack), stack.expected())


@_kind("CT, gaps of 5 then of 10 mm")
def _mixed_gaps() -> Made:
    stack = Stack(depths=(0.0, 5.0, 10.0, 15.0, 25.0, 35.0))
    return answered(_ct(stack), stack.expected())


@_kind("CT, a slice missing")
def _missing_slice() -> Made:
    headers = _ct(Stack(depths=[2.0 * index for index in range(7)]))
    del headers[4]
    return refused(headers, "irregular-spacing", "1 slices seem to be missing", "send the whole series")


@_kind("CT, a wide gap that instance numbers go on across")
def _wide_gap() -> Made:
    stack = Stack(depths=(0.0, 2.0, 4.0, 6.0, 10.0, 12.0))
    return answered(_ct(stack), stack.expected())


@_kind("CT, positions rounded to 0.1 mm")
def _rounded() -> Made:
    """The slices are 0.625 mm apart, whatever is written."""
    true, written = (Stack(depths=depths) for depths in (_DEPTHS, [round(depth, 1) for depth in _DEPTHS]))
    return answered(_ct(written), replace(written.expected(), volume_ml=true.expected().volume_ml))


@_kind("Orientation that differs in the last digit", "dcmqi/data/paramaps/pm-example-dcm_unzipped/701-ADCb500")
def _last_digit() -> Made:
    def change(index: int, header: Dataset) -> None:
        header.ImageOrientationPatient = [1, 0, 0, 0, 1, 0.000001 * (index % 2)]

    return answered(_each(_ct(Stack()), change), Stack().expected())


@_kind("CT, Slice Thickness empty")
def _thickness_empty() -> Made:
    return answered(_all(_ct(Stack()), SliceThickness=None), Stack().expected())


@_kind("CT, Slice Thickness missing")
def _thickness_missing() -> Made:
    return answered(_without(_ct(Stack()), "SliceThickness"), Stack().expected())


@_kind("CT, Frame of Reference missing")
def _frame_of_reference_missing() -> Made:
    return answered(_without(_ct(Stack()), "FrameOfReferenceUID"), Stack().expected())


@_kind("CT, Modality missing")
def _modality_missing() -> Made:
    return answered(_without(_ct(Stack()), "Modality"), Stack().expected())


@_kind("CT, Image Position missing")
def _position_missing() -> Made:
    return refused(_without(_ct(Stack()), "ImagePositionPatient"), "missing-geometry", "Image Position", "send it with")


@_kind("CT, Pixel Spacing missing")
def _spacing_missing() -> Made:
    return refused(_without(_ct(Stack()), "PixelSpacing"), "missing-spacing", "Pixel Spacing", "send it with")


# --- Several volumes in a series --------------------------------------------------------------------------------------


def _volumes(keyword: str, values: Sequence[object]) -> Made:
    """The same planes once for each value of `keyword`."""
    stack, headers = Stack(), []
    for ordinal, value in enumerate(values):
        headers += _all(_mr(stack, first=1 + 10 * ordinal), **{keyword: value})
    return answered(headers, *[stack.expected()] * len(values))


@_kind("MR, two echoes")
def _echoes() -> Made:
    return _volumes("EchoTime", (10.0, 80.0))


@_kind("MR, three phases by Temporal Position Identifier")
def _phases() -> Made:
    return _volumes("TemporalPositionIdentifier", (1, 2, 3))


@_kind("MR, two b-values")
def _b_values() -> Made:
    return _volumes("DiffusionBValue", (0.0, 1000.0))


@_kind("CT, two acquisitions of the same planes")
def _acquisitions() -> Made:
    return _volumes("AcquisitionNumber", (1, 2))


@_kind("MR, two stacks of other orientation")
def _two_orientations() -> Made:
    axial, sagittal = Stack(), Stack((0, 1, 0, 0, 0, -1))
    return answered([*_mr(axial), *_mr(sagittal, first=11)], axial.expected(), sagittal.expected())


@_kind("CT, the same position twice with other pixels and nothing to tell them apart")
def _same_position() -> Made:
    headers = _ct(Stack())
    double = copy.deepcopy(headers[2])
    double.SOPInstanceUID = double.file_meta.MediaStorageSOPInstanceUID = "1.2.3.99"
    double.PixelData = bytes(len(double.PixelData))
    return refused([*headers, double], "duplicate-positions", "lie at the same position", "series of their own")


# --- Enhanced multi-frame ---------------------------------------------------------------------------------------------


@_kind("Enhanced CT, measures shared", "dcmqi/data/segmentations/23x38x3/multiframe/mf.dcm")
def _enhanced_ct() -> Made:
    return answered([multi_frame([Stack()], uid.EnhancedCTImageStorage, "CT")], Stack().expected())


@_kind("Enhanced MR, measures per frame", "../../cases/enhanced-mr-per-frame-measures/00000.dcm")
def _per_frame_measures() -> Made:
    stack = Stack(OBLIQUE)
    return answered([_enhanced_mr([stack], measures_per_frame=True)], stack.expected())


@_kind("Enhanced MR, two times")
def _two_times() -> Made:
    header = _enhanced_mr([Stack(), Stack()], dimension="TemporalPositionIndex")
    return answered([header], Stack().expected(), Stack().expected())


@_kind("Enhanced MR, two stacks")
def _two_stacks() -> Made:
    stacks = [Stack(), Stack((0, 1, 0, 0, 0, -1))]
    return answered([_enhanced_mr(stacks, dimension="StackID")], *[stack.expected() for stack in stacks])


@_kind("Enhanced MR, several instances in a series", "dcm_qa_enh/In/Siemens/XA10")
def _several_enhanced() -> Made:
    headers = [_enhanced_mr([Stack()], number=number) for number in (1, 2)]
    return answered(headers, Stack().expected(), Stack().expected())


@_kind("Breast tomosynthesis")
def _tomosynthesis() -> Made:
    return answered([multi_frame([Stack()], uid.BreastTomosynthesisImageStorage, "MG")], Stack().expected())


@_kind("Ophthalmic tomography with plane positions")
def _tomography_in_place() -> Made:
    return answered([multi_frame([Stack()], uid.OphthalmicTomographyImageStorage, "OPT")], Stack().expected())


@_kind("Parametric map, float pixels", "pydicom-data/data_store/data/parametric_map_float.dcm")
def _float_pixels() -> Made:
    stack = Stack()
    header = multi_frame([stack], uid.ParametricMapStorage, "MR")
    header.FloatPixelData = (stack.voxels().astype(np.float32) / 1000).tobytes()
    header.BitsAllocated = 32
    for keyword in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
        delattr(header, keyword)
    return answered([header], stack.expected())


@_kind("Several frames in CT Image Storage")
def _many_frames() -> Made:
    headers = _ct(Stack())[:2]
    for header in headers:
        header.NumberOfFrames, header.PixelData = 2, header.PixelData * 2
    return refused(headers, "frames-in-single-frame-class", "holds 2 frames", "send it as enhanced multi-frame")


# --- Values -----------------------------------------------------------------------------------------------------------


@_kind("PET, a slope per slice")
def _pet() -> Made:
    headers = slices(Stack(), uid.PositronEmissionTomographyImageStorage, "PT")
    for header, slope in zip(headers, (0.5, 0.8, 1.0, 1.3, 1.9, 2.6), strict=True):
        header.Units, header.RescaleSlope, header.RescaleIntercept = "BQML", slope, 0
    return answered(headers, Stack().expected())


@_kind("CT, pixels left-aligned (High Bit 15)")
def _left_aligned() -> Made:
    headers = _ct(Stack())
    for header, values in zip(headers, Stack().voxels(), strict=True):
        header.HighBit, header.PixelData = 15, (values << 4).tobytes()
    return answered(headers, Stack().expected())


@_kind("CT, Modality LUT")
def _modality_lut() -> Made:
    """A table that turns values round: dark is stored high."""
    headers, table = _ct(Stack()), Dataset()
    table.LUTDescriptor, table.ModalityLUTType = [4096, 0, 16], "US"
    table.LUTData = np.arange(4095, -1, -1, dtype=np.uint16).tobytes()
    for header, values in zip(headers, Stack().voxels(), strict=True):
        for keyword in ("RescaleSlope", "RescaleIntercept", "RescaleType"):
            delattr(header, keyword)
        header.ModalityLUTSequence = Items([table])
        header["ModalityLUTSequence"].value[0]["LUTDescriptor"].VR = "US"
        header["ModalityLUTSequence"].value[0]["LUTData"].VR = "OW"
        header.PixelData = (4095 - values).astype(np.uint16).tobytes()
    return answered(headers, Stack().expected())


@_kind("Transfer syntax HTJ2K lossless (.201)")
def _high_throughput() -> Made:
    headers = _ct(Stack())
    for header, values in zip(headers, Stack().voxels(), strict=True):
        header.PixelData = encapsulate([imagecodecs.htj2k_encode(values, reversible=True)])
        header["PixelData"].VR = "OB"
        header["PixelData"].is_undefined_length = True
        header.file_meta.TransferSyntaxUID = uid.HTJ2KLossless
    return answered(headers, Stack().expected())


@_kind("CT, Pixel Data missing in a slice")
def _no_pixels() -> Made:
    headers = _ct(Stack())
    del headers[3].PixelData
    return refused(headers, "no-pixel-data", "has no Pixel Data", "send the image")


@_kind("CT, Pixel Data cut off in a slice")
def _truncated() -> Made:
    headers = _ct(Stack())
    headers[3].PixelData = headers[3].PixelData[:100]
    return refused(headers, "truncated-pixel-data", "holds 100", "send it again")


@_kind("CT without rescale")
def _no_rescale() -> Made:
    headers = _ct(Stack())
    for keyword in ("RescaleSlope", "RescaleIntercept", "RescaleType"):
        _without(headers, keyword)
    return answered(headers, Stack().expected())


# --- What else stands in a series -------------------------------------------------------------------------------------


@_kind("Every file twice")
def _twice() -> Made:
    headers = _ct(Stack())
    return answered(headers, Stack().expected(), copies=headers)


@_kind("A private object that is no image among CT slices")
def _private_object() -> Made:
    headers = _ct(Stack())
    other = copy.deepcopy(headers[0])
    other.SOPClassUID = other.file_meta.MediaStorageSOPClassUID = "1.3.12.2.1107.5.9.1"
    other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = "1.2.3.99"
    for keyword in ("PixelData", "Rows", "Columns"):
        delattr(other, keyword)
    return answered([*headers, other], Stack().expected(), left_out=["unsupported-sop-class"])


@_kind("A localizer among CT slices")
def _localizer() -> Made:
    (localizer, *_) = _ct(Stack((0, 1, 0, 0, 0, -1)), first=99)
    localizer.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    return answered([*_ct(Stack()), localizer], Stack().expected(), left_out=["localizer"])


@_kind("A series of localizers alone", "pydicom/src/pydicom/data/test_files/dicomdirtests/98892001/CT2N")
def _localizers() -> Made:
    headers = _all(_ct(Stack())[:1], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    return refused(headers, "localizer", "is a localizer", "send the images")


@_kind("A screenshot (Secondary Capture) among CT slices")
def _screenshot() -> Made:
    screenshot = image_header(uid.SecondaryCaptureImageStorage, "CT", 99)
    values = np.full((64, 64), DARK, dtype=np.uint8)
    values[BLOCK[1], BLOCK[2]] = 255
    put_pixels(screenshot, values)
    return answered([*_ct(Stack()), screenshot], Stack().expected(), left_out=["screenshot"])


@_kind("Two patients in one series")
def _two_patients() -> Made:
    def change(index: int, header: Dataset) -> None:
        header.PatientID, header.PatientName = f"P{index % 2}", f"Box^{'AB'[index % 2]}"

    return refused(_each(_ct(Stack()), change), "contradicting-patients", "Patient ID", "send it corrected")


@_kind("MR mosaic", "dcm_qa_nih/In/20180918Si/mr_0003")
def _mosaic() -> Made:
    headers = _all(_mr(Stack())[:1], ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"])
    return refused(headers, "mosaic", "tiled into one image", "send it as")


@_kind("Whole slide (tiled)", "highdicom/data/test_files/sm_image_dots.dcm")
def _whole_slide() -> Made:
    header = image_header(uid.VLWholeSlideMicroscopyImageStorage, "SM")
    put_pixels(header, np.full((4, 32, 32, 3), DARK, dtype=np.uint8))
    header.TotalPixelMatrixRows = header.TotalPixelMatrixColumns = 64
    header.DimensionOrganizationType = "TILED_FULL"
    return refused([header], "unsupported-sop-class", "VL Whole Slide", "send the images")
