"""Single slices are those of a whole read, pixel by pixel, for every kind of image that is read."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from dicom_node.commissioning.body import Body, make_body
from dicom_node.errors import VolumeRefused
from dicom_node.showing.stack import shown_stacks
from dicom_node.volumes.display import display_view
from dicom_node.volumes.load import load_series
from tests.corpus.kind import Kind
from tests.corpus.kinds import KINDS

MADE = [kind for kind in KINDS if kind.make is not None]


@pytest.mark.parametrize("kind", MADE, ids=lambda kind: kind.name)
def test_each_slice_is_that_of_the_whole_series(kind: Kind, tmp_path: Path) -> None:
    files = list(kind.write(tmp_path).files)
    try:
        parts = load_series(files).parts
    except VolumeRefused as refused:
        with pytest.raises(VolumeRefused) as shown:
            for stack in shown_stacks(files):  # a slice without pixels refuses, the others are shown
                for index in range(len(stack.slices)):
                    stack.values(index)
        assert shown.value.reason is refused.reason
        return
    stacks = shown_stacks(files)
    assert [stack.name for stack in stacks] == [part.name for part in parts]
    for stack, part in zip(stacks, parts, strict=True):
        whole = display_view(part).apply(part.values)
        assert (len(stack.slices), stack.rows, stack.columns) == part.values.shape[:3]
        assert (stack.pixel_spacing_mm, stack.spacing_mm) == (part.pixel_spacing_mm, part.spacing_mm)
        for index in {0, len(stack.slices) // 2, len(stack.slices) - 1}:
            np.testing.assert_array_equal(stack.displayed(index), whole[index])


@pytest.fixture(scope="module")
def body(tmp_path_factory: pytest.TempPathFactory) -> Body:
    return make_body(tmp_path_factory.mktemp("body"), "sides", datetime(2026, 11, 1, tzinfo=UTC))


def _sides(body: Body, name: str) -> tuple[str, str, str, str]:
    (stack,) = shown_stacks([path for path in body.files if path.name.startswith(name)])
    return stack.sides.left, stack.sides.right, stack.sides.top, stack.sides.bottom


def test_letters_of_an_axial_stack_are_the_convention(body: Body) -> None:
    assert _sides(body, "axial") == ("R", "L", "A", "P")
    assert _sides(body, "tilted")[:2] == ("R", "L")


def test_an_oblique_stack_has_further_letters(body: Body) -> None:
    left, right, top, bottom = _sides(body, "oblique")
    assert (left[0], right[0], top[0], bottom[0]) == ("R", "L", "A", "P")
    assert len(left) > 1


def test_letters_of_a_radiograph_are_what_its_header_states(body: Body) -> None:
    assert _sides(body, "projection") == ("R", "L", "H", "F")
