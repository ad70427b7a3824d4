"""Key objects name the slice where each finding is largest; a rejection note takes saved results out of use."""

from __future__ import annotations

import dataclasses
import hashlib
from datetime import datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest

from dicom_node.errors import ResultRefused
from dicom_node.headers.elements import read_file_header
from dicom_node.headers.identity import source_identity
from dicom_node.headers.instance import INSTANCE_KEYWORDS
from dicom_node.headers.rejection import RejectionCode, rejection_note
from dicom_node.results.gate import check_companion
from dicom_node.results.key_objects import build_key_objects, write_rejection_note
from dicom_node.results.profiles import ResultKind
from dicom_node.results.report import build_report
from dicom_node.results.saving import save
from dicom_node.results.segmentation import build_segmentation
from tests.unit.dicom_node.results.checkers import dsrdump, errors_of_dciodvfy, identity_of
from tests.unit.dicom_node.results.companions import COMPANION_KINDS, phantom
from tests.unit.dicom_node.results.loading import only_part

NOON = datetime(2026, 3, 4, 12, 0, 0)


@pytest.fixture
def saved(box_series, context, read, tmp_path) -> list[Path]:
    """A SEG and an SR of a patient whose name is not ASCII."""

    def russian(_: int, header: pydicom.Dataset) -> None:
        header.SpecificCharacterSet, header.PatientName = "ISO_IR 144", "Люкceмбypг"

    part = read(volume := only_part(box_series(change=russian).files), volume.values > 3000)
    segmentation = build_segmentation(part, context())
    files = []
    for name, result in (("seg", segmentation), ("sr", build_report([part], [segmentation], context()))):
        files.append(tmp_path / f"{name}-result.dcm")
        save(result, files[-1], identity_of([part]))
    return files


@pytest.mark.service("dcmtk")
@pytest.mark.parametrize("code", RejectionCode)
def test_a_note_names_every_object_and_is_read_as_what_it_is(saved, tmp_path, code) -> None:
    path = tmp_path / "note.dcm"
    uids = write_rejection_note(path, "feedback 1", saved, code, "Wrong side: left for right", NOON)
    _, header = read_file_header(path, INSTANCE_KEYWORDS)
    note = rejection_note(header)
    results = [pydicom.dcmread(file) for file in saved]
    assert note is not None and note.code is code
    assert [(one.study_uid, one.series_uid, one.sop_instance_uid) for one in note.references] == [
        (result.StudyInstanceUID, result.SeriesInstanceUID, result.SOPInstanceUID) for result in results
    ]
    written = pydicom.dcmread(path)
    assert (written.SOPInstanceUID, written.SOPClassUID, written.Modality) == (*uids, "KO")
    assert source_identity(pydicom.dcmread(path)) == source_identity(pydicom.dcmread(saved[0]))
    assert [item.ValueType for item in written.ContentSequence] == ["TEXT", "IMAGE", "COMPOSITE"]
    assert written.ContentSequence[0].TextValue == "Wrong side: left for right"
    assert errors_of_dciodvfy(path) == []
    assert "Wrong side: left for right" in dsrdump(path)


def test_the_same_note_twice_is_the_same_bytes(saved, tmp_path) -> None:
    for name in ("one", "two"):
        write_rejection_note(tmp_path / name, "feedback 1", saved, RejectionCode.QUALITY, "blurred", NOON)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_objects_of_two_studies_are_refused(saved, tmp_path) -> None:
    other = pydicom.dcmread(saved[1])
    other.StudyInstanceUID = "1.2.99"
    other.save_as(saved[1])
    with pytest.raises(ResultRefused, match="2 studies"):
        write_rejection_note(tmp_path / "note.dcm", "k", saved, RejectionCode.QUALITY, "no", NOON)
    assert not (tmp_path / "note.dcm").exists()


def known(saved: list[Path]) -> list[tuple[str, str]]:
    return [
        (str(pydicom.dcmread(file).SOPInstanceUID), hashlib.sha256(file.read_bytes()).hexdigest()) for file in saved
    ]


def test_files_that_are_what_was_saved_make_the_same_note(saved, tmp_path) -> None:
    arguments = "feedback 1", saved, RejectionCode.QUALITY, "blurred", NOON
    write_rejection_note(tmp_path / "one", *arguments)
    write_rejection_note(tmp_path / "two", *arguments, expected=known(saved))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("spoilt", [0, 1])
@pytest.mark.parametrize("how", ["another patient's", "exchanged", "another UID", "cut", "no DICOM"])
def test_a_file_that_is_not_what_was_saved_is_refused_by_its_name(saved, tmp_path, spoilt, how) -> None:
    expected = known(saved)
    path = saved[spoilt]
    if how == "another patient's":
        other = pydicom.dcmread(path)
        other.PatientID = "P9"
        other.save_as(path)
    elif how == "exchanged":
        path.write_bytes(saved[1 - spoilt].read_bytes())
    elif how == "another UID":
        expected[spoilt] = ("1.2.3", expected[spoilt][1])
    else:
        path.write_bytes(path.read_bytes()[:500] if how == "cut" else b"no DICOM")
    with pytest.raises(ResultRefused, match=f"{path.name} is not what was saved: restore it from a backup"):
        write_rejection_note(tmp_path / "n.dcm", "k", saved, RejectionCode.QUALITY, "no", NOON, expected=expected)
    assert not (tmp_path / "n.dcm").exists()


def test_a_file_that_is_gone_is_an_error_of_the_disk(tmp_path) -> None:
    with pytest.raises(OSError):
        write_rejection_note(tmp_path / "n.dcm", "k", [tmp_path / "gone"], RejectionCode.QUALITY, "no", NOON)


@pytest.mark.service("dcmtk")
@pytest.mark.parametrize("name", COMPANION_KINDS)
def test_key_objects_name_the_largest_slice_of_each_finding(name, context, read, tmp_path) -> None:
    volume = phantom(name, tmp_path)
    mask = np.zeros(volume.values.shape[:3], dtype=bool)
    mask[:, 4:8, 4:9] = True
    mask[largest := len(mask) // 2, 4:9, 4:9] = True
    part = read(volume, mask, np.roll(mask, 7, axis=2))
    path = tmp_path / "ko.dcm"
    save(build_key_objects([part], context()), path, identity_of([part]))
    check_companion(path, ResultKind.KEY_OBJECTS, [part], identity_of([part]))
    document = pydicom.dcmread(path)
    text, image = document.ContentSequence
    referenced = image.ReferencedSOPSequence[0]
    source = volume.slices[largest]
    assert referenced.ReferencedSOPInstanceUID == source.header.SOPInstanceUID
    assert referenced.get("ReferencedFrameNumber") == source.frame_number
    assert "liver" in text.TextValue and "kidney left" in text.TextValue
    assert text.TextValue.startswith("RESEARCH USE ONLY")
    assert errors_of_dciodvfy(path) == []
    assert "Of Interest" in dsrdump(path)


def test_nothing_seen_has_no_key_objects(box_series, context, read) -> None:
    part = read(only_part(box_series().files))
    assert build_key_objects([dataclasses.replace(part)], context()) is None
