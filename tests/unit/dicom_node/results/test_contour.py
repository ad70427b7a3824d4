"""Outlines enclose exactly the pixels of their part."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage

from dicom_node.results.contour import MAXIMUM_PARTS, Outline, outlines, outlines_by_slice
from dicom_node.results.runs import runs_of


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


def walked(part: np.ndarray) -> list[tuple[int, int]]:
    """Corners of a part without holes, step by step with the part on the right hand: right where it ends."""
    part = np.pad(part, 1)
    row, column = (int(value) for value in np.argwhere(part)[0])
    start, (x, y), (across, down) = (column, row), (column, row), (1, 0)
    corners = [start]
    while True:
        x, y = x + across, y + down
        ahead_right = part[y + (down - 1 + across) // 2, x + (across - 1 - down) // 2]
        ahead_left = part[y + (down - 1 - across) // 2, x + (across - 1 + down) // 2]
        turned = (-down, across) if not ahead_right else (down, -across) if ahead_left else (across, down)
        if (x, y) == start and turned == (1, 0):
            return [(x - 1, y - 1) for x, y in [*corners, start]]
        if turned != (across, down):
            corners.append((x, y))
            across, down = turned


def random_mask(seed: int) -> np.ndarray:
    """Specks, ragged shapes and smooth ones with holes and islands in them, `slices rows columns`."""
    random = np.random.default_rng(seed)
    shape = tuple(random.integers(1, 30, size=2).tolist())
    if seed % 2:
        return ndimage.gaussian_filter(random.normal(size=(3, *shape)), (0, 1.2, 1.2)) > random.normal() * 0.1
    return random.random((3, *shape)) < random.choice([0.03, 0.4, 0.6, 0.9])


@pytest.mark.parametrize("seed", range(60))
def test_outlines_have_the_corners_that_a_walk_along_the_edge_turns_at(seed: int) -> None:
    mask = random_mask(seed)
    mask[1] &= seed % 3 > 0  # a slice that is empty
    found = {index: (pieces, count) for index, pieces, count in outlines_by_slice(runs_of(mask))}
    assert list(found) == np.flatnonzero(mask.any(axis=(1, 2))).tolist()
    for index, (pieces, count) in found.items():
        labels, parts = ndimage.label(mask[index])
        sizes = np.bincount(labels.ravel())[1:]
        largest = np.argsort(-sizes, kind="stable")[:MAXIMUM_PARTS]
        assert count == parts and [piece.pixels for piece in pieces] == sizes[largest].tolist()
        for piece, label in zip(pieces, largest + 1, strict=True):
            corners = walked(ndimage.binary_fill_holes(labels == label))
            points = [tuple(point) for point in piece.points.astype(int).tolist()]
            if len(corners) == 5:
                assert points[::2] == corners
            else:
                assert points == corners
        alone, count_alone = outlines(mask[index])
        assert count_alone == count
        for one, other in zip(alone, pieces, strict=True):
            np.testing.assert_array_equal(one.points, other.points)


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
