"""What the shipped protocols ask, by headers as scanners write them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dicom_node.headers.attributes import KeptStudy
from dicom_node.headers.study import read_study_header, study_header
from workflows.protocols.loader import load_directory
from workflows.protocols.matching import match
from workflows.protocols.schema import ReadingProtocol


def shipped(checkout: Path) -> tuple[ReadingProtocol, ...]:
    return load_directory(checkout / "deploy" / "protocols")


def test_the_abdominal_ct_of_a_real_scanner_is_asked_despite_its_body_part(checkout: Path, shared_data: Path) -> None:
    files = sorted((shared_data / "dicom" / "totalseg_ct_dicom" / "example_ct_dicom").iterdir())
    study = read_study_header({"series": files})
    assert (study.study_description, study.series[0].body_part_examined) == ("", "PARTIALBODY")
    plan = match(study, shipped(checkout))
    assert [found.protocol.name for found in plan.matches] == ["abdominal-ct"]
    assert "'CT Body 3.0'" in plan.verdicts[0].reason
    assert "abdominal-ct" not in {verdict.protocol for verdict in plan.verdicts if not verdict.asked}


@pytest.mark.parametrize(
    ("modality", "study_text", "series_text", "image_type", "asked"),
    [
        ("CT", "CT, HEAD/BRAIN WO CONTRAST", "Routine Brain", (), []),
        ("CT", "CHEST", "HELICAL CHEST", (), []),
        ("CT", "CT ABDOMEN", "Scout", ("ORIGINAL", "PRIMARY", "LOCALIZER"), []),
        ("CT", "CT ABD W CONTRAST", "portal venous", (), ["abdominal-ct"]),
        ("MR", "abdomen^liver", "t1_vibe", (), []),
        ("MR", "Cardiac", "cine_sax_stack", (), ["cardiac-mr"]),
        ("MR", "", "SAx cine", (), ["cardiac-mr"]),
        ("MR", "Cardiac", "cine 4CH", (), []),
        ("MR", "Cardiac", "3-plane localizer", (), []),
        ("CR", "Chest", "Chest PA PA", (), ["chest-radiograph"]),
        ("DX", "", "CHEST", (), ["chest-radiograph"]),
        ("CR", "Chest 2 views", "Chest LAT", (), []),
        ("CR", "XR C Spine Comp Min 4 Views", "Cervical LAT", (), []),
    ],
)
def test_shipped_protocols_ask_what_they_are_for(
    checkout: Path, modality: str, study_text: str, series_text: str, image_type: tuple[str, ...], asked: list[str]
) -> None:
    attributes = {
        "Modality": modality, "StudyDescription": study_text, "SeriesDescription": series_text,
        "ImageType": list(image_type),
    }  # fmt: skip
    kept = KeptStudy.from_json({"series": [{"attributes": attributes, "instances": 40}]})
    plan = match(study_header(replace(kept, sources=("CT1",))), shipped(checkout))
    assert [found.protocol.name for found in plan.matches] == asked
