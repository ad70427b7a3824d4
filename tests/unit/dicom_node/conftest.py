"""A small CT series with a bright box at known patient coordinates, in any orientation."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from tests.corpus.phantom import BOX_SHAPE as SHAPE
from tests.corpus.phantom import BOX_SPACING_MM as SPACING_MM
from tests.corpus.phantom import BOX_STEP_MM as STEP_MM
from tests.corpus.phantom import ct_header

BOX = (slice(2, 5), slice(4, 10), slice(20, 29))


@dataclass(frozen=True)
class BoxSeries:
    """`files` in random order; `low`, `high`: patient coordinates (mm) of the box's extreme voxel centres."""

    files: list[Path]
    low: np.ndarray
    high: np.ndarray


@pytest.fixture
def box_series(tmp_path: Path) -> Callable[..., BoxSeries]:
    """Write the series; `change(index, header)` may spoil an instance before it is saved."""

    def write(
        orientation: Sequence[float] = (1, 0, 0, 0, 1, 0),
        step_sign: int = 1,
        change: Callable[[int, Dataset], None] | None = None,
    ) -> BoxSeries:
        right, down = np.array(orientation[:3], dtype=float), np.array(orientation[3:], dtype=float)
        right /= np.linalg.norm(right)
        down = down - right * (down @ right)
        down /= np.linalg.norm(down)
        step = step_sign * STEP_MM * np.cross(right, down)
        origin = np.array([-37.5, 12.25, 101.0])
        voxels = np.zeros(SHAPE, dtype=np.uint16)
        voxels[BOX] = 4095
        files, corners = [], []
        for index in range(SHAPE[0]):
            header = ct_header(index, origin + index * step, (*right, *down))
            header.PixelData = voxels[index].tobytes()
            header["PixelData"].VR = "OW"
            if change is not None:
                change(index, header)
            # File names say nothing about positions.
            files.append(tmp_path / f"{(index * 7) % 11:02d}.dcm")
            header.save_as(files[-1], enforce_file_format=True)
        for index in (BOX[0].start, BOX[0].stop - 1):
            for row in (BOX[1].start, BOX[1].stop - 1):
                for column in (BOX[2].start, BOX[2].stop - 1):
                    corners.append(origin + index * step + right * column * SPACING_MM[1] + down * row * SPACING_MM[0])
        random.Random(3).shuffle(files)
        return BoxSeries(files, np.min(corners, axis=0), np.max(corners, axis=0))

    return write
