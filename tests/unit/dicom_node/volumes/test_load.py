"""Series become volumes by their positions, or are refused by name; on real files wherever there are some."""

from __future__ import annotations

import csv
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from dicom_node.errors import VolumeRefusal, VolumeRefused
from dicom_node.volumes.frames import FrameChoice
from dicom_node.volumes.load import SeriesVolume, load_series
from dicom_node.volumes.rescale import Rescale

ORIENTATIONS = {
    "axial": (1, 0, 0, 0, 1, 0),
    "feet first": (-1, 0, 0, 0, 1, 0),
    "prone": (-1, 0, 0, 0, -1, 0),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "coronal": (1, 0, 0, 0, 0, -1),
    "oblique": (0.9, 0.3, -0.2, -0.25, 0.9, 0.3),
}


def the_part(files: Sequence[Path]) -> SeriesVolume:
    (part,) = load_series(files).parts
    return part


def points_of(volume, mask):
    points = volume.geometry.centres(np.argwhere(mask))
    return points.min(axis=0), points.max(axis=0)


def refusal(files: list[Path]) -> VolumeRefusal:
    with pytest.raises(VolumeRefused) as caught:
        load_series(files)
    return caught.value.reason


@pytest.mark.parametrize("step_sign", [1, -1])
@pytest.mark.parametrize("orientation", ORIENTATIONS.values(), ids=ORIENTATIONS.keys())
def test_a_box_lies_at_its_patient_coordinates_whatever_order_files_come_in(box_series, orientation, step_sign) -> None:
    series = box_series(orientation, step_sign)
    volume = the_part(series.files)
    low, high = points_of(volume, volume.values > 3000)
    np.testing.assert_allclose(low, series.low, atol=1e-3)
    np.testing.assert_allclose(high, series.high, atol=1e-3)
    assert volume.spacing_mm == pytest.approx((3.0, 0.8, 0.7))
    assert volume.unit is not None and volume.unit.value == "[hnsf'U]"
    positions = [np.array(source.ImagePositionPatient, dtype=float) for source in volume.sources]
    along = [float(position @ volume.geometry.direction[:, 0]) for position in positions]
    assert along == sorted(along)


def spoil(index_to_spoil: int, **values: object) -> Callable[[int, Dataset], None]:
    def change(index: int, header: Dataset) -> None:
        if index == index_to_spoil:
            for keyword, value in values.items():
                if value is None:
                    delattr(header, keyword)
                else:
                    setattr(header, keyword, value)

    return change


def tilted(index: int, header: Dataset) -> None:
    header.ImagePositionPatient = [-37.5, 12.25 + index * 0.9, 101.0 + index * 3.0]


