"""Each kind of input is answered or refused as it should be, something marked in it, and CONFORMANCE.md says so."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from dicom_node.results.profiles import Profile
from tests.corpus.conformance import row, rows_in
from tests.corpus.kind import Kind, Sample, described
from tests.corpus.kinds import KINDS
from tests.corpus.outcomes import Outcome, OutcomeKind, ask_once
from tests.corpus.phantom import BRIGHT, Block
from tests.corpus.predictors import bright
from tests.corpus.stored import StoredFrame

PHANTOMS = [kind for kind in KINDS if kind.make is not None]
REAL = [kind for kind in KINDS if kind.real is not None]
HOUNSFIELD = "[hnsf'U]"
LIKE_ANOTHER = {
    "A localizer among CT slices",
    "Breast tomosynthesis",
    "CR",
    "CR with Patient Orientation empty",
    "CR with Pixel Spacing alone",
    "CR, two views in a series",
    "CT without rescale",
    "CT, Modality missing",
    "CT, Slice Thickness missing",
    "CT, a wide gap that instance numbers go on across",
    "CT, gantry tilt",
    "CT, two acquisitions of the same planes",
    "DX",
    "DX, MONOCHROME1",
    "Enhanced CT, measures shared",
    "Enhanced MR, several instances in a series",
    "Enhanced MR, two stacks",
    "IO",
    "Intravascular OCT",
    "MR, oblique",
    "MR, three phases by Temporal Position Identifier",
    "MR, two b-values",
    "MR, two stacks of other orientation",
    "OP",
    "Ophthalmic tomography with plane positions",
    "Ophthalmic tomography without plane positions",
    "RF, cine",
    "RT image",
    "Secondary Capture",
    "Secondary Capture, several frames",
    "Transfer syntax HTJ2K lossless (.201)",
    "US, cine",
    "US, one frame",
    "US, several images in a series",
    "US, spacing by region",
    "US, the retired class of several frames",
    "VL microscopic",
    "VL photographic",
    "XA, cine",
}
"""Kinds that are read as another one is; the tests that are always run leave them out to be quick."""


def rows(checkout: Path) -> dict[str, tuple[str, ...]]:
    return {cells[0]: cells for cells in rows_in(checkout / "CONFORMANCE.md")}


def test_the_table_has_a_row_for_each_kind_in_order(checkout: Path) -> None:
    assert list(rows(checkout)) == [kind.name for kind in KINDS]


@pytest.mark.parametrize(
    "profile", [pytest.param(Profile.AIR, marks=pytest.mark.slow), Profile.OHIF], ids=lambda profile: profile.value
)
@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=[pytest.mark.slow] * (kind.name in LIKE_ANOTHER), id=kind.name) for kind in PHANTOMS],
)
def test_a_phantom_of_each_kind(checkout: Path, tmp_path: Path, kind: Kind, profile: Profile) -> None:
    sample = kind.write(tmp_path)
    outcome = ask_once(sample.files, bright, profile, overlay=profile is Profile.AIR)
    if sample.reason:
        assert (outcome.kind, outcome.reason) == (OutcomeKind.REFUSED, sample.reason), outcome.detail
        assert [words for words in sample.says if words not in outcome.detail] == []
    else:
        assert outcome.kind is OutcomeKind.ANSWERED, f"{outcome.name}: {outcome.detail}"
        check_parts(outcome, sample.parts)
        check_hounsfield_units(outcome, sample)
        assert [one["reason"] for one in outcome.left_out] == list(sample.left_out)
    if kind.real is None:
        assert rows(checkout)[kind.name] == (kind.name, *(cell or "-" for cell in described(outcome)), "synthetic")


@pytest.mark.slow
@pytest.mark.parametrize("kind", REAL, ids=lambda kind: kind.name)
def test_a_real_example_of_a_kind(checkout: Path, shared_data: Path, kind: Kind) -> None:
    assert rows(checkout)[kind.name] == row(kind, shared_data)


def check_parts(outcome: Outcome, expected: Sequence[Block]) -> None:
    """Every part has the voxels of its block, in its place in the patient, and their volume."""
    assert sorted(outcome.marked) == sorted(block.voxels for block in expected)
    found = sorted(
        ((points_of(frames), part) for frames, part in zip(outcome.frames, parts_of(outcome), strict=True)),
        key=lambda pair: key(pair[0].min(axis=0) if len(pair[0]) else None),
    )
    blocks = sorted(expected, key=lambda block: key(block.low))
    for (points, part), block in zip(found, blocks, strict=True):
        if block.low is None or block.high is None:
            assert len(points) == 0
            continue
        np.testing.assert_allclose(points.min(axis=0), block.low, atol=0.05)
        np.testing.assert_allclose(points.max(axis=0), block.high, atol=0.05)
        assert block.volume_ml is not None
        assert measured(part)["volume"]["value"] == pytest.approx(float(f"{block.volume_ml:.2g}"))


def check_hounsfield_units(outcome: Outcome, sample: Sample) -> None:
    """The block's value where a file says HU; nothing in Hounsfield units where none does."""
    elements = (element for file in sample.files for element in pydicom.dcmread(file).iterall())
    said = any(element.keyword == "RescaleType" and element.value == "HU" for element in elements)
    means = [
        numbers["mean"]["value"]
        for numbers in map(measured, parts_of(outcome))
        if "mean" in numbers and numbers["mean"]["unit"] == HOUNSFIELD
    ]
    in_the_patient = [block for block in sample.parts if block.low is not None]
    assert means == [BRIGHT - 1024] * len(in_the_patient) * said


def parts_of(outcome: Outcome) -> list[dict[str, Any]]:
    assert outcome.answer is not None
    return list(outcome.answer["parts"])


def measured(part: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The measurements of a part's only finding by their kind."""
    (finding,) = part["findings"]
    return {measurement["kind"]: measurement for measurement in finding["measurements"]}


def points_of(frames: Sequence[StoredFrame]) -> np.ndarray:
    return np.concatenate([np.empty((0, 3)), *(frame.points for frame in frames)])


def key(low: np.ndarray | None) -> tuple[float, ...]:
    """Parts without a place in the patient come first."""
    return () if low is None else tuple(np.round(low, 1))
