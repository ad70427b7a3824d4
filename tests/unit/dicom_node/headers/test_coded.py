"""Codes and keywords: the same concept in other schemes, codes as people write them, keywords that were meant."""

from __future__ import annotations

import pytest

from dicom_node.headers.coded import CodedHeader, canonical, known_meaning, parse_code, same_concept
from dicom_node.headers.keywords import is_keyword, is_sequence, near_keywords, tag_told


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("T-D3000", "SRT"), ("51185008", "SCT"), True),
        (("T-A0100", "SNM3"), ("12738006", "SCT"), True),
        (("T-A0100", "99SDM"), ("T-A0100", "SRT"), True),
        (("51185008", "SCT", "Chest"), ("51185008", "SCT", "Thorax"), True),
        (("51185008", "SCT"), ("51185008", "99X"), False),
        (("T-NONE", "SRT"), ("T-NONE", "SNM3"), True),
        (("T-NONE", "SRT"), ("T-NONE", "SCT"), False),
    ],
)
def test_one_concept_in_two_schemes(one: tuple[str, ...], other: tuple[str, ...], same: bool) -> None:
    first, second = CodedHeader(*one), CodedHeader(*other)
    assert same_concept(first, second) is same_concept(second, first) is same
    assert len({canonical(first), canonical(second)}) == (1 if same else 2)


def test_codes_as_people_write_them() -> None:
    assert parse_code("SCT:818981001") == CodedHeader("818981001", "SCT")
    assert parse_code("  99X:K1:2  CT of the head ") == CodedHeader("K1:2", "99X", "CT of the head")
    for wrong in ("", "818981001", "SCT:", "SCT 818981001", ":1"):
        with pytest.raises(ValueError, match="write SCHEME:VALUE"):
            parse_code(wrong)


def test_meanings_that_the_standard_has() -> None:
    assert known_meaning(CodedHeader("T-D3000", "SRT")) == known_meaning(CodedHeader("51185008", "SCT"))
    assert "Thora" in (known_meaning(CodedHeader("51185008", "SCT")) or "")
    assert known_meaning(CodedHeader("818981002", "SCT")) is None


def test_keywords() -> None:
    assert is_keyword("SliceThickness") and not is_keyword("slicethickness")
    assert is_sequence("ProcedureCodeSequence") and not is_sequence("Modality") and not is_sequence("nothing")
    assert near_keywords("slice_thickness") == ("SliceThickness",)
    assert near_keywords("SliceThicknes")[0] == "SliceThickness"
    assert near_keywords("xyzzy") == ()
    assert tag_told("SliceThickness") == "Slice Thickness (0018,0050)"
    assert tag_told("PatientAge") == "Patient's Age (0010,1010)"
    assert tag_told("Nonsense") == "Nonsense"
