"""Windows of headers and modalities, and values through them."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from pydicom.dataset import Dataset

from dicom_node.showing.pictures import raw_slice
from dicom_node.showing.windows import Window, full_range, shown_grey, turned, windows_of


def _header(**values: object) -> Dataset:
    header = Dataset()
    for keyword, value in values.items():
        setattr(header, keyword, value)
    return header


def test_a_ct_has_the_usual_windows_and_those_of_its_header() -> None:
    header = _header(WindowCenter=[50, -500], WindowWidth=[350, 1400], WindowCenterWidthExplanation=["ABDOMEN", "LUNG"])
    windows = windows_of(header, None, "CT")
    assert windows[0] == Window("Soft tissue", 40, 400)
    assert Window("Abdomen", 50, 350) in windows
    assert Window("Lung", -500, 1400) in windows


@pytest.mark.parametrize("values", [{"WindowCenter": 10, "WindowWidth": 0}, {"WindowCenter": [1, 2], "WindowWidth": 5}])
def test_what_is_no_window_is_passed_over(values: dict[str, object]) -> None:
    assert windows_of(_header(**values), None, "MR") == ()


def test_a_table_is_shown_as_the_window_that_it_spans() -> None:
    table = _header(LUTDescriptor=[1000, 100, 16], LUTData=[0] * 200 + list(range(600)) + [600] * 200)
    (window,) = windows_of(_header(VOILUTSequence=[table]), None, "DX")
    assert window.centre == pytest.approx(100 + 500, abs=5)
    assert window.width == pytest.approx(590, abs=15)


def test_the_ends_of_a_window_are_black_and_white() -> None:
    values = np.array([-161, -160, 40, 240, 900, np.nan], dtype=np.float32)
    assert shown_grey(values, Window("", 40, 400)).tolist() == [0, 0, 128, 255, 255, 0]


def test_a_turned_image_has_a_turned_window() -> None:
    assert turned(Window("As sent", 1000, 300), 0, 4095) == Window("As sent", 3095, 300)


def test_the_full_range_of_a_flat_slice_is_a_window() -> None:
    assert full_range(np.full((8, 8), 7, dtype=np.float32)).width > 0


@pytest.mark.parametrize(
    ("values", "kind"),
    [([-1024, 3071], "int16"), ([0, 65535], "uint16"), ([0.5, 2], "float32"), ([-70000, 1], "float32")],
)
def test_values_come_in_the_smallest_kind_that_holds_them(values: list[float], kind: str) -> None:
    sent = np.array([values], dtype=np.float32)
    raw = raw_slice(sent)
    codes = {"int16": "<i2", "uint16": "<u2", "float32": "<f4"}
    assert (raw.kind, raw.rows, raw.columns) == (kind, 1, 2)
    np.testing.assert_array_equal(np.frombuffer(gzip.decompress(raw.content), codes[kind]), sent[0])
