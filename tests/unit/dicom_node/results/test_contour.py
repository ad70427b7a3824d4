"""Outlines enclose exactly the pixels of their part."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage

from dicom_node.results.contour import MAXIMUM_PARTS, Outline, outlines


def enclosed(outline: Outline, shape: tuple[int, int]) -> np.ndarray:
    """Pixels whose centre lies inside, by crossing number: not the code that drew the outline."""
    centres = np.stack(np.meshgrid(np.arange(shape[1]) + 0.5, np.arange(shape[0]) + 0.5), axis=-1)
    inside = np.zeros(shape, dtype=bool)
    for (x0, y0), (x1, y1) in zip(outline.points[:-1], outline.points[1:], strict=True):
        if y0 != y1:
            between = (centres[..., 1] >= min(y0, y1)) & (centres[..., 1] < max(y0, y1))
            crossing = x0 + (centres[..., 1] - y0) * (x1 - x0) / (y1 - y0)
            inside ^= between & (crossing > centres[..., 0])
    return inside


def signed_area(points: np.ndarray) -> float:
    x, y = points.T
    return float(0.5 * (x[:-1] * y[1:] - x[1:] * y[:-1]).sum())


def test_a_pixel_is_a_square_around_its_centre() -> None:
    mask = np.zeros((5, 7), dtype=bool)
    mask[2, 4] = True
    (only,), count = outlines(mask)
    assert count == 1 and only.pixels == 1
    assert set(map(tuple, only.points.tolist())) >= {(4.0, 2.0), (5.0, 2.0), (5.0, 3.0), (4.0, 3.0)}
    np.testing.assert_array_equal(only.points[0], only.points[-1])


def test_no_outline_has_the_five_points_that_ohif_takes_for_a_rectangle() -> None:
    mask = np.zeros((9, 9), dtype=bool)
    mask[2:5, 3:8] = True
    (only,), _ = outlines(mask)
    assert len(only.points) == 9 and signed_area(only.points) == 15


@pytest.mark.parametrize("density", [0.02, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("seed", range(4))
def test_random_masks_come_back(density: float, seed: int) -> None:
    mask = np.random.default_rng(seed).random((23, 31)) < density
    labels, count = ndimage.label(mask)
    found, parts = outlines(mask)
    assert parts == count and len(found) == min(count, MAXIMUM_PARTS)
    sizes = sorted(np.bincount(labels.ravel())[1:].tolist(), reverse=True)
    assert [outline.pixels for outline in found] == sizes[: len(found)]
    for outline in found:
        inside = enclosed(outline, mask.shape)
        assert signed_area(outline.points) == inside.sum()  # clockwise, and nothing is counted twice
        column, row = outline.points[0].astype(int)  # an outline begins at the corner of its first pixel
        label = labels[row, column]
        assert label and outline.pixels == (labels == label).sum()
        np.testing.assert_array_equal(inside, ndimage.binary_fill_holes(labels == label))


def test_the_border_of_the_image_is_part_of_an_outline() -> None:
    (only,), _ = outlines(np.ones((4, 6), dtype=bool))
    assert only.points.min(axis=0).tolist() == [0, 0] and only.points.max(axis=0).tolist() == [6, 4]


def test_nothing_has_no_outline() -> None:
    assert outlines(np.zeros((4, 6), dtype=bool)) == ((), 0)


def test_a_ragged_outline_is_thinned_to_what_an_attribute_holds() -> None:
    picture = Image.new("1", (1600, 1600))
    angles = np.linspace(0, 2 * np.pi, 20000, endpoint=False)
    radii = 700 + np.random.default_rng(0).normal(0, 20, angles.size)
    ring = np.stack([800 + radii * np.cos(angles), 800 + radii * np.sin(angles)], axis=1)
    ImageDraw.Draw(picture).polygon([tuple(point) for point in ring.tolist()], fill=1)
    mask = np.asarray(picture)
    (largest, *_), _ = outlines(mask)
    assert 100 < len(largest.points) <= 4000 and len(largest.points) * 2 * 4 < 65536
    np.testing.assert_array_equal(largest.points[0], largest.points[-1])
    assert signed_area(largest.points) == pytest.approx(ndimage.binary_fill_holes(mask).sum(), rel=0.02)
