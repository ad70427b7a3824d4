"""A synthetic body with bright marks whose arrangement tells left from right, head from feet and front from back.

Three CT series show it straight, double oblique and with a tilted gantry, and a radiograph shows its projection. Marks
are defined in patient coordinates and drawn by position and orientation alone (`placement.py`), not by the code that
they are to prove.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dicom_node.commissioning.body_headers import ct_header, radiograph_header, save_image
from dicom_node.commissioning.placement import Placement, placement_of
from dicom_node.identifiers import derived_uid

__all__ = ["MARKS", "Body", "BodyImage", "BodySeries", "Mark", "make_body"]

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Mark:
    """A bright ellipsoid or box. `centre`: mm LPS from the middle of the body; `half`: its half axes, mm."""

    name: str
    centre: tuple[float, float, float]
    half: tuple[float, float, float]
    box: bool = False

    def holds(self, points: Points) -> NDArray[np.bool_]:
        """Which of some points `... 3`, mm LPS, lie in it."""
        parts = np.abs(points - np.array(self.centre)) / np.array(self.half)
        return np.asarray((parts <= 1).all(axis=-1) if self.box else (parts**2).sum(axis=-1) <= 1, dtype=np.bool_)

    def shadow(self, points: Points) -> NDArray[np.bool_]:
        """Which of some points lie in front of it or behind: its projection along the patient's y axis."""
        flat = points.copy()
        flat[..., 1] = self.centre[1]
        return self.holds(flat)


def _ball(name: str, centre: tuple[float, float, float], radius: float) -> Mark:
    return Mark(name, centre, (radius, radius, radius))


# One left and two right, three at the head and a bar at the feet, one in front and none behind: no turned or mirrored
# copy of them lies on itself.
MARKS: tuple[Mark, ...] = (
    _ball("left", (105.0, 10.0, 4.0), 14.0),
    _ball("right 1", (-114.0, -28.0, -4.0), 12.0),
    _ball("right 2", (-92.0, 32.0, 10.0), 12.0),
    _ball("head 1", (44.0, 0.0, 45.0), 10.0),
    _ball("head 2", (0.0, 0.0, 45.0), 10.0),
    _ball("head 3", (-44.0, 0.0, 45.0), 10.0),
    _ball("front", (0.0, -68.0, -5.0), 12.0),
    Mark("feet", (14.0, 6.0, -45.0), (42.0, 9.0, 9.0), box=True),
)
MARK_HU = 3000


@dataclass(frozen=True)
class BodyImage:
    """One image. `marked`: pixels `points 2` (row, column) of each mark that it shows. `placement`: None if flat."""

    path: Path
    sop_instance_uid: str
    number: int
    marked: Mapping[str, NDArray[np.int64]]
    placement: Placement | None


@dataclass(frozen=True)
class BodySeries:
    """`name`: what it shows. `voxel_mm3`: of a voxel, None for a projection; `pixel_mm2`: of a pixel."""

    name: str
    series_uid: str
    images: tuple[BodyImage, ...]
    voxel_mm3: float | None
    pixel_mm2: float

    @property
    def files(self) -> list[Path]:
        return [image.path for image in self.images]

    @property
    def marked_pixels(self) -> int:
        return sum(len(pixels) for image in self.images for pixels in image.marked.values())

    def points(self, mark: Mark) -> Points:
        """The centres of a mark's voxels, `points 3`, mm LPS; of a projection (column, row, 0) in pixels."""
        found = [_centres(image, image.marked[mark.name]) for image in self.images if mark.name in image.marked]
        return np.concatenate([np.empty((0, 3)), *found])


def _centres(image: BodyImage, pixels: NDArray[np.int64]) -> Points:
    if image.placement is not None:
        return image.placement.centres(pixels)
    return np.stack([pixels[:, 1], pixels[:, 0], np.zeros(len(pixels))], axis=1).astype(np.float64)


@dataclass(frozen=True)
class Body:
    """One run's body."""

    run_id: str
    study_uid: str
    series: tuple[BodySeries, ...]

    @property
    def files(self) -> list[Path]:
        return [path for series in self.series for path in series.files]


# --- The body itself --------------------------------------------------------------------------------------------------

