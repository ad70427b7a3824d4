"""Every kind of input that the table in CONFORMANCE.md has, in its order."""

from __future__ import annotations

from tests.corpus.image_kinds import IMAGE_KINDS
from tests.corpus.kind import Kind
from tests.corpus.stack_kinds import STACK_KINDS

__all__ = ["KINDS"]

_CT = "cornerstone3D/packages/dicomImageLoader/examplesOld/test-images/CTImage.dcm_"
_SYNTAXES = {
    "Implicit VR Little Endian": "LittleEndianImplicitTransferSyntax_1.2.840.10008.1.2.dcm",
    "Deflated Explicit VR Little Endian": "DeflatedExplicitVRLittleEndianTransferSyntax_1.2.840.10008.1.2.1.99.dcm",
    "Explicit VR Big Endian": "BigEndianExplicitTransferSyntax_1.2.840.10008.1.2.2.dcm",
    "RLE Lossless": "RLELosslessTransferSyntax_1.2.840.10008.1.2.5.dcm",
    "JPEG Baseline (.50)": "JPEGProcess1TransferSyntax_1.2.840.10008.1.2.4.50.dcm",
    "JPEG Extended, 12 bits (.51)": "JPEGProcess2_4TransferSyntax_1.2.840.10008.1.2.4.51.dcm",
    "JPEG Lossless (.57)": "JPEGProcess14TransferSyntax_1.2.840.10008.1.2.4.57.dcm",
    "JPEG Lossless, first-order prediction (.70)": "JPEGProcess14SV1TransferSyntax_1.2.840.10008.1.2.4.70.dcm",
    "JPEG-LS lossless (.80)": "JPEGLSLosslessTransferSyntax_1.2.840.10008.1.2.4.80.dcm",
    "JPEG-LS lossy (.81)": "JPEGLSLossyTransferSyntax_1.2.840.10008.1.2.4.81.dcm",
    "JPEG 2000 lossless (.90)": "JPEG2000LosslessOnlyTransferSyntax_1.2.840.10008.1.2.4.90.dcm",
    "JPEG 2000 (.91)": "JPEG2000TransferSyntax_1.2.840.10008.1.2.4.91.dcm",
}

KINDS: tuple[Kind, ...] = (
    *STACK_KINDS,
    *IMAGE_KINDS,
    Kind("Enhanced MR, B0 map of two frames a position", None, "dcm_qa_enh/In/Philips/IM_0027_fMAP.dcm"),
    Kind("RT Structure Set", None, "dicompyler-core/tests/testdata/example_data/rtss.dcm"),
    Kind("Segmentation", None, "highdicom/data/test_files/seg_image_cr_binary.dcm"),
    Kind("Structured report", None, "dcmqi/data/sr-example/sr.dcm"),
    *(Kind(f"Transfer syntax {name}", None, f"{_CT}{file}") for name, file in _SYNTAXES.items()),
)
