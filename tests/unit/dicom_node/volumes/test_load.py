"""Series become volumes by their positions, or are refused by name; on real files wherever there are some."""

from __future__ import annotations

import csv
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from dicom_node.errors import VolumeRefusal, VolumeRefused
from dicom_node.volumes.load import load_series

ORIENTATIONS = {
    "axial": (1, 0, 0, 0, 1, 0),
    "feet first": (-1, 0, 0, 0, 1, 0),
    "prone": (-1, 0, 0, 0, -1, 0),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "coronal": (1, 0, 0, 0, 0, -1),
    "oblique": (0.9, 0.3, -0.2, -0.25, 0.9, 0.3),
}


def points_of(volume, mask):
    affine = np.asarray(volume.geometry.affine)
    points = np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3]
    return points.min(axis=0), points.max(axis=0)


def refusal(files: list[Path]) -> VolumeRefusal:
    with pytest.raises(VolumeRefused) as caught:
        load_series(files)
    return caught.value.reason


@pytest.mark.parametrize("step_sign", [1, -1])
@pytest.mark.parametrize("orientation", ORIENTATIONS.values(), ids=ORIENTATIONS.keys())
def test_a_box_lies_at_its_patient_coordinates_whatever_order_files_come_in(box_series, orientation, step_sign) -> None:
    series = box_series(orientation, step_sign)
    volume = load_series(series.files)
    low, high = points_of(volume, volume.values > 3000)
    np.testing.assert_allclose(low, series.low, atol=1e-3)
    np.testing.assert_allclose(high, series.high, atol=1e-3)
    assert volume.spacing_mm == pytest.approx((3.0, 0.8, 0.7))
    assert volume.stored_range == (-1024.0, 3071.0)
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


def two_phases(index: int, header: Dataset) -> None:
    header.ImagePositionPatient = [-37.5, 12.25, 101.0 + (index % 3) * 3.0]


def other_shape(index: int, header: Dataset) -> None:
    if index == 4:
        header.Rows, header.Columns = header.Columns, header.Rows


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (spoil(3, ImagePositionPatient=None), VolumeRefusal.MISSING_GEOMETRY),
        (spoil(3, FrameOfReferenceUID=None), VolumeRefusal.MISSING_GEOMETRY),
        (spoil(3, ImageOrientationPatient=[1, 0, 0, 1, 0, 0]), VolumeRefusal.MISSING_GEOMETRY),
        (spoil(3, PixelSpacing=None), VolumeRefusal.MISSING_SPACING),
        (spoil(3, PixelSpacing=[0, 0.7]), VolumeRefusal.MISSING_SPACING),
        (spoil(3, PixelSpacing=[0.8, 0.71]), VolumeRefusal.MIXED_SPACINGS),
        (spoil(3, FrameOfReferenceUID="1.2.5"), VolumeRefusal.MIXED_FRAMES_OF_REFERENCE),
        (spoil(3, ImageOrientationPatient=[0.999, 0.0447, 0, -0.0447, 0.999, 0]), VolumeRefusal.MIXED_ORIENTATIONS),
        (spoil(3, ImagePositionPatient=[-37.5, 12.25, 107.0]), VolumeRefusal.DUPLICATE_POSITIONS),
        (spoil(3, ImagePositionPatient=[-37.5, 12.25, 110.5]), VolumeRefusal.IRREGULAR_SPACING),
        (spoil(3, ImagePositionPatient=[-30.5, 12.25, 110.0]), VolumeRefusal.IRREGULAR_SPACING),
        (spoil(8, ImagePositionPatient=[-37.5, 12.25, 128.0]), VolumeRefusal.IRREGULAR_SPACING),
        (tilted, VolumeRefusal.GANTRY_TILT),
        (two_phases, VolumeRefusal.MULTIPLE_VOLUMES),
        (other_shape, VolumeRefusal.MIXED_SHAPES),
        (spoil(3, SeriesInstanceUID="1.2.9"), VolumeRefusal.MULTIPLE_VOLUMES),
        (spoil(3, SOPClassUID="1.2.840.10008.5.1.4.1.1.4"), VolumeRefusal.MIXED_SOP_CLASSES),
        (spoil(3, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), VolumeRefusal.LOCALIZER),
        (spoil(3, PixelData=None), VolumeRefusal.NO_PIXEL_DATA),
        (spoil(3, PixelData=b"\0" * 100), VolumeRefusal.TRUNCATED_PIXEL_DATA),
    ],
)
def test_one_bad_instance_among_good_ones_is_refused_by_name(box_series, change, reason) -> None:
    assert refusal(box_series(change=change).files) is reason


def test_a_missing_slice_is_counted_in_the_message(box_series) -> None:
    files = box_series().files
    files.remove(next(file for file in files if pydicom.dcmread(file).SOPInstanceUID == "1.2.3.5"))
    with pytest.raises(VolumeRefused, match="1 slices seem to be missing"):
        load_series(files)


def test_a_single_slice_knows_its_spacing_from_its_thickness_only(box_series) -> None:
    volume = load_series(box_series().files[:1])
    assert volume.spacing_mm == pytest.approx((3.0, 0.8, 0.7))

    def without_thickness(index: int, header: Dataset) -> None:
        del header.SliceThickness

    volume = load_series(box_series(change=without_thickness).files[:1])
    assert volume.geometry is not None and volume.spacing_mm is None and not volume.slice_spacing_known


