"""Volumes and masks as streams: voxels lie where the stack says; what comes back is checked before it is believed."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import nibabel
import numpy as np
import pytest
from pydicom.uid import CTImageStorage

from dicom_node.errors import MaskRefused, OtherGrid
from dicom_node.results.nifti_stream import VoxelGrid, grid_of, mask_stream, read_mask, volume_stream
from dicom_node.volumes.load import SeriesVolume
from tests.corpus.phantom import AXIAL, OBLIQUE, Stack, save_all, slices
from tests.unit.dicom_node.results.conftest import blob
from tests.unit.dicom_node.results.loading import only_part

CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
SHAPE = (4, 5, 6)
GRID = VoxelGrid(SHAPE, np.diag([-0.7, -0.8, 2.0, 1.0]))


def volume_of(stack: Stack, folder: Path) -> SeriesVolume:
    return only_part(save_all(slices(stack, CTImageStorage, "CT"), folder))


def grid_from(volume: SeriesVolume) -> VoxelGrid:
    count, rows, columns = volume.values.shape[:3]
    return grid_of(volume.geometry, (count, rows, columns), volume.name, color=volume.is_color)


def opened(content: bytes) -> nibabel.Nifti1Image:
    return nibabel.Nifti1Image.from_bytes(gzip.decompress(content))


def some_mask(shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[1:3, 2:4, 1:5] = True
    return mask


def file_of(
    values: np.ndarray, affine: np.ndarray = GRID.affine, *, sform: int = 1, qform: int = 1, **header: object
) -> bytes:
    """A NIfTI of `slices rows columns`, as somebody else's program writes it."""
    image = nibabel.Nifti1Image(values.transpose(2, 1, 0), affine)
    image.set_sform(affine, code=sform)
    image.set_qform(affine, code=qform)
    content = bytearray(image.to_bytes())
    for name, value in header.items():
        dtype, offset = nibabel.Nifti1Header.template_dtype.fields[name][:2]
        content[offset : offset + dtype.itemsize] = np.array(value, dtype=dtype.base).tobytes()
    return gzip.compress(bytes(content))


@pytest.mark.parametrize("orientation", [AXIAL, CORONAL, OBLIQUE], ids=["axial", "coronal", "oblique"])
@pytest.mark.parametrize("depths", [range(6), [-2.0 * n for n in range(6)]], ids=["ascending", "descending"])
def test_voxel_centres_are_those_of_the_stack(orientation, depths, tmp_path: Path) -> None:
    volume = volume_of(Stack(orientation, tuple(2.0 * one for one in depths)), tmp_path)
    image = opened(b"".join(volume_stream(volume.values, grid_from(volume))))
    assert image.get_data_dtype() == np.int16
    np.testing.assert_array_equal(np.asarray(image.dataobj).transpose(2, 1, 0), volume.values)
    places = np.argwhere(blob(volume.values.shape))
    points = nibabel.affines.apply_affine(image.affine, places[:, ::-1]) * (-1, -1, 1)
    assert volume.geometry is not None
    np.testing.assert_allclose(points, volume.geometry.centres(places), atol=1e-3)
    np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-3)


def test_values_that_are_no_whole_numbers_are_floats() -> None:
    values = np.linspace(0, 1, 120, dtype=np.float32).reshape(SHAPE)
    image = opened(b"".join(volume_stream(values, GRID)))
    assert image.get_data_dtype() == np.float32
    np.testing.assert_array_equal(np.asarray(image.dataobj).transpose(2, 1, 0), values)
    assert opened(b"".join(volume_stream(values * 0 + 40_000, GRID))).get_data_dtype() == np.float32


def test_a_mask_comes_back_as_it_went_and_the_same_mask_gives_the_same_bytes() -> None:
    content = b"".join(mask_stream(some_mask(), GRID))
    assert content == b"".join(mask_stream(some_mask(), GRID))
    np.testing.assert_array_equal(read_mask(content, GRID), some_mask())
    np.testing.assert_array_equal(read_mask(gzip.decompress(content), GRID), some_mask())
    np.testing.assert_array_equal(read_mask(file_of(some_mask().astype(np.uint8)), GRID), some_mask())


@pytest.mark.parametrize(
    ("stack", "why"),
    [
        (Stack(tilt_degrees=15), "tilted gantry"),
        (Stack(depths=(0.0, 2.0, 4.0, 8.0, 12.0, 16.0)), "gaps of several widths"),
        (Stack(depths=(0.0,)), "single slice"),
    ],
    ids=["tilted", "mixed gaps", "one slice"],
)
def test_a_stack_that_is_no_grid_of_boxes_counts_voxels_and_says_why(stack: Stack, why: str, tmp_path: Path) -> None:
    volume = volume_of(stack, tmp_path)
    grid = grid_from(volume)
    assert why in grid.why_none and "draw on" in grid.why_none and "NIfTI" not in grid.why_none
    mask = blob(volume.values.shape) if len(volume.values) > 1 else volume.values > 1000
    np.testing.assert_array_equal(read_mask(b"".join(mask_stream(mask, grid)), grid), mask)