_AIR, _FAT, _TISSUE, _LUNG, _BONE = -1000, -90, 45, -780, 600


def _hounsfield(points: Points) -> NDArray[np.float64]:
    """What tissue points `... 3`, mm LPS, lie in: something that looks like a chest."""
    x, y, z = np.moveaxis(points, -1, 0)
    width, depth = 158.0 + 0.12 * z, 104.0 + 0.05 * z

    def inside(cx: float, cy: float, rx: float | NDArray[np.float64], ry: float | NDArray[np.float64]) -> Points:
        return np.asarray(((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2)

    body = inside(0, 0, width, depth)
    values = np.full(x.shape, float(_AIR))
    values[body <= 1] = _FAT
    values[body <= 0.84] = _TISSUE
    lungs = np.clip((z + 42) / 60, 0, 1)  # they end above the feet of the field
    values[inside(-66, 0, 52 * lungs + 1e-3, 70 * lungs + 1e-3) <= 1] = _LUNG
    values[inside(72, 6, 44 * lungs + 1e-3, 66 * lungs + 1e-3) <= 1] = _LUNG
    values[inside(24, -26, 44, 36) <= 1] = _TISSUE  # heart, more on the left
    values[inside(0, 66, 20, 17) <= 1] = _BONE
    values[(inside(0, 90, 6, 14) <= 1) & (body <= 0.95)] = _BONE
    ribs = (body > 0.72) & (body < 0.80) & (np.mod(z + 0.35 * np.abs(x), 30) < 11)
    values[ribs] = _BONE
    return values


# --- Series -----------------------------------------------------------------------------------------------------------

_ROWS, _COLUMNS, _SPACING = 96, 144, (3.0, 2.5)
_STEP_MM = 8.0


@dataclass(frozen=True)
class _Stack:
    """How a CT series cuts the body. `turns`: degrees about the patient's x and z axes; `tilt`: of the gantry."""

    name: str
    slices: int
    turns: tuple[float, float] = (0.0, 0.0)
    tilt_degrees: float = 0.0
    head_first: bool = True


_STACKS = (
    _Stack("axial", 16),
    _Stack("oblique", 26, turns=(20.0, 18.0), head_first=False),
    _Stack("tilted gantry", 20, tilt_degrees=14.0),
)


def make_body(folder: Path, run_id: str, created: datetime) -> Body:
    """Write the body's images to `folder`. All UIDs follow from `run_id`: another run is another study."""
    study_uid = derived_uid("commissioning body", run_id, "study")
    frame_of_reference = derived_uid("commissioning body", run_id, "frame of reference")
    series = [
        _write_stack(stack, number, folder, run_id, created, (study_uid, frame_of_reference))
        for number, stack in enumerate(_STACKS, start=1)
    ]
    series.append(_write_radiograph(len(series) + 1, folder, run_id, created, study_uid))
    return Body(run_id, study_uid, tuple(series))


def _turned(stack: _Stack) -> tuple[Points, Points]:
    """The directions of a row and of a column."""
    about_x, about_z = (math.radians(turn) for turn in stack.turns)
    about_x += math.radians(stack.tilt_degrees)
    turn_x = np.array(
        [[1, 0, 0], [0, math.cos(about_x), -math.sin(about_x)], [0, math.sin(about_x), math.cos(about_x)]]
    )
    turn_z = np.array(
        [[math.cos(about_z), -math.sin(about_z), 0], [math.sin(about_z), math.cos(about_z), 0], [0, 0, 1]]
    )
    # About its own row first, then about the patient's axis: double oblique.
    tilt_y = math.radians(12.0 if any(stack.turns) else 0.0)
    turn_y = np.array([[math.cos(tilt_y), 0, math.sin(tilt_y)], [0, 1, 0], [-math.sin(tilt_y), 0, math.cos(tilt_y)]])
    turned = turn_z @ turn_y @ turn_x
    return turned[:, 0], turned[:, 1]


def _positions(stack: _Stack, along: Points, down: Points) -> Iterator[Points]:
    """Centres of the first pixels, slice by slice from the feet up."""
    corner = -along * _SPACING[1] * (_COLUMNS - 1) / 2 - down * _SPACING[0] * (_ROWS - 1) / 2
    # With a tilted gantry the table goes on along the patient, not along the slices' normal.
    step = np.array([0.0, 0.0, 1.0]) if stack.tilt_degrees else np.cross(along, down)
    for index in range(stack.slices):
        yield corner + step * _STEP_MM * (index - (stack.slices - 1) / 2)


def _write_stack(
    stack: _Stack, number: int, folder: Path, run_id: str, created: datetime, uids: tuple[str, str]
) -> BodySeries:
    series_uid = derived_uid("commissioning body", run_id, "series", stack.name)
    along, down = _turned(stack)
    noise = np.random.default_rng(number)
    rows, columns = np.indices((_ROWS, _COLUMNS))
    pixels = np.stack([rows.ravel(), columns.ravel()], axis=1)
    images = []
    for index, position in enumerate(_positions(stack, along, down)):
        ordinal = stack.slices - index if stack.head_first else index + 1
        uid = derived_uid("commissioning body", run_id, stack.name, str(ordinal))
        header = ct_header(run_id, created, (*uids[:1], series_uid, uid), number, ordinal, stack.name)
        header.FrameOfReferenceUID = uids[1]
        header.ImagePositionPatient = [f"{value:.5f}" for value in position]
        header.ImageOrientationPatient = [f"{value:.8f}" for value in (*along, *down)]
        header.PixelSpacing, header.SliceThickness = [f"{value:g}" for value in _SPACING], f"{_STEP_MM:g}"
        header.GantryDetectorTilt = f"{stack.tilt_degrees:g}"
        placement = placement_of(header)
        assert placement is not None
        points = placement.centres(pixels).reshape(_ROWS, _COLUMNS, 3)
        values = _hounsfield(points) + noise.normal(0, 12, (_ROWS, _COLUMNS))
        marked = _draw(values, points, MARK_HU, projected=False)
        path = folder / f"{stack.name.replace(' ', '-')}-{(ordinal * 7) % stack.slices:02d}-{ordinal:02d}.dcm"
        save_image(header, np.clip(np.rint(values) + 1024, 0, 4095).astype(np.uint16), path)
        images.append(BodyImage(path, uid, ordinal, marked, placement))
    gap = _STEP_MM * math.cos(math.radians(stack.tilt_degrees))
    area = _SPACING[0] * _SPACING[1]
    return BodySeries(stack.name, series_uid, tuple(images), area * gap, area)


_DETECTOR_MM = 2.0


def _write_radiograph(number: int, folder: Path, run_id: str, created: datetime, study_uid: str) -> BodySeries:
    """The body from in front: rows run to the patient's left, columns to the feet. No place in the patient."""
    name = "projection"
    series_uid = derived_uid("commissioning body", run_id, "series", name)
    uid = derived_uid("commissioning body", run_id, name, "1")
    header = radiograph_header(run_id, created, (study_uid, series_uid, uid), number, name)
    rows, columns = 80, 180
    x = (np.arange(columns) - (columns - 1) / 2) * _DETECTOR_MM
    z = ((rows - 1) / 2 - np.arange(rows)) * _DETECTOR_MM
    depth = np.arange(-120.0, 121.0, 4.0)
    points = np.stack(np.broadcast_arrays(x[None, :, None], depth[None, None, :], z[:, None, None]), axis=-1)
    values = np.clip((_hounsfield(points) + 1000).sum(axis=-1) / 18, 0, 3000)
    marked = _draw(values, points[:, :, 0], 4000, projected=True)
    header.ImagerPixelSpacing = [f"{_DETECTOR_MM:g}"] * 2
    path = folder / f"{name}.dcm"
    save_image(header, np.rint(values).astype(np.uint16), path)
    return BodySeries(name, series_uid, (BodyImage(path, uid, 1, marked, None),), None, _DETECTOR_MM**2)


def _draw(
    values: NDArray[np.float64], points: Points, value: float, *, projected: bool
) -> dict[str, NDArray[np.int64]]:
    """Write the marks into an image; the pixels of each that it shows."""
    marked = {}
    for mark in MARKS:
        mask = mark.shadow(points) if projected else mark.holds(points)
        if mask.any():
            values[mask] = value
            marked[mark.name] = np.argwhere(mask)
    return marked
