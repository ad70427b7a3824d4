"""A picture of a finding has the window that shows it, and says which slice it is."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dicom_node.results.figures import figures
from tests.unit.dicom_node.results.loading import only_part


@pytest.mark.parametrize(
    ("hounsfield", "window"), [(-800.0, "window -1350 to 150 HU"), (60.0, "window -160 to 240 HU")]
)
def test_what_is_mostly_air_is_shown_in_the_lung_window(hounsfield, window, box_series, read) -> None:
    volume = only_part(box_series().files)
    mask = np.zeros(volume.values.shape, dtype=bool)
    mask[3:5, 8:16, 8:20] = True
    mask[4, 16, 8:20] = True
    values = np.where(mask, np.float32(hounsfield), volume.values)
    (figure,) = figures([read(dataclasses.replace(volume, values=values), mask)])
    assert figure.title == "Liver"
    assert window in figure.lines[1]
    number = volume.slices[4].header.InstanceNumber
    assert f"slice 5 of 9, its largest, image {number}" in figure.lines[1]