def test_either_of_sform_and_qform_says_where_it_lies_and_one_of_them_must() -> None:
    mask = some_mask().astype(np.uint8)
    np.testing.assert_array_equal(read_mask(file_of(mask, qform=0), GRID), some_mask())
    np.testing.assert_array_equal(read_mask(file_of(mask, sform=0), GRID), some_mask())
    with pytest.raises(OtherGrid, match="does not say where"):
        read_mask(file_of(mask, sform=0, qform=0), GRID)


def moved(by: float) -> np.ndarray:
    affine = GRID.affine.copy()
    affine[0, 3] += by
    return affine


@pytest.mark.parametrize(
    "content",
    [
        file_of(some_mask((4, 6, 5)).astype(np.uint8)),
        file_of(some_mask((5, 5, 6)).astype(np.uint8)),
        file_of(some_mask().astype(np.uint8), moved(0.7)),
        file_of(some_mask().astype(np.uint8), np.diag([0.7, 0.8, 2.0, 1.0])),
        file_of(some_mask().astype(np.uint8), np.diag([-0.7, -0.8, 2.2, 1.0])),
        file_of(some_mask().astype(np.uint8), srow_x=[np.nan] * 4),
        file_of(np.zeros((*SHAPE, 2), dtype=np.uint8)[..., 0], dim=[4, 6, 5, 4, 2, 1, 1, 1]),
    ],
    ids=["turned", "longer", "moved", "mirrored", "stretched", "not a number", "two volumes"],
)
def test_a_mask_on_another_grid_is_told_to_be_drawn_on_this_one(content: bytes) -> None:
    with pytest.raises(OtherGrid, match=r"a correction on another grid: .*draw on this series' own grid"):
        read_mask(content, GRID)


def test_rounding_of_a_header_is_no_other_grid() -> None:
    np.testing.assert_array_equal(read_mask(file_of(some_mask().astype(np.uint8), moved(1e-4)), GRID), some_mask())


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no NIfTI"),
        (b"no volume at all" * 40, "no NIfTI"),
        (gzip.compress(b"short"), "no NIfTI"),
        (b"\x1f\x8b" + b"\0" * 600, "cannot be unpacked"),
        (file_of(some_mask().astype(np.uint8))[:-12], "cut off|ends after|unpacked"),
        (gzip.compress(gzip.decompress(file_of(some_mask().astype(np.uint8)))[:-1]), "ends after"),
        (file_of(some_mask().astype(np.int16)), "int16, and those of a mask are uint8"),
        (file_of(some_mask().astype(np.float32)), "float32, and those of a mask are uint8"),
        (file_of(some_mask().astype(np.uint8), scl_slope=2.0, scl_inter=0.0), "scaled"),
        (file_of(some_mask().astype(np.uint8), scl_slope=1.0, scl_inter=1.0), "scaled"),
        (file_of(some_mask().astype(np.uint8) * 3), "value 3"),
        (file_of(some_mask().astype(np.uint8), vox_offset=-5.0), "begin at byte"),
        (file_of(some_mask().astype(np.uint8), vox_offset=1e9), "begin at byte"),
        (file_of(some_mask().astype(np.uint8), vox_offset=np.nan), "no NIfTI"),
        (file_of(some_mask().astype(np.uint8), datatype=9999), "no NIfTI"),
        (file_of(some_mask().astype(np.uint8), magic=b"ni1\0"), "no NIfTI-1 file in one piece"),
    ],
    ids=[
        "nothing", "text", "short", "no gzip", "cut off", "a byte short", "int16", "float", "slope", "intercept",
        "values",
        "offset before", "offset behind", "offset no number", "datatype", "two files",
    ],
)  # fmt: skip
def test_what_is_no_mask_is_refused_with_what_it_should_be(content: bytes, why: str) -> None:
    with pytest.raises(MaskRefused, match=why):
        read_mask(content, GRID)


def test_a_scaling_of_one_is_none() -> None:
    content = file_of(some_mask().astype(np.uint8), scl_slope=1.0, scl_inter=0.0)
    np.testing.assert_array_equal(read_mask(content, GRID), some_mask())


def test_a_bomb_is_not_unpacked() -> None:
    header = gzip.decompress(b"".join(mask_stream(some_mask(), GRID)))[:352]
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb") as file:
        file.write(header)
        for _ in range(64):
            file.write(bytes(1 << 20))
    with pytest.raises(MaskRefused, match="unpacked it has more than"):
        read_mask(packed.getvalue(), GRID)