def other_shape(index: int, header: Dataset) -> None:
    if index == 4:
        header.Rows, header.Columns = header.Columns, header.Rows


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (spoil(3, ImagePositionPatient=None), VolumeRefusal.MISSING_GEOMETRY),
        (spoil(3, ImageOrientationPatient=[1, 0, 0, 1, 0, 0]), VolumeRefusal.MISSING_GEOMETRY),
        (spoil(3, PixelSpacing=None), VolumeRefusal.MISSING_SPACING),
        (spoil(3, PixelSpacing=[0, 0.7]), VolumeRefusal.MISSING_SPACING),
        (spoil(3, PixelSpacing=[0.8, 0.71]), VolumeRefusal.MIXED_SPACINGS),
        (spoil(3, FrameOfReferenceUID=None), VolumeRefusal.MIXED_FRAMES_OF_REFERENCE),
        (spoil(3, FrameOfReferenceUID="1.2.5"), VolumeRefusal.MIXED_FRAMES_OF_REFERENCE),
        (spoil(3, ImageOrientationPatient=[0.999, 0.0447, 0, -0.0447, 0.999, 0]), VolumeRefusal.MIXED_ORIENTATIONS),
        (spoil(3, ImagePositionPatient=[-37.5, 12.25, 107.0]), VolumeRefusal.DUPLICATE_POSITIONS),
        (spoil(3, ImagePositionPatient=[-77.5, 12.25, 110.0]), VolumeRefusal.IRREGULAR_SPACING),
        (other_shape, VolumeRefusal.MIXED_SHAPES),
        (spoil(3, SeriesInstanceUID="1.2.9"), VolumeRefusal.SEVERAL_SERIES),
        (spoil(3, PatientID="P2"), VolumeRefusal.CONTRADICTING_PATIENTS),
        (spoil(3, PixelData=None), VolumeRefusal.NO_PIXEL_DATA),
        (spoil(3, PixelData=b"\0" * 100), VolumeRefusal.TRUNCATED_PIXEL_DATA),
    ],
)
def test_one_bad_instance_among_good_ones_is_refused_by_name(box_series, change, reason) -> None:
    assert refusal(box_series(change=change).files) is reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (spoil(8, NumberOfFrames=3), VolumeRefusal.FRAMES_IN_SINGLE_FRAME_CLASS),
        (spoil(8, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), VolumeRefusal.LOCALIZER),
        (spoil(8, ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"]), VolumeRefusal.MOSAIC),
        (spoil(8, SOPClassUID="1.3.12.2.1107.5.9.1"), VolumeRefusal.UNSUPPORTED_SOP_CLASS),
        (spoil(8, SOPClassUID="1.2.840.10008.5.1.4.1.1.88.33"), VolumeRefusal.NO_IMAGE),
        (spoil(8, SOPClassUID="1.2.840.10008.5.1.4.1.1.7"), VolumeRefusal.SCREENSHOT),
        (spoil(8, Rows=0), VolumeRefusal.NO_PIXEL_DATA),
    ],
)
def test_what_is_no_image_to_read_is_left_out_and_named(box_series, change, reason) -> None:
    loaded = load_series(box_series(change=change).files)
    assert [part.values.shape for part in loaded.parts] == [(8, 24, 32)]
    assert [(one.reason, one.sop_instance_uid) for one in loaded.left_out] == [(reason, "1.2.3.9")]
    assert "1.2.3.9" in loaded.left_out[0].detail


def test_a_series_of_nothing_but_what_is_left_out_is_refused_with_its_reason(box_series) -> None:
    def localizers(index: int, header: Dataset) -> None:
        header.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    assert refusal(box_series(change=localizers).files) is VolumeRefusal.LOCALIZER


def test_identical_copies_count_once_and_different_ones_are_named(box_series, tmp_path: Path) -> None:
    files = box_series().files
    copy = tmp_path / "copies" / "one more.dcm"
    copy.parent.mkdir()
    dataset = pydicom.dcmread(files[0])
    dataset.file_meta.ImplementationVersionName = "ANOTHER"
    dataset.save_as(copy, enforce_file_format=True)
    assert the_part([*files, *files, copy]).values.shape == (9, 24, 32)
    dataset.PixelData = b"\1" * len(dataset.PixelData)
    dataset.save_as(copy, enforce_file_format=True)
    with pytest.raises(VolumeRefused, match=f"{files[0].name} and one more.dcm") as caught:
        load_series([*files, copy])
    assert caught.value.reason is VolumeRefusal.DIFFERENT_COPIES


# Gaps, tilt, rounding


def lying(*depths: float, **values: object) -> Callable[[int, Dataset], None]:
    def change(index: int, header: Dataset) -> None:
        header.ImagePositionPatient = [-37.5, 12.25, depths[index]]

    return change


MIXED = (0, 3, 6, 9, 12, 18, 24, 30, 36)


def test_gaps_of_two_widths_are_counted_as_they_are(box_series) -> None:
    geometry = the_part(box_series(change=lying(*MIXED)).files).geometry
    assert geometry.slice_extents_mm.tolist() == [3, 3, 3, 3, 4.5, 6, 6, 6, 6]
    assert geometry.positions[:, 2].tolist() == list(MIXED)


def test_a_gap_between_slabs_is_no_ones_half(box_series) -> None:
    geometry = the_part(box_series(change=lying(0, 3, 6, 26, 29, 32, 52, 55, 58)).files).geometry
    assert geometry.slice_extents_mm.tolist() == [3.0] * 9


def test_a_narrow_gap_between_two_blocks_makes_none_of_theirs_wide(box_series) -> None:
    """A head CT, thin slices below and thick ones above that reach over each other."""
    geometry = the_part(box_series(change=lying(0, 4, 8, 12, 13, 20, 27, 34, 41)).files).geometry
    assert geometry.slice_extents_mm.tolist() == [4, 4, 4, 2.5, 4, 7, 7, 7, 7]


