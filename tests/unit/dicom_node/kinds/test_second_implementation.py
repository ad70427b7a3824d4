"""Voxels, places, volume, area and axes beside a second implementation, and SEGs read by highdicom's own reader."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import highdicom as hd
import imagecodecs
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pydicom import uid
from pydicom.encaps import encapsulate
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from dicom_node.results.profiles import Profile
from tests.corpus.kinds import KINDS
from tests.corpus.outcomes import Outcome, OutcomeKind, ask_once
from tests.corpus.phantom import Stack, save_all, slices
from tests.corpus.predictors import bright
from tests.unit.dicom_node.kinds.second_implementation import BrightVoxels, bright_voxels

PHANTOMS = (
    "CT, gantry tilt",
    "CT, axial",
    "MR, oblique",
    "CT, gaps of 5 then of 10 mm",
    "Enhanced CT, measures shared",
    "Enhanced MR, measures per frame",
    "PET, a slope per slice",
    "DX",
    "DX, MONOCHROME1",
)
REAL = {
    "CT": "data/dicom/totalseg_ct_dicom/example_ct_dicom",
    "oblique MR": "data/dicom/dcm_qa_decubitus/In/HFP/2_t1_fl2d_sag",
    "tilted CT": "data/dicom/dcm_qa_ct/In/GE",
    "PET": "data/dicom/suyash/testdata/1.dcm",
    "DX": "data/dicom/highdicom/data/test_files/dx_image.dcm",
    "enhanced MR": "cases/enhanced-mr-per-frame-measures/00000.dcm",
    "multi-frame": "data/dicom/dcmqi/data/segmentations/23x38x3/multiframe/mf.dcm",
}
SYNTAXES: dict[uid.UID, Callable[[np.ndarray], bytes] | None] = {
    uid.ExplicitVRLittleEndian: None,
    uid.ImplicitVRLittleEndian: None,
    uid.DeflatedExplicitVRLittleEndian: None,
    uid.JPEGLosslessSV1: lambda image: imagecodecs.jpeg8_encode(image, lossless=True, predictor=1, bitspersample=16),
    uid.JPEG2000Lossless: lambda image: imagecodecs.jpeg2k_encode(image, codecformat="j2k", reversible=True, level=0),
    uid.JPEGLSLossless: lambda image: imagecodecs.jpegls_encode(image, out=1 << 16),
    uid.HTJ2KLossless: lambda image: imagecodecs.htj2k_encode(image, reversible=True),
}
"""How an image is encoded; None where it is not."""


def asked(files: Sequence[Path], folder: Path) -> Outcome:
    outcome = ask_once(files, bright, Profile.AIR, keep=folder, overlay=False)
    assert outcome.kind is OutcomeKind.ANSWERED, f"{outcome.name}: {outcome.detail}"
    return outcome


def measured(outcome: Outcome) -> dict[str, float]:
    """The numbers of the only finding by kind."""
    assert outcome.answer is not None
    (part,) = outcome.answer["parts"]
    (finding,) = part["findings"]
    return {one["kind"]: one["value"] for one in finding["measurements"]}


def rounded(value: float) -> float:
    """One decimal; below 1 two significant digits."""
    return round(value, 1) if abs(value) >= 1 else float(f"{value:.2g}")


def check_voxels(outcome: Outcome, expected: BrightVoxels, folder: Path) -> None:
    assert outcome.stored == (expected.voxels,)
    (frames,) = outcome.frames
    points = np.concatenate([np.empty((0, 3)), *(frame.points for frame in frames)])
    assert len(points) == len(expected.points)
    if len(points):
        apart_mm, nearest = cKDTree(expected.points).query(points)
        assert apart_mm.max() < 0.01 and len(set(nearest)) == len(points)
    for frame in frames:
        assert frame.source is not None
        np.testing.assert_array_equal(frame.mask, expected.masks[frame.source])
    check_by_highdicom(folder / "seg.dcm", expected)


def check_by_highdicom(path: Path, expected: BrightVoxels) -> None:
    """Highdicom finds each source's mask by the source that frames name, whatever its own geometry is."""
    segmentation = hd.seg.segread(path)
    instances = sorted({instance for instance, _ in expected.masks})
    numbered = [number for _, number in expected.masks if number is not None]
    if numbered:
        stored = segmentation.get_pixels_by_source_frame(
            instances[0], sorted(numbered), ignore_spatial_locations=True, assert_missing_frames_are_empty=True
        )
        wanted = [expected.masks[instances[0], number] for number in sorted(numbered)]
    else:
        stored = segmentation.get_pixels_by_source_instance(
            instances, ignore_spatial_locations=True, assert_missing_frames_are_empty=True
        )
        wanted = [expected.masks[instance, None] for instance in instances]
    np.testing.assert_array_equal(stored[..., 0] > 0, wanted)


