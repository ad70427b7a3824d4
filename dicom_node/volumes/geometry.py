"""Is this series one volume? Every plane is checked; what is not one volume is refused by name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import highdicom as hd
import numpy as np
from numpy.typing import NDArray

from dicom_node.errors import VolumeRefusal, VolumeRefused

__all__ = ["Arrangement", "Plane", "arrange"]

_ORIENTATION_TOLERANCE = 1e-3
"""Largest difference of direction cosines, about 0.06 degrees."""
_SPACING_TOLERANCE = 1e-3
"""Largest relative difference of pixel spacings."""
_GAP_TOLERANCE = 0.01
"""Largest relative difference of a gap between slices from the mean gap."""
_GAP_TOLERANCE_MM = 0.02
"""Position values are decimal strings, often rounded to a hundredth."""
_SAME_POSITION_MM = 1e-3
_SHIFT_TOLERANCE_PIXELS = 0.25
"""A slice may lie this much sideways of the stack's axis before masks would land beside their voxels."""

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Plane:
    """Where one slice lies in the patient (PS3.3 C.7.6.2); None for what its header does not say.

    `position`: mm, of the centre of the first voxel. `orientation`: cosines of row then column direction.
    `spacing_mm`: between rows, between columns. `name` says which instance or frame it is, for messages.
    """

    name: str
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing_mm: tuple[float, float] | None
    thickness_mm: float | None
    frame_of_reference_uid: str | None


@dataclass(frozen=True)
class Arrangement:
    """Planes put in order along their normal.

    `order`: indices into the planes given, ascending along row direction x column direction.
    `geometry`: maps slice, row, column indices to patient coordinates, mm. `slice_spacing_known` is False when a
    single slice does not tell its thickness: then the geometry's slice spacing of 1 mm means nothing.
    """

    order: tuple[int, ...]
    geometry: hd.VolumeGeometry
    slice_spacing_known: bool


def arrange(planes: Sequence[Plane], rows: int, columns: int) -> Arrangement:
    """Put `planes` in order and give their common geometry.

    Positions decide, file order never. Raises VolumeRefused with MISSING_GEOMETRY, MISSING_SPACING,
    MIXED_FRAMES_OF_REFERENCE, MIXED_ORIENTATIONS, MIXED_SPACINGS, DUPLICATE_POSITIONS, MULTIPLE_VOLUMES, GANTRY_TILT
    or IRREGULAR_SPACING.
    """
    _require_geometry(planes)
    _require_one_frame_of_reference(planes)
    right, down = _common_orientation(planes)
    spacing = _common_spacing(planes)
    normal = np.cross(right, down)
    positions = np.array([plane.position for plane in planes], dtype=np.float64)
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    _require_distinct_positions([planes[index] for index in order], along[order])
    _require_straight_stack([planes[index] for index in order], positions[order], normal, spacing)
    _require_regular_gaps([planes[index] for index in order], along[order])
    step, known = _slice_step(planes, along[order])
    affine = np.eye(4)
    affine[:3, 0] = normal * step
    affine[:3, 1] = down * spacing[0]
    affine[:3, 2] = right * spacing[1]
    affine[:3, 3] = positions[order[0]]
    geometry = hd.VolumeGeometry(
        affine=affine,
        spatial_shape=(len(planes), rows, columns),
        coordinate_system="PATIENT",
        frame_of_reference_uid=planes[0].frame_of_reference_uid,
    )
    return Arrangement(tuple(int(index) for index in order), geometry, known)


def _require_geometry(planes: Sequence[Plane]) -> None:
    for plane in planes:
        for attribute, values, length in (
            ("Image Position (Patient)", plane.position, 3),
            ("Image Orientation (Patient)", plane.orientation, 6),
        ):
            if values is None or len(values) != length or not all(math.isfinite(value) for value in values):
                raise VolumeRefused(VolumeRefusal.MISSING_GEOMETRY, f"{plane.name} has no usable {attribute}")
        if not plane.frame_of_reference_uid:
            raise VolumeRefused(VolumeRefusal.MISSING_GEOMETRY, f"{plane.name} has no Frame of Reference UID")
        if plane.spacing_mm is None or not all(math.isfinite(mm) and mm > 0 for mm in plane.spacing_mm):
            raise VolumeRefused(VolumeRefusal.MISSING_SPACING, f"{plane.name} has no usable Pixel Spacing")


def _require_one_frame_of_reference(planes: Sequence[Plane]) -> None:
    uids = sorted({str(plane.frame_of_reference_uid) for plane in planes})
    if len(uids) > 1:
        raise VolumeRefused(
            VolumeRefusal.MIXED_FRAMES_OF_REFERENCE, f"{len(uids)} frames of reference: {', '.join(uids[:3])}"
        )


