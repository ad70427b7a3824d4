"""Which Key Object Selections take instances out of use, and which instances."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import BasicTextSRStorage, KeyObjectSelectionDocumentStorage

from dicom_node.headers.rejection import RejectedReference, RejectionCode, rejection_note


def coded(value: str, scheme: str = "DCM") -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, "a title"
    return code


def referenced(uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", uid
    return item


def note(title: Dataset, evidence: dict[str, dict[str, list[str]]], content: tuple[str, ...] = ()) -> Dataset:
    header = Dataset()
    header.SOPClassUID, header.StudyInstanceUID = KeyObjectSelectionDocumentStorage, "1.9"
    header.ConceptNameCodeSequence = [title]
    header.CurrentRequestedProcedureEvidenceSequence = []
    for study_uid, series in evidence.items():
        study = Dataset()
        study.StudyInstanceUID, study.ReferencedSeriesSequence = study_uid, []
        for series_uid, uids in series.items():
            one = Dataset()
            one.SeriesInstanceUID, one.ReferencedSOPSequence = series_uid, [referenced(uid) for uid in uids]
            study.ReferencedSeriesSequence.append(one)
        header.CurrentRequestedProcedureEvidenceSequence.append(study)
    header.ContentSequence = []
    for uid in content:
        item = Dataset()
        item.ValueType, item.ReferencedSOPSequence = "IMAGE", [referenced(uid)]
        header.ContentSequence.append(item)
    return header


@pytest.mark.parametrize("code", list(RejectionCode))
def test_the_evidence_says_where_an_instance_lies_and_content_alone_means_the_notes_own_study(
    code: RejectionCode,
) -> None:
    found = rejection_note(note(coded(code.value), {"1.2": {"1.2.1": ["1.2.1.1", "1.2.1.2"]}}, ("1.2.1.1", "1.9.7.1")))
    assert found is not None and found.code is code
    assert found.references == (
        RejectedReference("1.2", "1.2.1", "1.2.1.1"),
        RejectedReference("1.2", "1.2.1", "1.2.1.2"),
        RejectedReference("1.9", "", "1.9.7.1"),
    )


@pytest.mark.parametrize(
    "title", [coded("113000"), coded("113039"), coded("113001", "99HOSPITAL"), coded(""), Dataset()]
)
def test_other_key_object_selections_reject_nothing(title: Dataset) -> None:
    assert rejection_note(note(title, {"1.2": {"1.2.1": ["1.2.1.1"]}})) is None


def test_another_class_with_that_title_rejects_nothing() -> None:
    header = note(coded("113001"), {"1.2": {"1.2.1": ["1.2.1.1"]}})
    header.SOPClassUID = BasicTextSRStorage
    assert rejection_note(header) is None


def test_a_reference_that_is_no_uid_names_nothing() -> None:
    evidence = {"1.2": {"1.2.1": ["", "x", "1." * 40 + "1", "1.2.1.5"]}, "no": {"1.2.1": ["1.2.1.6"]}}
    found = rejection_note(note(coded("113001"), evidence))
    assert found is not None
    assert [reference.sop_instance_uid for reference in found.references] == ["1.2.1.5"]