def test_a_wide_gap_is_meant_where_instance_numbers_go_on_and_else_a_slice_is_missing(box_series) -> None:
    def numbered(step: int) -> Callable[[int, Dataset], None]:
        def change(index: int, header: Dataset) -> None:
            lying(0, 3, 6, 9, 12, 18, 21, 24, 27)(index, header)
            header.InstanceNumber = index + step * (index > 4)

        return change

    extents = the_part(box_series(change=numbered(0)).files).geometry.slice_extents_mm
    assert extents.tolist() == [3, 3, 3, 3, 4.5, 4.5, 3, 3, 3]
    with pytest.raises(VolumeRefused, match="1 slices seem to be missing: send the whole series"):
        load_series(box_series(change=numbered(1)).files)


def test_rounded_positions_are_told_from_gaps(box_series) -> None:
    rounded = [round(k * 0.625, 1) for k in range(9)]
    geometry = the_part(box_series(change=lying(*rounded)).files).geometry
    np.testing.assert_allclose(geometry.slice_extents_mm, 0.625, atol=1e-9)
    np.testing.assert_allclose(geometry.positions[:, 2], rounded)  # where a slice lies is what its header says


def test_a_tilted_gantry_keeps_each_slice_where_it_is(box_series) -> None:
    volume = the_part(box_series(change=tilted).files)
    assert volume.geometry.positions[:, 1].tolist() == pytest.approx([12.25 + 0.9 * k for k in range(9)])
    assert volume.geometry.slice_extents_mm.tolist() == pytest.approx([3.0] * 9)  # at right angles to the slices
    points = volume.geometry.centres(np.argwhere(volume.values > 3000))
    np.testing.assert_allclose(volume.geometry.indices(points), np.argwhere(volume.values > 3000), atol=1e-6)


def test_wide_gaps_beside_each_other_are_no_excuse_where_numbers_skip(box_series) -> None:
    def change(index: int, header: Dataset) -> None:
        lying(0, 2, 4, 8, 12, 14, 16, 18, 20)(index, header)
        header.InstanceNumber = (1, 2, 3, 5, 7, 8, 9, 10, 11)[index]

    with pytest.raises(VolumeRefused, match="seem to be missing"):
        load_series(box_series(change=change).files)


def test_slices_too_far_apart_for_their_thickness_have_no_extent(box_series) -> None:
    volume = the_part(box_series(change=lying(*range(0, 900, 100))).files)  # 3 mm thick
    assert volume.geometry.slice_extents_mm is None and volume.spacing_mm is None


def test_slices_that_wobble_by_less_than_a_degree_are_refused_and_not_halved(box_series) -> None:
    def change(index: int, header: Dataset) -> None:
        tilt = 0.0015 * (index % 2)
        header.ImageOrientationPatient = [1, tilt, 0, -tilt, 1, 0]

    assert refusal(box_series(change=change).files) is VolumeRefusal.MIXED_ORIENTATIONS


# Several volumes in a series