def test_nothing_and_nonsense_are_no_images(tmp_path: Path) -> None:
    assert refusal([]) is VolumeRefusal.NO_IMAGES
    (tmp_path / "text.dcm").write_bytes(b"no DICOM at all, but long enough to be read as something" * 10)
    assert refusal([tmp_path / "text.dcm"]) is VolumeRefusal.NO_IMAGES


# Real files


def files_of(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.iterdir() if path.is_file())
    random.Random(1).shuffle(files)
    return files


def test_real_ct_agrees_with_the_nifti_that_others_made_of_it(shared_data: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    volume = load_series(files_of(shared_data / "dicom/totalseg_ct_dicom/example_ct_dicom"))
    nifti = nibabel.load(shared_data / "dicom/totalseg_ct_dicom/example_seg_dicom.nii.gz")
    organs = np.asarray(nifti.dataobj)
    to_lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ nifti.affine
    to_ours = np.linalg.inv(np.asarray(volume.geometry.affine)) @ to_lps
    indices = np.argwhere(organs > 0) @ to_ours[:3, :3].T + to_ours[:3, 3]
    assert np.abs(indices - np.rint(indices)).max() < 0.01  # the same grid
    inside = volume.values[tuple(np.rint(indices).astype(int).T)]
    assert volume.values.shape == (20, 512, 512)
    assert 0 < np.median(inside) < 120  # organs are soft tissue
    assert np.median(volume.values[0, :20, :20]) < -900  # and the corner is air


@pytest.mark.parametrize("position", ["HFP", "HFDR"])
def test_real_oblique_mr_in_turned_patient_positions(shared_data: Path, position: str) -> None:
    volume = load_series(files_of(shared_data / "dicom/dcm_qa_decubitus/In" / position / "2_t1_fl2d_sag"))
    assert volume.values.shape == (35, 256, 256) and volume.unit is None
    affine = np.asarray(volume.geometry.affine)
    for index in (0, 17, 34):
        header = volume.sources[index]
        stored = pydicom.dcmread(next(p for p in files_of(Path(header.filename).parent) if p == Path(header.filename)))
        cosines = np.array(stored.ImageOrientationPatient, dtype=float)
        spacing = np.array(stored.PixelSpacing, dtype=float)
        corner = np.array(stored.ImagePositionPatient, dtype=float) + 255 * (
            cosines[:3] * spacing[1] + cosines[3:] * spacing[0]
        )
        np.testing.assert_allclose(affine @ [index, 255, 255, 1], [*corner, 1], atol=0.01)
        np.testing.assert_array_equal(volume.values[index], stored.pixel_array)


@pytest.mark.parametrize(
    ("folder", "reason"),
    [
        ("dcm_qa_ct/In/GE", VolumeRefusal.GANTRY_TILT),
        ("dcm_qa_nih/In/20180918Si/mr_0003", VolumeRefusal.MOSAIC),
        ("dcm_qa_enh/In/Siemens/XA10", VolumeRefusal.MULTIPLE_VOLUMES),
        ("dcm_qa_enh/In/Philips", VolumeRefusal.MULTIPLE_VOLUMES),
        ("pydicom/src/pydicom/data/test_files/dicomdirtests/98892001/CT2N", VolumeRefusal.LOCALIZER),
        ("pydicom/src/pydicom/data/test_files/dicomdirtests/98892003/MR700", VolumeRefusal.MIXED_ORIENTATIONS),
    ],
)
def test_real_series_that_are_no_volume(shared_data: Path, folder: str, reason: VolumeRefusal) -> None:
    assert refusal(files_of(shared_data / "dicom" / folder)) is reason


def test_a_multi_frame_volume_equals_the_slices_it_was_made_from(shared_data: Path) -> None:
    folder = shared_data / "dicom/dcmqi/data/segmentations/23x38x3"
    multi, single = load_series([folder / "multiframe/mf.dcm"]), load_series(files_of(folder / "image"))
    np.testing.assert_array_equal(multi.values, single.values)
    np.testing.assert_allclose(multi.geometry.affine, single.geometry.affine, atol=1e-4)
    assert len(multi.sources) == 1 and sorted(multi.frame_numbers or ()) == [1, 2, 3]


IMAGES = "dicom/cornerstone3D/packages/dicomImageLoader/examplesOld/test-images"
LOSSY = ("JPEGProcess", "JPEG2000Transfer", "JPEGLSLossy")


def test_every_transfer_syntax_of_one_image_gives_the_same_values_or_a_reason(shared_data: Path) -> None:
    files = sorted((shared_data / IMAGES).glob("CTImage.dcm*"))
    expected = load_series([shared_data / IMAGES / "CTImage.dcm"]).values
    refused = []
    for file in files:
        try:
            values = load_series([file]).values
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
    volume = load_series([path])
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
    volume = load_series([shared_data / "dicom" / path])
    assert volume.values.dtype == np.uint8 and volume.values.shape[-1] == 3 and volume.is_color
    assert volume.values.max() > 200 and volume.stored_range == (0.0, 255.0)


def test_ultrasound_over_time_is_no_volume(shared_data: Path) -> None:
    path = shared_data / "dicom/pydicom/src/pydicom/data/test_files/examples_ybr_color.dcm"
    assert refusal([path]) is VolumeRefusal.CINE


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
            volume = load_series(files[:12])
        except VolumeRefused:
            continue
        loaded += 1
        assert np.isfinite(volume.values).all() and len(volume.values) == len(volume.frame_numbers or volume.sources)
    assert loaded > 40