def check_measurements(outcome: Outcome, expected: BrightVoxels) -> None:
    numbers = measured(outcome)
    if expected.volume_ml is not None:
        assert numbers["volume"] == pytest.approx(rounded(expected.volume_ml))
    if "area" in numbers:
        assert expected.area_mm2 is not None and numbers["area"] == pytest.approx(rounded(expected.area_mm2))
    if "mean" in numbers:
        assert numbers["mean"] == pytest.approx(rounded(expected.mean), abs=0.11)
        assert numbers["standard-deviation"] == pytest.approx(rounded(expected.deviation), abs=0.11)


@pytest.mark.parametrize("name", [PHANTOMS[0], *(pytest.param(name, marks=pytest.mark.slow) for name in PHANTOMS[1:])])
def test_a_phantom_is_measured_as_by_a_second_implementation(tmp_path: Path, name: str) -> None:
    (kind,) = (kind for kind in KINDS if kind.name == name)
    (tmp_path / "in").mkdir()
    files = kind.write(tmp_path / "in").files
    outcome, expected = asked(files, tmp_path / "out"), bright_voxels(files)
    check_voxels(outcome, expected, tmp_path / "out")
    check_measurements(outcome, expected)
    numbers = measured(outcome)
    assert numbers["long-axis"] == pytest.approx(rounded(expected.long_axis_mm))
    assert numbers["short-axis"] == pytest.approx(rounded(expected.short_axis_mm))
    assert ("volume" in numbers) is (expected.volume_ml is not None)


@pytest.mark.slow
@pytest.mark.parametrize("place", REAL.values(), ids=REAL.keys())
def test_a_real_series_is_measured_as_by_a_second_implementation(shared_data: Path, tmp_path: Path, place: str) -> None:
    path = shared_data.parent / place
    files = [path] if path.is_file() else sorted(path.iterdir())
    outcome, expected = asked(files, tmp_path), bright_voxels(files)
    check_voxels(outcome, expected, tmp_path)
    check_measurements(outcome, expected)


spacings = st.floats(0.3, 3.0)
turns = st.tuples(*[st.floats(-180, 180)] * 3).map(partial(Rotation.from_euler, "xyz", degrees=True))


@pytest.mark.slow
@settings(max_examples=40, deadline=None, derandomize=True, phases=[Phase.generate])  # to shrink takes minutes
@given(
    turn=turns,
    mirrored=st.booleans(),
    spacing=st.tuples(spacings, spacings),
    step=st.floats(0.5, 10.0),
    tilt=st.sampled_from([0.0, 0.0, -20.0, 7.5, 15.0]),
    order=st.permutations(range(6)),
    syntax=st.sampled_from(list(SYNTAXES)),
)
def test_the_lesion_lies_where_it_is_within_half_a_voxel(turn, mirrored, spacing, step, tilt, order, syntax) -> None:
    row, column, _ = turn.as_matrix()
    stack = Stack(
        (*row, *column),
        [step * index * (-1 if mirrored else 1) for index in range(6)],
        tilt_degrees=tilt,
        spacing=spacing,
    )
    headers = slices(stack, uid.CTImageStorage, "CT")
    for header, place in zip(headers, order, strict=True):
        header.InstanceNumber = place + 1
        if (encode := SYNTAXES[syntax]) is not None:
            header.PixelData = encapsulate([encode(header.pixel_array)])
            header["PixelData"].is_undefined_length = True
        header.file_meta.TransferSyntaxUID = syntax
    with TemporaryDirectory() as folder:
        files = save_all([headers[index] for index in order], Path(folder))
        outcome = asked(files, Path(folder) / "out")
    expected = stack.expected()
    points = np.concatenate([frame.points for frames in outcome.frames for frame in frames])
    assert len(points) == expected.voxels
    half = min(*spacing, step) / 2
    assert expected.low is not None and expected.high is not None
    assert np.abs(points.min(axis=0) - expected.low).max() < half
    assert np.abs(points.max(axis=0) - expected.high).max() < half


@pytest.mark.slow
def test_highdicom_is_asked_about_every_pixel(tmp_path: Path) -> None:
    """The second look would see a single voxel that is missing."""
    (tmp_path / "in").mkdir()
    files = KINDS[0].write(tmp_path / "in").files
    asked(files, tmp_path / "out")
    expected = bright_voxels(files)
    source = next(source for source, mask in expected.masks.items() if mask.any())
    expected.masks[source][tuple(np.argwhere(expected.masks[source])[0])] = False
    with pytest.raises(AssertionError):
        check_by_highdicom(tmp_path / "out" / "seg.dcm", expected)