def phases(keyword: str, values: tuple[object, ...]) -> Callable[[int, Dataset], None]:
    """Three places, each three times; `keyword` tells them apart."""

    def change(index: int, header: Dataset) -> None:
        header.ImagePositionPatient = [-37.5, 12.25, 101.0 + (index % 3) * 3.0]
        setattr(header, keyword, values[index // 3])

    return change


@pytest.mark.parametrize(
    ("keyword", "values", "names"),
    [
        ("EchoTime", (30, 10, 20), ["echo time 10", "echo time 20", "echo time 30"]),
        ("EchoNumbers", (1, 2, 3), ["echo 1", "echo 2", "echo 3"]),
        ("TemporalPositionIdentifier", (1, 2, 10), [f"temporal position {k}" for k in (1, 2, 10)]),
        ("DiffusionBValue", (0.0, 1000.0, 50.0), ["b-value 0", "b-value 50", "b-value 1000"]),
        ("AcquisitionNumber", (1, 2, 3), ["acquisition 1", "acquisition 2", "acquisition 3"]),
        ("AcquisitionTime", ("101500", "101400", "101600"), ["phase 1", "phase 2", "phase 3"]),
    ],
)
def test_volumes_of_one_series_are_told_apart_by_the_standards_attributes(box_series, keyword, values, names) -> None:
    loaded = load_series(box_series(change=phases(keyword, values)).files)
    assert [part.name for part in loaded.parts] == names
    assert [part.values.shape for part in loaded.parts] == [(3, 24, 32)] * 3
    for part in loaded.parts:
        assert len({str(item.header.get(keyword)) for item in part.slices}) == 1


def test_trigger_times_that_differ_from_slice_to_slice_number_the_phases(box_series) -> None:
    def change(index: int, header: Dataset) -> None:
        phases("EchoTime", (10, 10, 10))(index, header)
        header.TriggerTime = 100 * (index // 3) + 7 * (index % 3)

    loaded = load_series(box_series(change=change).files)
    assert [part.name for part in loaded.parts] == ["phase 1", "phase 2", "phase 3"]
    assert [[int(item.header.TriggerTime) for item in part.slices] for part in loaded.parts] == [
        [0, 7, 14], [100, 107, 114], [200, 207, 214],
    ]  # fmt: skip


def test_phases_by_time_go_on_after_midnight(box_series) -> None:
    def change(index: int, header: Dataset) -> None:
        phases("AcquisitionDate", ("20260101", "20260102", "20260102"))(index, header)
        minutes = (23 * 60 + 58 + index) % (24 * 60)
        header.AcquisitionTime = f"{minutes // 60:02d}{minutes % 60:02d}00"
        header.AcquisitionDate = "20260101" if index < 2 else "20260102"

    loaded = load_series(box_series(change=change).files)
    taken = [[1000 - int(item.header.InstanceNumber) for item in part.slices] for part in loaded.parts]
    assert taken == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


def test_a_slice_that_is_missing_from_a_phase_is_not_taken_from_the_next(box_series) -> None:
    series = box_series(change=phases("AcquisitionTime", ("101400", "101500", "101600")))
    files = [file for file in series.files if pydicom.dcmread(file).SOPInstanceUID != "1.2.3.1"]
    assert refusal(files) is VolumeRefusal.DUPLICATE_POSITIONS


def test_two_echoes_in_two_phases_are_four_volumes(box_series) -> None:
    def change(index: int, header: Dataset) -> None:
        header.ImagePositionPatient = [-37.5, 12.25, 101.0 + (index // 4) * 3.0]
        header.EchoTime, header.TemporalPositionIdentifier = 10 + 10 * (index % 2), 1 + index // 2 % 2

    files = [file for file in box_series(change=change).files if pydicom.dcmread(file).SOPInstanceUID != "1.2.3.9"]
    names = [part.name for part in load_series(files).parts]
    assert names == [f"echo time {echo}, temporal position {phase}" for echo in (10, 20) for phase in (1, 2)]


def test_two_echoes_with_slices_between_each_other_are_two_stacks(box_series) -> None:
    def change(index: int, header: Dataset) -> None:
        header.EchoNumbers = 1 + index % 2

    loaded = load_series(box_series(change=change).files)
    assert [(part.name, len(part.slices)) for part in loaded.parts] == [("echo 1", 5), ("echo 2", 4)]


def test_stacks_in_three_directions_are_three_parts(box_series) -> None:
    def change(index: int, header: Dataset) -> None:
        if index >= 6:
            header.ImageOrientationPatient, header.ImagePositionPatient = [0, 1, 0, 0, 0, -1], [3.0 * index, 0, 0]
        elif index >= 3:
            header.ImageOrientationPatient, header.ImagePositionPatient = [1, 0, 0, 0, 0, -1], [0, 3.0 * index, 0]

    loaded = load_series(box_series(change=change).files)
    assert sorted(part.name.split(", ")[1] for part in loaded.parts) == ["axial", "coronal", "sagittal"]
    assert [part.values.shape[0] for part in loaded.parts] == [3, 3, 3]


def test_two_piles_beside_each_other_are_two_parts(box_series) -> None:
    def change(index: int, header: Dataset) -> None:
        header.ImagePositionPatient = [-37.5 + 200 * (index % 2), 12.25, 101.0 + (index // 2) * 3.0]

    assert [part.values.shape[0] for part in load_series(box_series(change=change).files).parts] == [5, 4]


def test_what_nothing_tells_apart_is_refused_and_names_two(box_series) -> None:
    with pytest.raises(VolumeRefused, match=r"1\.2\.3\.\d and instance 1\.2\.3\.\d lie at the same position"):
        load_series(box_series(change=phases("EchoTime", (10, 10, 10))).files)


def test_a_missing_slice_is_counted_in_the_message(box_series) -> None:
    files = box_series().files
    files.remove(next(file for file in files if pydicom.dcmread(file).SOPInstanceUID == "1.2.3.5"))
    with pytest.raises(VolumeRefused, match="1 slices seem to be missing"):
        load_series(files)


def test_a_single_slice_knows_its_spacing_from_its_thickness_only(box_series) -> None:
    volume = the_part(box_series().files[:1])
    assert volume.spacing_mm == pytest.approx((3.0, 0.8, 0.7))

    def without_thickness(index: int, header: Dataset) -> None:
        del header.SliceThickness

    volume = the_part(box_series(change=without_thickness).files[:1])
    assert volume.geometry is not None and volume.spacing_mm is None


@pytest.mark.parametrize(
    "change",
    [
        spoil(4, RescaleSlope=None, RescaleIntercept=None),
        spoil(4, RescaleType="US"),
        lambda _, header: setattr(header, "RescaleSlope", 0),
    ],
    ids=["one without rescale", "one of another type", "slope 0"],
)
def test_values_have_a_unit_only_if_all_slices_have_it(box_series, change) -> None:
    assert the_part(box_series(change=change).files).unit is None


def test_the_instance_that_says_most_says_whom_a_part_is_of(box_series) -> None:
    def change(index: int, header: Dataset) -> None:
        if index == 5:
            header.IssuerOfPatientID = "Hospital"
        else:
            header.PatientID = header.PatientName = ""

    identity = the_part(box_series(change=change).files).identity
    assert identity.texts("PatientName") == ("Box^Test",)
    assert identity.texts("IssuerOfPatientID") == ("Hospital",)
    assert identity.names == 4


@pytest.mark.parametrize("values", [{"Rows": 65535, "Columns": 65535}, {"NumberOfFrames": 2_000_000_000}])
def test_a_header_that_claims_more_than_its_file_holds_takes_no_memory(box_series, values) -> None:
    def change(_: int, header: Dataset) -> None:
        for keyword, value in values.items():
            setattr(header, keyword, value)

    assert refusal(box_series(change=change).files) is VolumeRefusal.TRUNCATED_PIXEL_DATA


def test_no_more_bits_are_stored_than_allocated(box_series) -> None:
    def change(_: int, header: Dataset) -> None:
        header.BitsStored, header.PhotometricInterpretation = 20, "MONOCHROME1"

    volume = the_part(box_series(change=change).files)  # turned round within -1024 and 64511
    assert (volume.values.min(), volume.values.max()) == (60416.0, 64511.0)


def test_a_table_for_samples_of_32_bits_takes_no_memory_for_each_value() -> None:
    table = Dataset()
    table.set_original_encoding(False, True)
    table.add_new("LUTDescriptor", "US", [4, 10, 16])
    table.add_new("LUTData", "US", [7, 3, 9, 5])
    assert Rescale(table=_with_table(table)).range_of(0, 2**32 - 1) == (3.0, 9.0)


def _with_table(table: Dataset) -> Dataset:
    holder = Dataset()
    holder.set_original_encoding(False, True)
    holder.ModalityLUTSequence, holder.PixelRepresentation = [table], 0
    return holder


def test_nothing_and_nonsense_are_no_images(tmp_path: Path) -> None:
    assert refusal([]) is VolumeRefusal.NO_IMAGES
    (tmp_path / "text.dcm").write_bytes(b"no DICOM at all, but long enough to be read as something" * 10)
    assert refusal([tmp_path / "text.dcm"]) is VolumeRefusal.UNREADABLE_HEADER


# Real files


def files_of(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.iterdir() if path.is_file())
    random.Random(1).shuffle(files)
    return files


def test_real_ct_agrees_with_the_nifti_that_others_made_of_it(shared_data: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    volume = the_part(files_of(shared_data / "dicom/totalseg_ct_dicom/example_ct_dicom"))
    nifti = nibabel.load(shared_data / "dicom/totalseg_ct_dicom/example_seg_dicom.nii.gz")
    organs = np.asarray(nifti.dataobj)
    to_lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ nifti.affine
    indices = volume.geometry.indices(np.argwhere(organs > 0) @ to_lps[:3, :3].T + to_lps[:3, 3])
    assert np.abs(indices - np.rint(indices)).max() < 0.01  # the same grid
    inside = volume.values[tuple(np.rint(indices).astype(int).T)]
    assert volume.values.shape == (20, 512, 512)
    assert 0 < np.median(inside) < 120  # organs are soft tissue
    assert np.median(volume.values[0, :20, :20]) < -900  # and the corner is air


@pytest.mark.parametrize("position", ["HFP", "HFDR"])
def test_real_oblique_mr_in_turned_patient_positions(shared_data: Path, position: str) -> None:
    volume = the_part(files_of(shared_data / "dicom/dcm_qa_decubitus/In" / position / "2_t1_fl2d_sag"))
    assert volume.values.shape == (35, 256, 256) and volume.unit is None
    for index in (0, 17, 34):
        header = volume.slices[index].header
        stored = pydicom.dcmread(next(p for p in files_of(Path(header.filename).parent) if p == Path(header.filename)))
        cosines = np.array(stored.ImageOrientationPatient, dtype=float)
        spacing = np.array(stored.PixelSpacing, dtype=float)
        corner = np.array(stored.ImagePositionPatient, dtype=float) + 255 * (
            cosines[:3] * spacing[1] + cosines[3:] * spacing[0]
        )
        np.testing.assert_allclose(volume.geometry.centres([[index, 255, 255]]), [corner], atol=1e-6)
        np.testing.assert_array_equal(volume.values[index], stored.pixel_array)


@pytest.mark.parametrize(
    ("folder", "reason"),
    [
        ("dcm_qa_nih/In/20180918Si/mr_0003", VolumeRefusal.MOSAIC),
        ("pydicom/src/pydicom/data/test_files/dicomdirtests/98892001/CT2N", VolumeRefusal.LOCALIZER),
    ],
)
def test_real_series_that_are_no_volume(shared_data: Path, folder: str, reason: VolumeRefusal) -> None:
    assert refusal(files_of(shared_data / "dicom" / folder)) is reason


def test_a_multi_frame_volume_equals_the_slices_it_was_made_from(shared_data: Path) -> None:
    folder = shared_data / "dicom/dcmqi/data/segmentations/23x38x3"
    multi, single = the_part([folder / "multiframe/mf.dcm"]), the_part(files_of(folder / "image"))
    np.testing.assert_array_equal(multi.values, single.values)
    np.testing.assert_allclose(multi.geometry.positions, single.geometry.positions, atol=1e-4)
    assert len(multi.sources) == 1 and sorted(item.frame_number or 0 for item in multi.slices) == [1, 2, 3]


@pytest.mark.parametrize(
    ("folder", "parts"),
    [
        ("dcm_qa_ct/In/GE", [(28, 512, 512)]),  # a tilted head with gaps of two widths
        ("dcm_qa_enh/In/Siemens/XA10", [(6, 64, 64)] * 4),  # four enhanced instances
        ("dcm_qa_enh/In/Philips", [(32, 64, 64)] * 2),  # magnitude and field map in one
        ("pydicom/src/pydicom/data/test_files/dicomdirtests/98892003/MR700", [(1, 16, 16)] * 7),  # each turned
    ],
)
def test_real_series_of_several_stacks_or_gaps(shared_data: Path, folder: str, parts: list[tuple[int, ...]]) -> None:
    assert [part.values.shape for part in load_series(files_of(shared_data / "dicom" / folder)).parts] == parts


IMAGES = "dicom/cornerstone3D/packages/dicomImageLoader/examplesOld/test-images"
LOSSY = ("JPEGProcess", "JPEG2000Transfer", "JPEGLSLossy")


def test_every_transfer_syntax_of_one_image_gives_the_same_values_or_a_reason(shared_data: Path) -> None:
    files = sorted((shared_data / IMAGES).glob("CTImage.dcm*"))
    expected = the_part([shared_data / IMAGES / "CTImage.dcm"]).values
    refused = []
    for file in files:
        try:
            values = the_part([file]).values
        except VolumeRefused as error:
            assert error.reason is VolumeRefusal.UNDECODABLE_PIXEL_DATA
            refused.append(file.name)
            continue
        difference = np.abs(values - expected)
        # The 8-bit JPEG cuts off the brightest bone.
        worst = np.median(difference) if any(name in file.name for name in LOSSY) else difference.max()
        assert worst <= (40 if any(name in file.name for name in LOSSY) else 0), file.name
    assert len(files) >= 9
    # JPEG Lossless and 12-bit JPEG need an optional, GPL-licensed extra.
    assert all("JPEG" in name and "2000" not in name and "LS" not in name for name in refused), refused


def test_monochrome1_becomes_bright_is_high(shared_data: Path) -> None:
    path = shared_data / "dicom/highdicom/data/test_files/dx_image.dcm"
    stored = pydicom.dcmread(path)
    volume = the_part([path])
    assert stored.PhotometricInterpretation == "MONOCHROME1" and volume.inverted and volume.geometry is None
    np.testing.assert_array_equal(volume.values[0], 255.0 - stored.pixel_array)
    assert volume.values.shape == (1, 169, 211) and volume.unit is None and volume.spacing_mm is None


@pytest.mark.parametrize(
    "path",
    [
        "pydicom/src/pydicom/data/test_files/examples_palette.dcm",
        "cornerstone3D/packages/dicomImageLoader/testImages/US-YBR_FULL_422-EVRLE.dcm",
        "pydicom/src/pydicom/data/test_files/GDCMJ2K_TextGBR.dcm",
    ],
)
def test_colour_becomes_rgb(shared_data: Path, path: str) -> None:
    volume = the_part([shared_data / "dicom" / path])
    assert volume.values.dtype == np.uint8 and volume.values.shape[-1] == 3 and volume.is_color
    assert volume.values.max() > 200


def test_ultrasound_over_time_is_read_by_the_frames_that_are_chosen(shared_data: Path) -> None:
    path = shared_data / "dicom/pydicom/src/pydicom/data/test_files/examples_ybr_color.dcm"
    (middle,) = load_series([path]).parts
    assert middle.name == "frame 15 of 30" and [item.frame_number for item in middle.slices] == [15]
    (every,) = load_series([path], FrameChoice("every 10")).parts
    assert every.geometry is None and [item.frame_number for item in every.slices] == [1, 11, 21]
    assert every.values.shape == (3, 240, 320, 3) and every.name == "3 of 30 frames: 1, 11, 21"


def test_truncated_files_say_so(shared_data: Path, tmp_path: Path) -> None:
    assert (
        refusal([shared_data / "dicom/pydicom/src/pydicom/data/test_files/MR_truncated.dcm"])
        is VolumeRefusal.TRUNCATED_PIXEL_DATA
    )
    whole = files_of(shared_data / "dicom/totalseg_ct_dicom/example_ct_dicom")[0]
    (tmp_path / "cut.dcm").write_bytes(whole.read_bytes()[:-5000])
    assert refusal([tmp_path / "cut.dcm"]) is VolumeRefusal.TRUNCATED_PIXEL_DATA


def test_no_shared_series_raises_anything_but_a_named_refusal(shared_data: Path) -> None:
    series: dict[tuple[str, str], list[Path]] = {}
    with (shared_data / "dicom/INDEX.csv").open() as index:
        for row in csv.DictReader(index):
            path = shared_data / "dicom" / row["path"]
            if int(row["bytes"]) < 600_000:
                series.setdefault((str(path.parent), row["SeriesInstanceUID"]), []).append(path)
    loaded = 0
    for files in series.values():
        try:
            parts = load_series(files[:12]).parts
        except VolumeRefused:
            continue
        loaded += 1
        for part in parts:
            assert np.isfinite(part.values).all() and len(part.values) == len(part.slices)
    assert loaded > 40
