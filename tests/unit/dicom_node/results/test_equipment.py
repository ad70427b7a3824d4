"""A node's results are known again by their manufacturer and class together."""

from __future__ import annotations

from datetime import datetime

import pydicom
import pytest
from pydicom.uid import (
    CTImageStorage,
    EncapsulatedCDAStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
)

from dicom_node.headers.elements import read_file_header
from dicom_node.headers.instance import INSTANCE_KEYWORDS, Device, InstanceHeader, instance_header
from dicom_node.headers.rejection import RejectionCode
from dicom_node.results.equipment import MANUFACTURER, is_a_nodes_result
from dicom_node.results.key_objects import write_rejection_note
from dicom_node.results.objects import make_objects
from dicom_node.results.profiles import ADDED_KINDS, Profile, ResultKind, Wishes
from dicom_node.results.report import build_report
from dicom_node.results.saving import save
from dicom_node.results.segmentation import build_segmentation
from dicom_node.sop_classes import ImageKind, holds_images, image_kind
from tests.unit.dicom_node.results.checkers import identity_of
from tests.unit.dicom_node.results.loading import only_part

EVERYTHING = (Wishes(also=tuple(ADDED_KINDS)), Wishes(single_images=True))


@pytest.mark.slow
def test_what_is_written_is_known_again(box_series, context, read, tmp_path) -> None:
    volume = only_part(box_series().files)
    part = read(volume, volume.values > 3000)
    segmentation = build_segmentation(part, context())
    for result in (segmentation, build_report([part], [segmentation], context())):
        save(result, tmp_path / "result.dcm", identity_of([part]))
        _, header = read_file_header(tmp_path / "result.dcm", INSTANCE_KEYWORDS)
        assert is_a_nodes_result(instance_header(header), str(result.SOPClassUID))
    _, header = read_file_header(box_series().files[0], INSTANCE_KEYWORDS)
    assert not is_a_nodes_result(instance_header(header), CTImageStorage)


def test_every_companion_is_known_again(box_series, context, read, tmp_path) -> None:
    part = read(volume := only_part(box_series().files), volume.values > 3000)
    made = make_objects([part], identity_of([part]), EVERYTHING, tmp_path, context(Profile.PLAIN_PACS), [])
    assert {one.kind for one in made} == {
        ResultKind.CAPTURE,
        ResultKind.CAPTURE_IMAGES,
        ResultKind.DOCUMENT,
        ResultKind.KEY_OBJECTS,
        ResultKind.PRESENTATION_STATE,
    }
    for one in made:
        _, header = read_file_header(one.path, INSTANCE_KEYWORDS)
        assert is_a_nodes_result(instance_header(header), one.sop_class_uid)
    note = tmp_path / "note.dcm"
    _, sop_class_uid = write_rejection_note(
        note, "k", [made[0].path], RejectionCode.QUALITY, "no", datetime(2026, 1, 2)
    )
    _, header = read_file_header(note, INSTANCE_KEYWORDS)
    assert is_a_nodes_result(instance_header(header), sop_class_uid)


def test_a_secondary_capture_of_another_maker_is_an_image() -> None:
    theirs = InstanceHeader(device=Device(manufacturer="Somebody"))
    for sop_class in (SecondaryCaptureImageStorage, MultiFrameTrueColorSecondaryCaptureImageStorage):
        assert not is_a_nodes_result(theirs, sop_class)
        assert holds_images(sop_class) and image_kind(sop_class) is ImageKind.CAPTURE


@pytest.mark.parametrize("sop_class", [CTImageStorage, EncapsulatedCDAStorage])
def test_our_name_on_a_class_that_is_not_written_is_no_result(sop_class: str) -> None:
    assert not is_a_nodes_result(InstanceHeader(device=Device(manufacturer=MANUFACTURER)), sop_class)


def test_a_correction_made_with_other_equipment_is_not_a_nodes_result() -> None:
    ours, theirs = Device(manufacturer=MANUFACTURER), Device(manufacturer="Somebody")
    corrected = InstanceHeader(device=theirs, contributing=(ours,))
    assert not is_a_nodes_result(corrected, pydicom.uid.SegmentationStorage)
