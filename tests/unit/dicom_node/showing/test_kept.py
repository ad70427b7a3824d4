"""Stacks that were kept are those that the headers say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from dicom_node.errors import VolumeRefused
from dicom_node.showing.kept import keep_stacks, kept_stacks
from dicom_node.showing.stack import ShownStack, shown_stacks
from tests.corpus.kind import Kind
from tests.corpus.kinds import KINDS

MADE = [kind for kind in KINDS if kind.make is not None]


def _by_uid(files: list[Path]) -> dict[str, Path]:
    """Where each instance lies; of two files of one the first."""
    return {str(dcmread(path, stop_before_pixels=True, force=True).SOPInstanceUID): path for path in reversed(files)}


def _same(one: ShownStack, other: ShownStack) -> None:
    for name in ("slices", "rows", "columns", "color", "pixel_spacing_mm", "unit", "modality", "windows", "sides",
                 "name"):  # fmt: skip
        assert getattr(one, name) == getattr(other, name), name
    assert (one.geometry is None) == (other.geometry is None)
    if one.geometry is not None and other.geometry is not None:
        for name in ("positions", "right", "down", "slice_extents_mm"):
            np.testing.assert_array_equal(getattr(one.geometry, name), getattr(other.geometry, name))
        assert one.geometry.pixel_spacing_mm == other.geometry.pixel_spacing_mm
        assert one.geometry.frame_of_reference_uid == other.geometry.frame_of_reference_uid


@pytest.mark.parametrize("kind", MADE, ids=lambda kind: kind.name)
def test_kept_stacks_are_those_of_the_headers(kind: Kind, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    files = list(kind.write(tmp_path / "images").files)
    try:
        stacks = shown_stacks(files)
    except VolumeRefused:
        return  # there is nothing to keep
    if not keep_stacks(tmp_path / "slices.json", stacks):
        assert any(item.rescale.table is not None for stack in stacks for item in stack.slices)
        assert not (tmp_path / "slices.json").exists()
        return
    kept = kept_stacks(tmp_path / "slices.json", _by_uid(files))
    assert kept is not None
    assert len(kept) == len(stacks)
    for one, other in zip(kept, stacks, strict=True):
        _same(one, other)


def test_a_file_that_is_damaged_or_of_another_edition_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    files = list(MADE[0].write(tmp_path / "images").files)
    path = tmp_path / "slices.json"
    assert kept_stacks(path, {}) is None
    assert keep_stacks(path, shown_stacks(files))
    whole = path.read_text()
    assert kept_stacks(path, {}) is None, "an instance that is not there"
    for content in (whole[:-10], "[]", "{}", json.dumps({**json.loads(whole), "edition": 0})):
        path.write_text(content)
        assert kept_stacks(path, _by_uid(files)) is None
