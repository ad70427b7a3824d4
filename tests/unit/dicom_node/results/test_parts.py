"""A job of two parts: a SEG each, one SR over both that references each SEG and image where it belongs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from dicom_node.errors import ResultRefused
from dicom_node.results.finding import ReadPart
from dicom_node.results.gate import check_report, check_segmentation
from dicom_node.results.profiles import Profile
from dicom_node.results.report import build_report
from dicom_node.results.saving import save
from dicom_node.results.segmentation import build_segmentation
from tests.unit.dicom_node.results.checkers import dsrdump, errors_of_dciodvfy, identity_of
from tests.unit.dicom_node.results.loading import only_part

RADIOGRAPH = "dicom/pydicom/src/pydicom/data/test_files/dicomdirtests/77654033/CR1/6154"


pytestmark = pytest.mark.slow  # two reports and SEGs for each


@pytest.fixture
def two_radiographs(shared_data: Path, tmp_path: Path, read, blob_in) -> list[ReadPart]:
    """Two images of one series, turned against each other."""
    parts = []
    for ordinal in range(2):
        image = pydicom.dcmread(shared_data / RADIOGRAPH)
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"1.2.77.{ordinal + 1}"
        image.InstanceNumber = ordinal + 1
        image.save_as(tmp_path / f"{ordinal}.dcm")
        volume = only_part([tmp_path / f"{ordinal}.dcm"])
        parts.append(read(volume, blob_in(volume.values.shape, ordinal), ordinal=ordinal))
    return parts


@pytest.fixture
def two_volumes(box_series, tmp_path: Path, read) -> list[ReadPart]:
    """Two stacks of one series in frames of reference of their own, as two phases would come."""
    parts = []
    for ordinal in range(2):

        def of_stack(index: int, header: Dataset, ordinal: int = ordinal) -> None:
            header.SOPInstanceUID = f"1.2.3.{ordinal}.{index + 1}"
            header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
            header.InstanceNumber = ordinal * 100 + index + 1
            header.FrameOfReferenceUID = f"1.2.4.{ordinal + 1}"

        volume = only_part(box_series(change=of_stack).files)
        mask = volume.values > 3000
        mask[:, :, : 20 + 4 * ordinal] = False
        parts.append(read(volume, mask, np.roll(mask, -3, axis=2), ordinal=ordinal))
    return parts


@pytest.fixture(params=[pytest.param("two_radiographs", marks=pytest.mark.shared_data), "two_volumes"])
def parts(request: pytest.FixtureRequest) -> list[ReadPart]:
    return request.getfixturevalue(request.param)


def written(parts: list[ReadPart], made, folder: Path) -> tuple[list[Path], Path]:
    """The SEG of each part and the SR, as files."""
    folder.mkdir()
    segmentations = [build_segmentation(part, made) for part in parts]
    files = []
    for part, segmentation in zip(parts, segmentations, strict=True):
        files.append(folder / f"seg-{part.ordinal}.dcm")
        save(segmentation, files[-1], identity_of(parts))
        check_segmentation(files[-1], part, identity_of(parts))
    save(build_report(parts, segmentations, made), folder / "sr.dcm", identity_of(parts))
    check_report(folder / "sr.dcm", parts, identity_of(parts))
    return files, folder / "sr.dcm"


@pytest.mark.service("dcmtk")
@pytest.mark.parametrize("profile", Profile)
def test_others_checkers_find_no_error(parts, context: Callable, tmp_path: Path, profile: Profile) -> None:
    segmentations, report = written(parts, context(profile), tmp_path / "out")
    assert [errors_of_dciodvfy(path) for path in (*segmentations, report)] == [[], [], []]
    text = dsrdump(report)
    assert "Part 1 of 2" in text and "Part 2 of 2" in text and text.count("Where is the liver?") == 2


def test_parts_share_no_uid_and_one_report_names_both(parts, context, tmp_path) -> None:
    files, path = written(parts, context(), tmp_path / "out")
    segmentations = [pydicom.dcmread(file) for file in files]
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        assert len({segmentation[keyword].value for segmentation in segmentations}) == 2
    assert len({item.DimensionOrganizationSequence[0].DimensionOrganizationUID for item in segmentations}) == 2
    report = pydicom.dcmread(path)
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    evidence = [
        str(item.ReferencedSOPInstanceUID)
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    ]
    sources = [str(source.SOPInstanceUID) for part in parts for source in part.volume.sources]
    assert sorted(evidence) == sorted([*sources, *(str(item.SOPInstanceUID) for item in segmentations)])


def references(item: Dataset) -> set[str]:
    return {
        str(element.value[0].ReferencedSOPInstanceUID)
        for element in item.iterall()
        if element.keyword == "ReferencedSOPSequence"
    }


@pytest.mark.parametrize("profile", Profile)
def test_a_group_references_the_segmentation_and_images_of_its_own_part(parts, context, tmp_path, profile) -> None:
    files, path = written(parts, context(profile), tmp_path / "out")
    content = hd.sr.srread(path).content
    groups = [*content.get_volumetric_roi_measurement_groups(), *content.get_planar_roi_measurement_groups()]
    by_uid: dict[str, list] = {}
    for group in groups:
        by_uid.setdefault(group.tracking_uid, []).append(group)
    for part, file in zip(parts, files, strict=True):
        segmentation = pydicom.dcmread(file)
        sources = {str(source.SOPInstanceUID) for source in part.volume.sources}
        for number, finding in enumerate(part.findings, start=1):
            assert segmentation.SegmentSequence[number - 1].TrackingUID == finding.tracking_uid
            named = set.union(*(references(item) for group in by_uid[finding.tracking_uid] for item in group))
            assert segmentation.SOPInstanceUID in named
            assert named <= sources | {segmentation.SOPInstanceUID}


def test_what_was_not_seen_says_in_which_image(two_radiographs, context, tmp_path) -> None:
    _, path = written(two_radiographs, context(), tmp_path / "out")
    groups = hd.sr.srread(path).content.get_image_measurement_groups()
    assert [references(group) for group in map(_joined, groups)] == [{"1.2.77.1"}, {"1.2.77.2"}]
    assert len({group.tracking_uid for group in groups}) == 2
    assert [group.tracking_identifier for group in groups] == ["spleen 1", "spleen 1 part 2"]


def _joined(group) -> Dataset:
    holder = Dataset()
    holder.ContentSequence = list(group[0].ContentSequence)
    return holder


def test_the_same_parts_give_the_same_bytes(parts, context, tmp_path) -> None:
    first, second, other = (
        [path.read_bytes() for path in (*files, report)]
        for files, report in (
            written(parts, context(), tmp_path / "first"),
            written(parts, context(), tmp_path / "second"),
            written(parts, context(object_key="another"), tmp_path / "other"),
        )
    )
    assert first == second
    assert not set(first) & set(other)


def test_a_part_without_findings_has_no_segmentation_and_stays_in_the_report(two_volumes, context, read) -> None:
    parts = [two_volumes[0], read(two_volumes[1].volume, ordinal=1)]
    segmentations = [build_segmentation(part, context()) for part in parts]
    assert segmentations[1] is None
    content = hd.sr.Comprehensive3DSR.from_dataset(build_report(parts, segmentations, context())).content
    assert len(content.get_volumetric_roi_measurement_groups()) == 2
    assert len(content.get_image_measurement_groups()) == 2  # the spleen, in either part


def test_two_parts_of_one_multi_frame_instance_name_it_once(shared_data, context, read, blob_in) -> None:
    volume = only_part([shared_data / "dicom/dcmqi/data/segmentations/23x38x3/multiframe/mf.dcm"])
    parts = [read(volume, blob_in(volume.values.shape, ordinal), ordinal=ordinal) for ordinal in range(2)]
    report = build_report(parts, [build_segmentation(part, context()) for part in parts], context())
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    counts = [len(series.ReferencedSOPSequence) for series in study.ReferencedSeriesSequence]
    assert sorted(counts) == [1, 1, 1]


def test_parts_of_two_series_are_refused(two_volumes, context) -> None:
    first, second = two_volumes
    stranger = dataclasses.replace(second, volume=dataclasses.replace(second.volume, series_uid="1.2.99"))
    with pytest.raises(ResultRefused, match="one series"):
        build_report([first, stranger], [None, None], context())
    with pytest.raises(ResultRefused, match="one series"):
        build_report([], [], context())
