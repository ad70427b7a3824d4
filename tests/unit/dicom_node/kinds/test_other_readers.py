"""Our results read by dcmqi, which shares no code with the node: a SEG's voxels lie where those of the source lie.

What highdicom reads of them stands in `test_second_implementation.py`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import highdicom as hd
import nibabel
import numpy as np
import pytest
from scipy.spatial import cKDTree

from dicom_node.results.codes import COMMISSIONING_CONCEPT
from dicom_node.results.colours import colour_of
from dicom_node.results.profiles import PROFILES, Profile, ResultKind
from tests.corpus.kinds import KINDS
from tests.corpus.outcomes import OutcomeKind, ask_once
from tests.corpus.predictors import bright
from tests.unit.dicom_node.kinds.second_implementation import bright_voxels
from tests.unit.dicom_node.results.checkers import dsrdump, errors_of_dciodvfy, tid1500reader

pytestmark = pytest.mark.slow
PROGRAM = Path(sys.executable).parent / "segimage2itkimage"
RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])
PROFILES_WITH_SEG = [profile for profile in Profile if ResultKind.SEGMENTATION in PROFILES[profile].kinds]
"""All but those of captures."""


@pytest.fixture(params=PROFILES_WITH_SEG, ids=lambda profile: profile.value)
def profile(request: pytest.FixtureRequest) -> Profile:
    return request.param


def phantom(name: str, folder: Path) -> Sequence[Path]:
    (kind,) = (kind for kind in KINDS if kind.name == name)
    (folder / "in").mkdir()
    return kind.write(folder / "in").files


def answered(files: Sequence[Path], profile: Profile, folder: Path) -> None:
    """Ask about files; the results lie under out."""
    outcome = ask_once(files, bright, profile, keep=folder / "out", overlay=False)
    assert outcome.kind is OutcomeKind.ANSWERED, f"{outcome.name}: {outcome.detail}"


def read_by_dcmqi(files: Sequence[Path], profile: Profile, folder: Path) -> subprocess.CompletedProcess[str]:
    """Ask about files, and have dcmqi turn the SEG into NIfTI under `folder`."""
    answered(files, profile, folder)
    call = [
        sys.executable,
        PROGRAM,
        "--inputDICOM",
        folder / "out" / "seg.dcm",
        "--outputDirectory",
        folder,
        "--outputType",
        "nii",
    ]
    return subprocess.run(call, capture_output=True, text=True, check=False)


def points_in(folder: Path) -> np.ndarray:
    """Centres of the marked voxels, `points 3`, mm LPS, by the affine that dcmqi wrote."""
    (path,) = folder.glob("*.nii.gz")
    image = nibabel.load(path)
    voxels = np.argwhere(np.asarray(image.dataobj) > 0)
    return nibabel.affines.apply_affine(image.affine, voxels) * RAS_TO_LPS


def check_points(points: np.ndarray, expected: np.ndarray) -> None:
    assert len(points) == len(expected) > 0
    apart_mm, nearest = cKDTree(expected).query(points)
    assert apart_mm.max() < 0.01 and len(set(nearest)) == len(points)


@pytest.mark.parametrize(
    "name", ["CT, axial", "MR, oblique", "Enhanced MR, measures per frame", "PET, a slope per slice"]
)
def test_dcmqi_finds_the_voxels_of_a_phantom(tmp_path: Path, profile: Profile, name: str) -> None:
    files = phantom(name, tmp_path)
    done = read_by_dcmqi(files, profile, tmp_path)
    assert done.returncode == 0, done.stderr
    check_points(points_in(tmp_path), bright_voxels(files).points)
    (told,) = tmp_path.glob("*.json")
    ((segment,),) = json.loads(told.read_text())["segmentAttributes"]
    assert tuple(segment["recommendedDisplayRGBValue"]) == colour_of(COMMISSIONING_CONCEPT.label)


@pytest.mark.service("dcmtk")
@pytest.mark.parametrize(
    "name",
    [
        "CT, axial",
        "MR, oblique",
        "Enhanced MR, measures per frame",
        "PET, a slope per slice",
        "CR",
        "DX",
        "US, one frame",
    ],
)
def test_every_reader_takes_the_report(tmp_path: Path, profile: Profile, name: str) -> None:
    answered(phantom(name, tmp_path), profile, tmp_path)
    report = tmp_path / "out" / "sr.dcm"
    assert errors_of_dciodvfy(report) == []
    assert "Where are the bright voxels?" in dsrdump(report)
    groups = tid1500reader(report, tmp_path)["Measurements"]
    group = groups[0]
    assert {one["TrackingUniqueIdentifier"] for one in groups} == {group["TrackingUniqueIdentifier"]}
    assert group["TrackingIdentifier"] == "bright voxels 1.1"
    named = [item["quantity"]["CodeValue"] for item in group["measurementItems"]]
    assert named[-1] == "confidence" and len(set(named)) >= len(named) - 2
    segmentation = tmp_path / "out" / "seg.dcm"
    projection = name in ("CR", "DX", "US, one frame")
    assert segmentation.exists() == (PROFILES[profile].projections_segmented or not projection)
    if segmentation.exists():
        assert errors_of_dciodvfy(segmentation) == []
        assert list(hd.seg.segread(segmentation).segment_numbers) == [1]
    if projection:
        assert "Image Region" in dsrdump(report)


@pytest.mark.parametrize(
    "place",
    [
        "data/dicom/totalseg_ct_dicom/example_ct_dicom",
        "data/dicom/dcm_qa_decubitus/In/HFP/2_t1_fl2d_sag",
        "cases/enhanced-mr-per-frame-measures/00000.dcm",
    ],
)
def test_dcmqi_finds_the_voxels_of_a_real_series(shared_data: Path, tmp_path: Path, place: str) -> None:
    path = shared_data.parent / place
    files = [path] if path.is_file() else sorted(path.iterdir())
    done = read_by_dcmqi(files, Profile.AIR, tmp_path)
    assert done.returncode == 0, done.stderr
    check_points(points_in(tmp_path), bright_voxels(files).points)


def test_dcmqi_makes_slices_of_a_tilted_gantry_a_box(tmp_path: Path, profile: Profile) -> None:
    """NIfTI could hold a sheared grid; dcmqi puts every slice over the first, at the right depth."""
    files = phantom("CT, gantry tilt", tmp_path)
    assert read_by_dcmqi(files, profile, tmp_path).returncode == 0
    points, expected = points_in(tmp_path), bright_voxels(files).points
    assert len(points) == len(expected)
    np.testing.assert_allclose(np.sort(points[:, 2]), np.sort(expected[:, 2]), atol=0.01)
    np.testing.assert_allclose(np.unique(points[:, 0].round(3)), np.unique(expected[:, 0].round(3)), atol=0.01)


def test_dcmqi_refuses_an_image_without_a_place_in_the_patient(tmp_path: Path) -> None:
    """So the profile `slicer` has no SEG of one."""
    done = read_by_dcmqi(phantom("DX", tmp_path), Profile.AIR, tmp_path)
    assert done.returncode != 0
    assert "Plane Orientation (Patient) is missing" in done.stdout + done.stderr
