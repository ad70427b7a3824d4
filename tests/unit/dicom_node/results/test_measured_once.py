"""SR and picture show what a finding carries and measure nothing themselves."""

from __future__ import annotations

import dataclasses

import highdicom as hd

from dicom_node.results import codes
from dicom_node.results.finding import ReadPart
from dicom_node.results.measurement import Measurement, MeasurementKind
from dicom_node.results.overlay import write_overlay
from dicom_node.results.report import build_report
from dicom_node.results.segmentation import build_segmentation
from tests.unit.dicom_node.results.loading import only_part


def carrying(part: ReadPart, *measurements: Measurement) -> ReadPart:
    (answer,) = part.answers
    findings = tuple(dataclasses.replace(finding, measurements=measurements) for finding in answer.findings)
    return dataclasses.replace(part, answers=(dataclasses.replace(answer, findings=findings),))


def test_a_report_says_what_the_finding_carries(box_series, context, read) -> None:
    volume = only_part(box_series().files)
    made_up = Measurement(MeasurementKind.VOLUME, 1234.5678, codes.MILLILITRE)
    part = carrying(read(volume, volume.values > 3000), made_up)
    report = build_report([part], [build_segmentation(part, context())], context())
    (group,) = hd.sr.Comprehensive3DSR.from_dataset(report).content.get_volumetric_roi_measurement_groups()
    shown = [(item.name.meaning, item.value) for item in group.get_measurements()]
    assert shown == [("Volume", 1234.6), ("Confidence of mask", 0.875)]


def test_a_picture_shows_what_the_finding_carries(box_series, read, tmp_path) -> None:
    volume = only_part(box_series().files)
    pictures = []
    # The first two are rounded to the same number.
    for number, value in enumerate((1234.56, 1234.5678, 1234.75)):
        made_up = Measurement(MeasurementKind.VOLUME, value, codes.MILLILITRE)
        write_overlay(carrying(read(volume, volume.values > 3000), made_up), tmp_path / f"{number}.png")
        pictures.append((tmp_path / f"{number}.png").read_bytes())
    assert pictures[0] == pictures[1] != pictures[2]
