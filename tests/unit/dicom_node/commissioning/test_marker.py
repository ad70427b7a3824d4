"""The marker: burnt into what can take it, where its coordinates say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from dicom_node.commissioning.marker import burn_in_marker
from dicom_node.volumes.load import load_series


@pytest.mark.parametrize("name", ["examples_overlay.dcm", "CT_small.dcm"])
def test_the_box_is_all_that_lies_above_nine_tenths_and_lies_where_it_says(name: str, tmp_path: Path) -> None:
    original = Path(str(get_testdata_file(name, download=False)))
    (copy,), markers = burn_in_marker([original], tmp_path)
    (marker,) = markers.values()
    (volume,) = load_series([copy]).parts
    assert volume.geometry is not None
    dataset = dcmread(copy)
    low, high = (0, 2**dataset.BitsStored - 1) if dataset.PixelRepresentation == 0 else (-(2**15), 2**15 - 1)
    (rows, columns) = np.nonzero(dataset.pixel_array > low + 0.9 * (high - low))
    for row, column, corner in ((rows.min(), columns.min(), marker.low), (rows.max(), columns.max(), marker.high)):
        assert np.allclose(volume.geometry.centres([[0, row, column]]), corner, atol=1e-3)
    assert dataset.SeriesInstanceUID != dcmread(original).SeriesInstanceUID


def test_what_has_no_place_colour_or_many_frames_takes_no_box(tmp_path: Path) -> None:
    names = ("examples_rgb_color.dcm", "examples_ybr_color.dcm", "examples_palette.dcm")
    files = [Path(str(get_testdata_file(name, download=False))) for name in names]
    assert burn_in_marker(files, tmp_path) == ([], {})
