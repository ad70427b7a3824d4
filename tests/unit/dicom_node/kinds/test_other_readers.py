"""Our SEGs read by dcmqi, which shares no code with the node: its voxels lie where those of the source lie.

What highdicom reads of them stands in `test_second_implementation.py`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy.spatial import cKDTree

from dicom_node.results.profiles import Profile
from tests.corpus.kinds import KINDS
from tests.corpus.outcomes import OutcomeKind, ask_once
from tests.corpus.predictors import bright
from tests.unit.dicom_node.kinds.second_implementation import bright_voxels

pytestmark = pytest.mark.slow
PROGRAM = Path(sys.executable).parent / "segimage2itkimage"
RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])


@pytest.fixture(params=Profile, ids=lambda profile: profile.value)
def profile(request: pytest.FixtureRequest) -> Profile:
    return request.param


def phantom(name: str, folder: Path) -> Sequence[Path]:
    (kind,) = (kind for kind in KINDS if kind.name == name)
    (folder / "in").mkdir()
    return kind.write(folder / "in").files


def read_by_dcmqi(files: Sequence[Path], profile: Profile, folder: Path) -> subprocess.CompletedProcess[str]:
    """Ask about files, and have dcmqi turn the SEG into NIfTI under `folder`."""
    outcome = ask_once(files, bright, profile, keep=folder / "out", overlay=False)
    assert outcome.kind is OutcomeKind.ANSWERED, f"{outcome.name}: {outcome.detail}"
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


@pytest.mark.parametrize("name", ["CT, axial", "MR, oblique", "Enhanced MR, measures per frame"])
def test_dcmqi_finds_the_voxels_of_a_phantom(tmp_path: Path, profile: Profile, name: str) -> None:
    files = phantom(name, tmp_path)
    done = read_by_dcmqi(files, profile, tmp_path)
    assert done.returncode == 0, done.stderr
    check_points(points_in(tmp_path), bright_voxels(files).points)


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


def test_dcmqi_refuses_an_image_without_a_place_in_the_patient(tmp_path: Path, profile: Profile) -> None:
    done = read_by_dcmqi(phantom("DX", tmp_path), profile, tmp_path)
    assert done.returncode != 0
    assert "Plane Orientation (Patient) is missing" in done.stdout + done.stderr
