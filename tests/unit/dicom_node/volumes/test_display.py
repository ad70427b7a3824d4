"""What is turned for display is turned back exactly; made-up geometries stand as a reader expects them."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from dicom_node.volumes.display import DisplayView, display_view, image_sides
from dicom_node.volumes.load import SeriesVolume, load_series

VIEWS = [DisplayView(*flags) for flags in itertools.product([False, True], repeat=3)]
# Patient directions, LPS.
LEFT, POSTERIOR, HEAD = np.eye(3)


def made_up(along: Any, down: Any) -> SeriesVolume:
    """A volume whose rows run `along` and whose columns run `down`; slices ascend along their cross product."""
    direction = np.stack([np.cross(along, down), down, along], axis=1)
    return cast(
        SeriesVolume,
        SimpleNamespace(
            geometry=SimpleNamespace(direction=direction),
        ),
    )


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 3, 5, 3)])
def test_what_is_applied_is_restored(view: DisplayView, shape: tuple[int, ...]) -> None:
    values = np.arange(np.prod(shape)).reshape(shape)
    shown = view.apply(values)
    assert shown.shape[1:3] == ((5, 3) if view.transpose else (3, 5))
    assert (view.restore(shown) == values).all()
    assert shown.flags.c_contiguous and view.restore(shown).flags.c_contiguous


def test_the_eight_views_differ() -> None:
    values = np.arange(9).reshape(1, 3, 3)
    assert len({view.apply(values).tobytes() for view in VIEWS}) == 8


@pytest.mark.parametrize(
    ("name", "along", "down", "view"),
    [
        ("axial, supine", LEFT, POSTERIOR, DisplayView(False, False, False)),
        ("axial, prone", -LEFT, -POSTERIOR, DisplayView(False, True, True)),
        ("axial, decubitus", POSTERIOR, -LEFT, DisplayView(True, False, True)),
        ("axial, mirrored", -LEFT, POSTERIOR, DisplayView(False, False, True)),
        ("coronal", LEFT, -HEAD, DisplayView(False, False, False)),
        ("coronal, head down", LEFT, HEAD, DisplayView(False, True, False)),
        ("sagittal", POSTERIOR, -HEAD, DisplayView(False, False, False)),
        ("sagittal, face right", -POSTERIOR, -HEAD, DisplayView(False, False, True)),
        ("sagittal, lying", HEAD, POSTERIOR, DisplayView(True, True, False)),
    ],
)
def test_each_orientation_is_shown_as_a_reader_expects(name: str, along: Any, down: Any, view: DisplayView) -> None:
    assert display_view(made_up(along, down)) == view


@pytest.mark.parametrize("degrees", [-30, -10, 10, 30])
def test_an_oblique_series_is_shown_as_the_plane_it_is_nearest_to(degrees: float) -> None:
    tilt = np.radians(degrees)
    down = np.cos(tilt) * POSTERIOR + np.sin(tilt) * HEAD
    assert display_view(made_up(LEFT, down)) == DisplayView(False, False, False)
    assert display_view(made_up(-LEFT, -down)) == DisplayView(False, True, True)


@pytest.mark.parametrize("axes", list(itertools.permutations([LEFT, POSTERIOR, HEAD], 2)))
@pytest.mark.parametrize("signs", list(itertools.product([1, -1], repeat=2)))
def test_any_two_axes_are_shown_with_the_patients_left_or_back_on_the_right(
    axes: tuple[Any, Any], signs: tuple[int, int]
) -> None:
    along, down = axes[0] * signs[0], axes[1] * signs[1]
    view = display_view(made_up(along, down))
    shown_along, shown_down = (down, along) if view.transpose else (along, down)
    shown_along = -shown_along if view.flip_columns else shown_along
    shown_down = -shown_down if view.flip_rows else shown_down
    sagittal = abs(np.cross(along, down) @ LEFT) == 1
    assert (shown_along == (POSTERIOR if sagittal else LEFT)).all()
    axial = abs(np.cross(along, down) @ HEAD) == 1
    assert (shown_down == (POSTERIOR if axial else -HEAD)).all()


def test_without_patient_geometry_nothing_is_turned() -> None:
    volume = cast(SeriesVolume, SimpleNamespace(geometry=None))
    assert display_view(volume) == DisplayView(False, False, False)


@pytest.mark.parametrize(
    ("orientation", "sides"),
    [((1, 0, 0, 0, 1, 0), ("L", "P")), ((-1, 0, 0, 0, -1, 0), ("R", "A")), ((0, 1, 0, 0, 0, -1), ("P", "F"))],
)
def test_sides_of_the_patient(box_series, orientation, sides) -> None:
    assert image_sides(load_series(box_series(orientation).files).parts[0]) == sides


def test_sides_of_a_radiograph_are_those_its_header_states(shared_data) -> None:
    assert image_sides(load_series([shared_data / "dicom/highdicom/data/test_files/dx_image.dcm"]).parts[0]) == (
        "L",
        "F",
    )
    pattern = "dicom/cornerstone3D/packages/dicomImageLoader/testImages/TestPattern_RGB.dcm"
    assert image_sides(load_series([shared_data / pattern]).parts[0]) is None
