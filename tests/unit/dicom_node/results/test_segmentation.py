"""SEGs: valid by others' checkers, voxel for voxel where the masks are, the same bytes for the same job."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from dicom_node.errors import ResultRefused
from dicom_node.headers.identity import PATIENT_AND_STUDY
from dicom_node.results.colours import colour_of
from dicom_node.results.equipment import DEVICE_SERIAL_NUMBER, MANUFACTURER
from dicom_node.results.gate import check_segmentation
from dicom_node.results.profiles import Profile
from dicom_node.results.report import build_report
from dicom_node.results.saving import save
from dicom_node.results.segmentation import build_segmentation
from dicom_node.results.stored_segmentation import read_segment_points
from tests.unit.dicom_node.results.checkers import errors_of_dciodvfy, identity_of
from tests.unit.dicom_node.results.loading import only_part

ORIENTATIONS = [(1, 0, 0, 0, 1, 0), (-1, 0, 0, 0, -1, 0), (0, 1, 0, 0, 0, -1), (0.9, 0.3, -0.2, -0.25, 0.9, 0.3)]


@pytest.mark.service("dcmtk")
@pytest.mark.parametrize(("count", "profile"), [(1, Profile.AIR), (2, Profile.OHIF), (2, Profile.SLICER)])
def test_it_is_valid_and_covers_the_masks(real_volume, context, read, blob_in, tmp_path, count, profile) -> None:
    shape = real_volume.values.shape[:3]
    part = read(real_volume, *[blob_in(shape, number) for number in range(count)])
    segmentation = build_segmentation(part, context(profile))
    path = tmp_path / "seg.dcm"
    save(segmentation, path, identity_of([part]))
    assert errors_of_dciodvfy(path) == []
    check_segmentation(path, part, identity_of([part]))
    stored = pydicom.dcmread(path)
    source = real_volume.sources[0]
    for keyword in PATIENT_AND_STUDY:
        assert stored.get(keyword) == source.get(keyword) or not (stored.get(keyword) or source.get(keyword)), keyword
    assert str(stored.get("PatientName", "")) == str(source.get("PatientName", ""))
    assert stored.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1" and stored.SegmentationType == "BINARY"
    assert [item.SegmentNumber for item in stored.SegmentSequence] == list(range(1, count + 1))
    assert all("RecommendedDisplayCIELabValue" in item for item in stored.SegmentSequence)
    assert stored.SeriesDescription.startswith("AI abdomen: liver")
    assert "; research use only" in stored.SeriesDescription
    colours = [
        hd.color.CIELabColor.from_dicom_value(item.RecommendedDisplayCIELabValue) for item in stored.SegmentSequence
    ]
    assert [colour.to_rgb() for colour in colours] == [colour_of(finding.concept.label) for finding in part.findings]
    read_by_highdicom = hd.seg.segread(path)
    assert list(read_by_highdicom.segment_numbers) == list(range(1, count + 1))
    assert set(read_by_highdicom.get_tracking_ids()) == {(one.tracking_id, one.tracking_uid) for one in part.findings}
    assert (stored.Manufacturer, stored.DeviceSerialNumber) == (MANUFACTURER, DEVICE_SERIAL_NUMBER)


@pytest.mark.parametrize("step_sign", [1, -1])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_highdicom_reads_the_mask_back_at_its_patient_coordinates(
    box_series, context, read, tmp_path, orientation, step_sign
) -> None:
    series = box_series(orientation, step_sign)
    volume = only_part(series.files)
    part = read(volume, volume.values > 3000)
    save(build_segmentation(part, context()), tmp_path / "seg.dcm", identity_of([part]))
    read = hd.seg.segread(tmp_path / "seg.dcm").get_volume(combine_segments=True)
    points = np.argwhere(read.array == 1) @ np.asarray(read.affine)[:3, :3].T + np.asarray(read.affine)[:3, 3]
    np.testing.assert_allclose(points.min(axis=0), series.low, atol=0.01)
    np.testing.assert_allclose(points.max(axis=0), series.high, atol=0.01)
    uid, ours = read_segment_points(tmp_path / "seg.dcm")
    assert uid == "1.2.2" and len(ours) == len(points)


def test_the_same_job_gives_the_same_bytes_and_another_job_others(box_series, context, read, tmp_path) -> None:
    files = box_series().files
    written = []
    for turn, job in enumerate(("job 1", "job 1", "job 2")):
        volume = only_part(files if turn % 2 else files[::-1])
        part = read(volume, volume.values > 3000)
        save(build_segmentation(part, context(object_key=job)), tmp_path / f"{turn}.dcm", identity_of([part]))
        written.append((tmp_path / f"{turn}.dcm").read_bytes())
    assert written[0] == written[1] != written[2]
    assert pydicom.dcmread(tmp_path / "0.dcm").ContentDate == "20260102"


def test_nothing_seen_is_no_segmentation(box_series, context, read) -> None:
    assert build_segmentation(read(only_part(box_series().files)), context()) is None


def test_overlapping_segments_stay_whole(box_series, context, read, blob_in, tmp_path) -> None:
    volume = only_part(box_series().files)
    masks = volume.values > 3000, np.ones(volume.values.shape, dtype=bool), blob_in(volume.values.shape)
    part = read(volume, *masks)
    save(build_segmentation(part, context()), tmp_path / "seg.dcm", identity_of([part]))
    check_segmentation(tmp_path / "seg.dcm", part, identity_of([part]))
    assert pydicom.dcmread(tmp_path / "seg.dcm").SegmentsOverlap == "YES"


def test_ohif_gets_empty_frames_and_others_do_not(box_series, context, read) -> None:
    volume = only_part(box_series().files)
    part = read(volume, volume.values > 3000)
    assert build_segmentation(part, context(Profile.OHIF)).NumberOfFrames == 9
    assert build_segmentation(part, context(Profile.AIR)).NumberOfFrames == 3


def test_a_side_is_a_modifier_of_the_type(box_series, context, read) -> None:
    volume = only_part(box_series().files)
    segmentation = build_segmentation(read(volume, volume.values > 3000, labels=("kidney left",)), context())
    type_ = segmentation.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0]
    assert type_.CodeValue == "64033007"
    assert type_.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Left"


def test_dates_are_in_the_time_zone_that_the_source_states(box_series, context, read) -> None:
    def eastern(_: int, header: Dataset) -> None:
        header.TimezoneOffsetFromUTC = "+0530"

    made = context(created=datetime(2026, 1, 2, 22, 4, 5, tzinfo=UTC))
    volume = only_part(box_series(change=eastern).files)
    part = read(volume, volume.values > 3000)
    segmentation = build_segmentation(part, made)
    for result in (segmentation, build_report([part], [segmentation], made)):
        assert (result.ContentDate, result.ContentTime) == ("20260103", "033405")
        assert result.TimezoneOffsetFromUTC == "+0530"


def test_dates_are_the_nodes_own_where_the_source_states_no_zone(box_series, context, read, monkeypatch) -> None:
    monkeypatch.setenv("TZ", "America/Santiago")
    time.tzset()
    try:
        volume = only_part(box_series().files)
        made = context(created=datetime(2026, 1, 2, 2, 4, 5, tzinfo=UTC))
        segmentation = build_segmentation(read(volume, volume.values > 3000), made)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert (segmentation.ContentDate, segmentation.ContentTime) == ("20260101", "230405")
    assert "TimezoneOffsetFromUTC" not in segmentation


def test_a_mask_of_another_grid_is_refused(box_series, context, read) -> None:
    volume = only_part(box_series().files)
    with pytest.raises(ResultRefused, match="grid"):
        build_segmentation(read(volume, np.ones((2, 3, 4), dtype=bool)), context())


# The gate refuses what went wrong elsewhere.


def swap_frames(segmentation) -> None:
    frames = segmentation.pixel_array.reshape(-1, segmentation.Rows, segmentation.Columns)
    segmentation.PixelData = pydicom.pixels.pack_bits(frames[::-1])


def swap_positions(segmentation) -> None:
    frames = segmentation.pixel_array.reshape(-1, segmentation.Rows, segmentation.Columns)
    marked = int(np.argmax(frames.any(axis=(1, 2))))
    first, last = (segmentation.PerFrameFunctionalGroupsSequence[index] for index in (marked, -1))
    first.PlanePositionSequence, last.PlanePositionSequence = last.PlanePositionSequence, first.PlanePositionSequence


def mirror(segmentation) -> None:
    frames = segmentation.pixel_array.reshape(-1, segmentation.Rows, segmentation.Columns)
    segmentation.PixelData = pydicom.pixels.pack_bits(np.ascontiguousarray(frames[:, :, ::-1]))


def moved(segmentation, by_mm: float) -> None:
    for group in segmentation.PerFrameFunctionalGroupsSequence:
        x, y, z = group.PlanePositionSequence[0].ImagePositionPatient
        group.PlanePositionSequence[0].ImagePositionPatient = [x + by_mm, y, z]


def shift(segmentation) -> None:
    moved(segmentation, 0.7)


def shift_half(segmentation) -> None:
    moved(segmentation, 0.35)


def respace(segmentation) -> None:
    segmentation.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [0.8, 0.75]


def other_patient(segmentation) -> None:
    segmentation.PatientID = "P2"


def other_study(segmentation) -> None:
    segmentation.StudyInstanceUID = "1.2.99"


def other_frame_of_reference(segmentation) -> None:
    segmentation.FrameOfReferenceUID = "1.2.99"


def other_tracking(segmentation) -> None:
    segmentation.SegmentSequence[0].TrackingUID = "1.2.99"


def no_reference(segmentation) -> None:
    del segmentation.ReferencedSeriesSequence


def swap_sources(segmentation) -> None:
    first, last = (segmentation.PerFrameFunctionalGroupsSequence[index] for index in (0, -1))
    first.DerivationImageSequence, last.DerivationImageSequence = (
        last.DerivationImageSequence,
        first.DerivationImageSequence,
    )


def no_source(segmentation) -> None:
    del segmentation.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence


def moved_locations(segmentation) -> None:
    (source,) = segmentation.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence
    source.SpatialLocationsPreserved = "NO"


@pytest.mark.parametrize(
    "spoil",
    [swap_sources, no_source, moved_locations, swap_frames, swap_positions, mirror, shift, shift_half, respace,
     other_patient, other_study, other_frame_of_reference, other_tracking, no_reference],
)  # fmt: skip
@pytest.mark.parametrize("profile", Profile)
def test_the_gate_refuses_a_spoilt_segmentation(box_series, context, read, blob_in, tmp_path, spoil, profile) -> None:
    volume = only_part(box_series().files)
    part = read(volume, blob_in(volume.values.shape))
    segmentation = build_segmentation(part, context(profile))
    save(segmentation, tmp_path / "good.dcm", identity_of([part]))
    check_segmentation(tmp_path / "good.dcm", part, identity_of([part]))
    spoilt = pydicom.dcmread(tmp_path / "good.dcm")
    spoil(spoilt)
    spoilt.save_as(tmp_path / "spoilt.dcm")
    with pytest.raises(ResultRefused):
        check_segmentation(tmp_path / "spoilt.dcm", part, identity_of([part]))


def test_the_gate_refuses_a_mirrored_x_ray_mask(shared_data, context, read, blob_in, tmp_path) -> None:
    volume = only_part([shared_data / "dicom/highdicom/data/test_files/dx_image.dcm"])
    part = read(volume, blob_in(volume.values.shape))
    segmentation = build_segmentation(part, context())
    mirror(segmentation)
    save(segmentation, tmp_path / "seg.dcm", identity_of([part]))
    with pytest.raises(ResultRefused, match="does not cover"):
        check_segmentation(tmp_path / "seg.dcm", part, identity_of([part]))
