"""Regions of the body by words and codes; Body Part Examined narrows a vague word and decides nothing."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom.dataset import Dataset

from dicom_node.headers.body_regions import body_regions, regions_in


def coded(value: str, scheme: str = "SCT", meaning: str = "") -> list[Dataset]:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return [item]


def header(**values: Any) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


@pytest.mark.parametrize(
    ("text", "regions"),
    [
        ("CT, HEAD/BRAIN WO CONTRAST", "head"),
        ("Thorax^1HEAD_NECK_PETCT", "chest head neck"),
        ("XR C Spine Comp Min 4 Views", "spine"),
        ("CT thoracic spine", "spine"),
        ("MRT Oberbauch", "abdomen"),
        ("Schädel-CT", "head"),
        ("SCHAEDEL nativ", "head"),
        ("Sono Schilddrüse und Hals", "neck"),
        ("LWS sag T2", "spine"),
        ("MR Mamma bds.", "breast"),
        ("Röntgen Hüfte links", "limb"),
        ("CT CAP w contrast", "abdomen chest pelvis"),
        ("Ganzkörper-MRT", "abdomen chest head neck pelvis"),
        ("femoral head", "limb"),
        ("HEAD COIL, feet first", ""),
        ("lung window", ""),
        ("Daily CT QA", ""),
        ("t1_fl2d_sag", ""),
    ],
)
def test_words_of_descriptions(text: str, regions: str) -> None:
    assert " ".join(sorted(regions_in(text))) == regions


@pytest.mark.parametrize(
    ("said", "regions", "contradicted"),
    [
        ({"BodyPartExamined": "HEAD"}, "", False),
        ({"BodyPartExamined": "HEAD", "SeriesDescription": "Abdomen 5mm"}, "abdomen", False),
        ({"BodyPartExamined": "HEAD", "AnatomicRegionSequence": coded("816094009")}, "chest", False),
        ({"BodyPartExamined": "ABDOMEN", "SeriesDescription": "arterial"}, "abdomen", False),
        ({"SeriesDescription": "arterial"}, "", False),
        ({"SeriesDescription": "CT Body 3.0"}, "abdomen chest pelvis", False),
        ({"BodyPartExamined": "CHEST", "SeriesDescription": "CT Body 3.0"}, "chest", False),
        ({"StudyDescription": "CT Thorax/Abdomen", "SeriesDescription": "Thorax 1mm"}, "chest", False),
        ({"StudyDescription": "MR Abdomen", "SeriesDescription": "pelvis sag"}, "pelvis", False),
        ({"StudyDescription": "MR Kopf", "SeriesDescription": "Oberbauch"}, "abdomen head", True),
        ({"AnatomicRegionSequence": coded("T-D3000", "SRT"), "ProtocolName": "knee"}, "chest limb", False),
        ({"AnatomicRegionSequence": coded("T-A0100", "SRT"), "ProtocolName": "knee"}, "head limb", True),
        ({"ProcedureCodeSequence": coded("6310", "99GAP", "MRT Oberbauch")}, "abdomen", False),
        ({"ProtocolName": "6.9 Colonoscopy"}, "abdomen", False),
    ],
)
def test_what_a_header_says(said: dict[str, Any], regions: str, contradicted: bool) -> None:
    found = body_regions(header(**said))
    assert (" ".join(sorted(found.regions)), found.contradicted) == (regions, contradicted)


def test_body_part_examined_is_kept_apart_where_nothing_else_names_a_region() -> None:
    assert body_regions(header(BodyPartExamined="HEAD")).by_body_part_alone == {"head"}
    assert not body_regions(header(BodyPartExamined="HEAD", SeriesDescription="Abdomen 5mm")).by_body_part_alone


def test_only_a_camera_sees_the_bowel_from_inside() -> None:
    assert body_regions(header(StudyDescription="Koloskopie"), from_inside=True).regions == {"bowel seen from inside"}
