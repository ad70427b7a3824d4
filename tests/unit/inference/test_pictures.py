"""From values to pictures, and masks back."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from inference.pictures import DISPLAY_LETTERS, PictureView, Turn, body_box, choose_window, turn_between, view_of

TURNS = [Turn(*ways) for ways in product((False, True), repeat=3)]


def test_ct_is_shown_like_the_images_it_learned_from() -> None:
    values = np.array([[[-2000.0, -1024.0, 110.0, 5000.0]]], dtype=np.float32)
    assert view_of(values, "CT", {}).picture(values[0])[0, :, 0].tolist() == [0, 0, 136, 255]
    assert view_of(values, "CT", {"CT": (-160.0, 240.0)}).picture(values[0])[0, :, 0].tolist() == [0, 0, 172, 255]


def test_mr_is_shown_between_percentiles_of_the_whole_stack() -> None:
    values = np.linspace(0, 1000, 4 * 50 * 50, dtype=np.float32).reshape(4, 50, 50)
    values[0, 0, 0] = 1e6
    limits = choose_window(values, "MR", {"CT": (-160.0, 240.0)})
    assert limits is not None
    assert limits[0] == pytest.approx(5, abs=1)
    assert limits[1] == pytest.approx(995, abs=1)


def test_rgb_is_shown_as_it_is() -> None:
    values = np.random.default_rng(0).integers(0, 256, (2, 20, 24, 3), dtype=np.uint8)
    view = view_of(values, "CT", {})
    assert view.limits is None
    assert (view.picture(values[1]) == values[1]).all()


@pytest.mark.parametrize("turn", TURNS)
def test_a_mask_on_a_picture_comes_back_to_where_it_was(turn: Turn) -> None:
    true = np.zeros((40, 60), dtype=np.bool_)
    true[12:20, 30:34] = True
    view = PictureView((0.0, 1.0), (10, 35, 20, 50), (40, 60), turn)
    picture = view.picture(true.astype(np.float32))
    assert picture.shape == (*view.size, 3)
    assert (view.back(picture[..., 0] > 127) == true).all()


def _phantom(slices: int = 5) -> np.ndarray:
    """A trunk with an arm that touches it, on a thin table: HU."""
    rows, columns = np.mgrid[:256, :256]
    values = np.full((slices, 256, 256), -1000.0, dtype=np.float32)
    values[:, ((rows - 128) / 60) ** 2 + ((columns - 128) / 80) ** 2 < 1] = 40
    values[:, (rows - 128) ** 2 + (columns - 223) ** 2 < 15**2] = 40
    values[:, 200:203, 10:246] = 200
    values[:, 100:120, 100:120] = -1000  # gas
    return values


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_the_body_is_cut_out_whole_without_table_and_arms(modality: str) -> None:
    first_row, rows_end, first_column, columns_end = body_box(_phantom(), modality)
    assert 50 < first_row <= 68 and 188 <= rows_end < 200
    assert 30 < first_column <= 48 and 208 <= columns_end < 225


def test_what_is_no_body_on_a_ct_is_kept_whole() -> None:
    noise = np.random.default_rng(0).normal(-1000, 20, (3, 64, 80)).astype(np.float32)
    assert body_box(noise, "CT") == (0, 64, 0, 80)
    assert body_box(_phantom(), "US") == (0, 256, 0, 256)
    filled = np.full((2, 64, 80), 40, dtype=np.float32)
    assert body_box(filled, "CT") == (0, 64, 0, 80)


@pytest.mark.parametrize("turn", TURNS)
def test_a_turn_is_known_by_what_lies_at_the_sides(turn: Turn) -> None:
    sides = np.full((3, 3), "", dtype=object)
    sides[1, 0], sides[1, 2], sides[0, 1], sides[2, 1] = DISPLAY_LETTERS
    turned = turn.apply(sides)
    learned = (turned[1, 0], turned[1, 2], turned[0, 1], turned[2, 1])
    assert turn_between(DISPLAY_LETTERS, learned) == turn


def test_no_turn_leads_to_another_plane_or_from_the_unknown() -> None:
    assert turn_between(("R", "L", "H", "F"), DISPLAY_LETTERS) is None
    assert turn_between(("", "", "", ""), DISPLAY_LETTERS) is None
    assert turn_between(("RF", "LH", "AF", "PH"), DISPLAY_LETTERS) == Turn()
