"""NIfTI: the voxels of the stack at their places, as nibabel reads them and as dcmqi makes them of our SEG."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from pydicom.uid import CTImageStorage, DigitalXRayImageStorageForPresentation

from dicom_node.errors import ExportRefused
from dicom_node.results.nifti import affine_of, write_nifti
from dicom_node.results.saving import save
from dicom_node.results.segmentation import build_segmentation
from dicom_node.volumes.load import SeriesVolume
from tests.corpus.phantom import AXIAL, OBLIQUE, Stack, image_header, put_pixels, save_all, slices
from tests.unit.dicom_node.results.checkers import identity_of
from tests.unit.dicom_node.results.conftest import blob
from tests.unit.dicom_node.results.loading import only_part

PROGRAM = Path(sys.executable).parent / "segimage2itkimage"
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)


def volume_of(stack: Stack, folder: Path) -> SeriesVolume:
    folder.mkdir(exist_ok=True)
    return only_part(save_all(slices(stack, CTImageStorage, "CT"), folder))


def points_of(path: Path) -> np.ndarray:
    """What a NIfTI file marks, mm LPS, in order."""
    image = nibabel.load(path)
    voxels = np.argwhere(np.asarray(image.dataobj) > 0)
    points = nibabel.affines.apply_affine(image.affine, voxels) * (-1, -1, 1)
    return points[np.lexsort(np.round(points, 2).T)]


@pytest.mark.slow  # it starts a program of dcmqi
@pytest.mark.parametrize("orientation", [AXIAL, CORONAL, OBLIQUE], ids=["axial", "coronal", "oblique"])
def test_voxels_lie_where_the_stack_says_and_dcmqi_puts_those_of_the_seg_there_too(
    read, context, orientation, tmp_path: Path
) -> None:
    volume = volume_of(Stack(orientation), tmp_path / "images")
    mask = blob(volume.values.shape)
    part = read(volume, mask)
    image, marked = write_nifti([part], tmp_path)
    assert (image.name, marked.name) == ("image-1.nii.gz", "mask-1-liver.nii.gz")

    stored = nibabel.load(image)
    assert stored.header.get_xyzt_units()[0] == "mm" and stored.get_data_dtype() == np.float32
    np.testing.assert_array_equal(np.asarray(stored.dataobj).transpose(2, 1, 0), volume.values)
    assert volume.geometry is not None
    centres = volume.geometry.centres(np.argwhere(mask))
    centres = centres[np.lexsort(np.round(centres, 2).T)]
    np.testing.assert_allclose(points_of(marked), centres, atol=1e-3)

    (tmp_path / "dcmqi").mkdir()
    save(build_segmentation(part, context()), tmp_path / "seg.dcm", identity_of([part]))
    command = [
        sys.executable,
        PROGRAM,
        "--inputDICOM",
        tmp_path / "seg.dcm",
        "--outputDirectory",
        tmp_path / "dcmqi",
        "-t",
        "nii",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (theirs,) = (tmp_path / "dcmqi").glob("*.nii.gz")
    np.testing.assert_allclose(points_of(theirs), centres, atol=1e-2)


def test_a_label_that_comes_twice_and_one_with_spaces_have_files_of_their_own(read, tmp_path: Path) -> None:
    volume = volume_of(Stack(), tmp_path / "images")
    first, second = blob(volume.values.shape), blob(volume.values.shape, 2)
    part = read(volume, first, second, first, labels=("kidney left", "kidney left", "liver"))
    names = [path.name for path in write_nifti([part], tmp_path)]
    assert names == [
        "image-1.nii.gz", "mask-1-kidney-left.nii.gz", "mask-1-kidney-left-2.nii.gz", "mask-1-liver.nii.gz",
    ]  # fmt: skip
    assert np.asarray(nibabel.load(tmp_path / names[2]).dataobj).sum() == second.sum()


def test_the_same_input_gives_the_same_bytes(read, tmp_path: Path) -> None:
    volume = volume_of(Stack(), tmp_path / "images")
    part = read(volume, blob(volume.values.shape))
    one = [path.read_bytes() for path in write_nifti([part], tmp_path)]
    assert [path.read_bytes() for path in write_nifti([part], tmp_path)] == one


def test_a_single_slice_is_as_deep_as_it_is_thick(tmp_path: Path) -> None:
    affine = affine_of(volume_of(Stack(depths=(0.0,)), tmp_path))
    assert np.linalg.norm(affine[:3, 2]) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("stack", "why"),
    [
        (Stack(tilt_degrees=15), "tilted gantry"),
        (Stack(depths=(0.0, 2.0, 4.0, 8.0, 12.0, 16.0)), "gaps of several widths"),
    ],
    ids=["tilted", "mixed gaps"],
)
def test_a_stack_without_a_true_affine_is_refused_before_anything_is_written(
    read, stack: Stack, why: str, tmp_path: Path
) -> None:
    volume = volume_of(stack, tmp_path / "images")
    with pytest.raises(ExportRefused, match=f"{why}.*ask without --export nifti"):
        write_nifti([read(volume, blob(volume.values.shape))], tmp_path)
    assert not list(tmp_path.glob("*.nii.gz"))


def test_an_image_without_a_place_in_the_patient_is_refused(tmp_path: Path) -> None:
    header = image_header(DigitalXRayImageStorageForPresentation, "DX")
    put_pixels(header, np.arange(48, dtype=np.uint16).reshape(6, 8))
    with pytest.raises(ExportRefused, match="has no place in the patient"):
        affine_of(only_part(save_all([header], tmp_path)))


def test_colours_of_a_voxel_are_one_value() -> None:
    from dicom_node.results.nifti import _voxels

    values = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
    voxels = _voxels(values)
    assert voxels.shape == (4, 3, 2) and voxels[3, 1, 1].tolist() == tuple(values[1, 1, 3].tolist())
    assert math.prod(voxels.shape) * 3 == voxels.nbytes