def _common_orientation(planes: Sequence[Plane]) -> tuple[Vector, Vector]:
    """Unit vectors of row and column direction, or a refusal."""
    orientations = np.array([plane.orientation for plane in planes], dtype=np.float64)
    for plane, orientation in zip(planes, orientations, strict=True):
        right, down = orientation[:3], orientation[3:]
        flaws = (float(np.linalg.norm(right)) - 1, float(np.linalg.norm(down)) - 1, float(right @ down))
        if max(abs(flaw) for flaw in flaws) > 10 * _ORIENTATION_TOLERANCE:
            raise VolumeRefused(
                VolumeRefusal.MISSING_GEOMETRY, f"{plane.name}: Image Orientation (Patient) is no pair of unit vectors"
            )
        if np.abs(orientation - orientations[0]).max() > _ORIENTATION_TOLERANCE:
            raise VolumeRefused(
                VolumeRefusal.MIXED_ORIENTATIONS, f"{plane.name} is oriented other than {planes[0].name}"
            )
    right = orientations[0, :3] / np.linalg.norm(orientations[0, :3])
    down = orientations[0, 3:] - right * float(orientations[0, 3:] @ right)
    return right, down / np.linalg.norm(down)


def _common_spacing(planes: Sequence[Plane]) -> Vector:
    spacings = np.array([plane.spacing_mm for plane in planes], dtype=np.float64)
    different = np.abs(spacings / spacings[0] - 1).max(axis=1) > _SPACING_TOLERANCE
    if different.any():
        other = int(np.argmax(different))
        raise VolumeRefused(
            VolumeRefusal.MIXED_SPACINGS,
            f"{planes[other].name} has Pixel Spacing {spacings[other].tolist()}, "
            f"{planes[0].name} {spacings[0].tolist()}",
        )
    return np.asarray(spacings[0], dtype=np.float64)


def _require_distinct_positions(ordered: Sequence[Plane], along: Vector) -> None:
    same = np.flatnonzero(np.diff(along) < _SAME_POSITION_MM)
    if not same.size:
        return
    occurrences = np.unique(np.round(along, 2), return_counts=True)[1]
    if occurrences.size > 1 and occurrences.min() == occurrences.max():
        raise VolumeRefused(
            VolumeRefusal.MULTIPLE_VOLUMES,
            f"each of {occurrences.size} positions occurs {occurrences[0]} times: phases, echoes or repetitions; "
            "send them as series of their own",
        )
    first = int(same[0])
    raise VolumeRefused(
        VolumeRefusal.DUPLICATE_POSITIONS,
        f"{ordered[first].name} and {ordered[first + 1].name} lie at the same position "
        f"({same.size} such pairs in {len(ordered)} slices)",
    )


def _require_straight_stack(ordered: Sequence[Plane], positions: Vector, normal: Vector, spacing: Vector) -> None:
    """Positions must lie on one line along the normal; a steady sideways drift is a tilted gantry."""
    offsets = positions - positions[0]
    depths = offsets @ normal
    sideways = offsets - np.outer(depths, normal)
    allowed = _SHIFT_TOLERANCE_PIXELS * float(spacing.min())
    distances = np.linalg.norm(sideways, axis=1)
    if distances.max(initial=0.0) <= allowed:
        return
    slope = (depths @ sideways) / float(depths @ depths)
    if np.linalg.norm(sideways - np.outer(depths, slope), axis=1).max() <= max(allowed, 0.1 * distances.max()):
        degrees = math.degrees(math.atan(float(np.linalg.norm(slope))))
        raise VolumeRefused(
            VolumeRefusal.GANTRY_TILT,
            f"slices are sheared by {degrees:.1f} degrees; resample the series to an untilted volume first",
        )
    worst = int(np.argmax(distances))
    raise VolumeRefused(
        VolumeRefusal.IRREGULAR_SPACING,
        f"{ordered[worst].name} lies {distances[worst]:.2f} mm sideways of {ordered[0].name}",
    )


def _require_regular_gaps(ordered: Sequence[Plane], along: Vector) -> None:
    gaps = np.diff(along)
    if gaps.size < 2:
        return
    typical = float(np.median(gaps))
    allowed = max(_GAP_TOLERANCE * typical, _GAP_TOLERANCE_MM)
    drift = np.abs(along - np.linspace(along[0], along[-1], along.size)).max()
    worst = int(np.argmax(np.abs(gaps - typical)))
    if abs(gaps[worst] - typical) > allowed or drift > 0.25 * typical:
        missing = round(float(gaps[worst]) / typical) - 1
        hint = f"; {missing} slices seem to be missing" if missing > 0 else ""
        raise VolumeRefused(
            VolumeRefusal.IRREGULAR_SPACING,
            f"{gaps[worst]:.3f} mm between {ordered[worst].name} and {ordered[worst + 1].name}, "
            f"elsewhere {typical:.3f} mm{hint}",
        )


def _slice_step(planes: Sequence[Plane], along: Vector) -> tuple[float, bool]:
    """Distance from slice to slice, mm, and whether it is known."""
    if along.size > 1:
        return float(along[-1] - along[0]) / (along.size - 1), True
    thickness = planes[0].thickness_mm
    if thickness is None or not math.isfinite(thickness) or thickness <= 0:
        return 1.0, False
    return thickness, True
