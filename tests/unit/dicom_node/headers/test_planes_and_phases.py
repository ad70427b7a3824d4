"""How an image lies, and when after an injection it was taken."""

from __future__ import annotations

import math

import pytest

from dicom_node.headers.attributes import Attributes
from dicom_node.headers.contrast_phase import contrast_phase
from dicom_node.headers.planes import plane_of

STRAIGHT = {"axial": (1, 0, 0, 0, 1, 0), "coronal": (1, 0, 0, 0, 0, -1), "sagittal": (0, 1, 0, 0, 0, -1)}


@pytest.mark.parametrize("plane", STRAIGHT)
def test_planes(plane: str) -> None:
    assert plane_of(STRAIGHT[plane]) == plane


@pytest.mark.parametrize(
    ("degrees", "plane"), [(20, "axial"), (-25, "axial"), (30, "oblique"), (60, "oblique"), (70, "coronal")]
)
def test_a_tilted_plane(degrees: float, plane: str) -> None:
    angle = math.radians(degrees)
    assert plane_of((1, 0, 0, 0, math.cos(angle), math.sin(angle))) == plane


@pytest.mark.parametrize("orientation", [(), (1, 0, 0), (0,) * 6, (1, 0, 0, 2, 0, 0), (math.inf,) * 6])
def test_what_is_no_orientation_has_no_plane(orientation: tuple[float, ...]) -> None:
    assert plane_of(orientation) == ""


@pytest.mark.parametrize(
    ("description", "phase"),
    [
        ("Abdomen venous 3.0", "venous"),
        ("Abd portal venous", "portal"),
        ("Leber portalvenös 5mm", "portal"),
        ("Oberbauch arteriell", "arterial"),
        ("Thorax ART 1.0", "arterial"),
        ("Schädel nativ", "native"),
        ("CT head w/o contrast", "native"),
        ("Abdomen ohne KM", "native"),
        ("Non-contrast", "native"),
        ("5/5mm Plain", "native"),
        ("Niere Spätphase", "delayed"),
        ("kidneys excretory phase", "delayed"),
        ("Leber venös", "venous"),
        ("arterial + portal venous", ""),
        ("portal vein thrombosis", ""),
        ("spatial resolution", ""),
        ("late arterial", "arterial"),
        ("CT head w/wo contrast", ""),
        ("Abdomen 3.0", ""),
        ("", ""),
    ],
)
def test_phases_by_words_in_english_and_german(description: str, phase: str) -> None:
    assert contrast_phase({"Modality": ("CT",), "SeriesDescription": (description,)}) == phase


def test_phases_by_codes_and_by_what_counts_first() -> None:
    code: Attributes = {
        "CodeValue": ("K7",),
        "CodingSchemeDesignator": ("99X",),
        "CodeMeaning": ("Abdomen portal venous",),
    }
    coded: Attributes = {"PerformedProtocolCodeSequence": (code,), "ProtocolName": ("Leber nativ",)}
    assert contrast_phase(coded) == "portal"
    assert contrast_phase({**coded, "SeriesDescription": ("arterial",)}) == "arterial"
    usage: Attributes = {"ContrastBolusUsageSequence": ({"ContrastBolusAgentPhase": ("DELAYED",)},)}
    assert contrast_phase({**coded, "SharedFunctionalGroupsSequence": (usage,)}) == "delayed"
    assert contrast_phase({"Modality": ("RTIMAGE",), "SeriesDescription": ("portal",)}) == ""
