"""Runs and axes against brute force over every pixel and every pair of corners."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from dicom_node.results.diameters import Diameters, diameters
from dicom_node.results.runs import filled, parts, runs_of

MASKS = arrays.arrays(np.bool_, st.tuples(st.integers(1, 4), st.integers(1, 7), st.integers(1, 7)))
SPACINGS = st.tuples(st.floats(0.2, 3), st.floats(0.2, 3))


def axes_of(mask: np.ndarray, spacing: tuple[float, float] = (1.0, 1.0)) -> Diameters:
    return diameters(runs_of(mask), spacing)


def corners_of(plane: np.ndarray, spacing: tuple[float, float]) -> np.ndarray:
    """All four corners of every pixel, x and y in mm."""
    rows, columns = np.nonzero(plane)
    corners = [np.stack([columns + i, rows + j], axis=1) for i, j in itertools.product((0, 1), repeat=2)]
    return np.concatenate(corners) * (spacing[1], spacing[0])


def is_corner(point: np.ndarray, plane: np.ndarray) -> bool:
    """Whether a point, column and row, is a corner of a marked pixel."""
    return bool((np.abs(corners_of(plane, (1.0, 1.0)) - point).max(axis=1) < 1e-9).any())


def longest_of(mask: np.ndarray, spacing: tuple[float, float]) -> float:
    """The longest line between corners of one piece, in any slice."""
    found = []
    for plane in mask:
        labels, count = ndimage.label(plane)
        for number in range(1, count + 1):
            corners = corners_of(labels == number, spacing)
            found.append(np.linalg.norm(corners[:, None] - corners[None], axis=-1).max())
    return max(found)


@given(MASKS)
def test_runs_hold_every_pixel_once_and_parts_are_those_of_scipy(mask: np.ndarray) -> None:
    runs = runs_of(mask)
    count, labels = parts(runs)
    drawn = np.zeros(mask.shape, dtype=int)
    for place, row, start, end, label in zip(runs.slices, runs.rows, runs.starts, runs.ends, labels, strict=True):
        drawn[place, row, start:end] += label + 1
    expected, expected_count = ndimage.label(mask)
    np.testing.assert_array_equal(drawn > 0, mask)
    assert count == expected_count == len(set(zip(drawn[mask], expected[mask], strict=True)))


@given(MASKS)
def test_filled_runs_are_the_slices_without_holes(mask: np.ndarray) -> None:
    drawn = np.zeros(mask.shape, dtype=int)
    runs = filled(runs_of(mask))
    for place, row, start, end in zip(runs.slices, runs.rows, runs.starts, runs.ends, strict=True):
        drawn[place, row, start:end] += 1
    np.testing.assert_array_equal(drawn, [ndimage.binary_fill_holes(plane) for plane in mask])


def test_runs_of_one_row_never_reach_into_the_next_row_or_slice() -> None:
    mask = np.zeros((2, 2, 3), dtype=bool)
    mask[0, 0, 2] = mask[0, 1, 0] = mask[1, 0, 1] = True  # neighbours in memory only
    assert parts(runs_of(mask))[0] == 3


@settings(deadline=None)
@given(MASKS.filter(np.any), SPACINGS)
def test_the_long_axis_is_the_longest_line_between_two_corners_of_a_piece(mask, spacing) -> None:
    axes = axes_of(mask, spacing)
    assert axes.long.length_mm == pytest.approx(longest_of(mask, spacing), rel=1e-9)
    plane = mask[axes.long.slice_index]
    assert is_corner(np.array(axes.long.start), plane) and is_corner(np.array(axes.long.end), plane)


@settings(deadline=None)
@given(MASKS.filter(np.any), SPACINGS)
def test_both_lines_are_as_long_as_they_say_and_at_right_angles(mask, spacing) -> None:
    axes = axes_of(mask, spacing)
    long, short = (
        (np.array(line.end) - np.array(line.start)) * (spacing[1], spacing[0]) for line in (axes.long, axes.short)
    )
    assert np.linalg.norm(long) == pytest.approx(axes.long.length_mm)
    assert np.linalg.norm(short) == pytest.approx(axes.short.length_mm)
    assert abs(long @ short) < 1e-6 * axes.long.length_mm * max(axes.short.length_mm, 1e-3)
    assert axes.long.slice_index == axes.short.slice_index


def across(polygon: np.ndarray, at: np.ndarray, direction: np.ndarray) -> float:
    """How long a line through a point is within the convex hull of points, by cutting every pair of points."""
    side = np.array([-direction[1], direction[0]])
    offsets = polygon - at
    off, along = offsets @ side, offsets @ direction
    cuts = [along[np.abs(off) < 1e-9]]
    one, other = np.nonzero((off[:, None] < -1e-9) & (off[None] > 1e-9))
    share = -off[one] / (off[other] - off[one])
    cuts.append(along[one] + share * (along[other] - along[one]))
    places = np.concatenate(cuts)
    return float(np.ptp(places)) if len(places) else 0.0


@settings(deadline=None)
@given(arrays.arrays(np.bool_, st.tuples(st.just(1), st.integers(1, 6), st.integers(1, 6))).filter(np.any), SPACINGS)
def test_the_short_axis_is_the_longest_line_across_the_hull(mask, spacing) -> None:
    axes = axes_of(mask, spacing)
    start, end = np.array(axes.long.start), np.array(axes.long.end)
    direction = (end - start) * (spacing[1], spacing[0])
    perpendicular = np.array([-direction[1], direction[0]]) / np.linalg.norm(direction)
    labels, count = ndimage.label(mask[0])
    pieces = [labels == number for number in range(1, count + 1)]
    measured = [piece for piece in pieces if is_corner(start, piece) and is_corner(end, piece)]
    widest = []
    for piece in measured:
        corners = np.unique(corners_of(piece, spacing), axis=0)
        widest.append(max(across(corners, corner, perpendicular) for corner in corners))
    assert any(axes.short.length_mm == pytest.approx(width, rel=1e-6, abs=1e-6) for width in widest)


@settings(deadline=None)
@given(MASKS.filter(np.any), SPACINGS, st.booleans(), st.booleans())
def test_turned_and_mirrored_masks_have_the_same_axes(mask, spacing, turned, mirrored) -> None:
    other, other_spacing = mask, spacing
    if turned:
        other, other_spacing = np.rot90(mask, axes=(1, 2)), (spacing[1], spacing[0])
    if mirrored:
        other = other[:, :, ::-1]
    one, two = axes_of(mask, spacing), axes_of(other, other_spacing)
    assert (one.long.length_mm, one.short.length_mm) == pytest.approx((two.long.length_mm, two.short.length_mm))


def test_one_voxel_is_as_long_as_its_diagonal() -> None:
    mask = np.zeros((3, 5, 5), dtype=bool)
    mask[1, 2, 3] = True
    axes = axes_of(mask, (3.0, 4.0))
    assert axes.long.length_mm == 5.0 and axes.long.slice_index == 1
    assert {axes.long.start, axes.long.end} in ({(3.0, 2.0), (4.0, 3.0)}, {(4.0, 2.0), (3.0, 3.0)})
    # From a corner at right angles to the diagonal to the longer side: d * short / long.
    assert axes.short.length_mm == pytest.approx(5 * 3 / 4)


def test_a_line_of_pixels() -> None:
    mask = np.zeros((1, 3, 50), dtype=bool)
    mask[0, 1] = True
    axes = axes_of(mask, (1.0, 2.0))
    assert axes.long.length_mm == pytest.approx(np.hypot(100, 1))
    assert axes.short.length_mm == pytest.approx(np.hypot(100, 1) / 100)


def test_the_first_of_equal_slices_is_measured() -> None:
    mask = np.zeros((6, 9, 9), dtype=bool)
    mask[2:5, 2:7, 2:7] = True
    assert axes_of(mask).long.slice_index == 2
