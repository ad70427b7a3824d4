"""A node's results are known again by their manufacturer and class together."""

from __future__ import annotations

import pydicom
import pytest
from pydicom.uid import CTImageStorage, EncapsulatedPDFStorage

from dicom_node.headers.elements import read_file_header
from dicom_node.headers.instance import INSTANCE_KEYWORDS, Device, InstanceHeader, instance_header
from dicom_node.results.equipment import MANUFACTURER, is_a_nodes_result
from dicom_node.results.report import build_report
from dicom_node.results.saving import save
from dicom_node.results.segmentation import build_segmentation
from tests.unit.dicom_node.results.checkers import identity_of
from tests.unit.dicom_node.results.loading import only_part


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


@pytest.mark.parametrize("sop_class", [CTImageStorage, EncapsulatedPDFStorage])
def test_our_name_on_a_class_that_is_not_written_is_no_result(sop_class: str) -> None:
    assert not is_a_nodes_result(InstanceHeader(device=Device(manufacturer=MANUFACTURER)), sop_class)


def test_a_correction_made_with_other_equipment_is_not_a_nodes_result() -> None:
    ours, theirs = Device(manufacturer=MANUFACTURER), Device(manufacturer="Somebody")
    corrected = InstanceHeader(device=theirs, contributing=(ours,))
    assert not is_a_nodes_result(corrected, pydicom.uid.SegmentationStorage)
