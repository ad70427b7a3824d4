"""The conformance suite passes what does what it must, here or elsewhere, and finds what a double does wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from inference.conformance.phantom import Sample, turned
from inference.conformance.rows import Checked, Outcome, Verdict
from inference.conformance.suite import check_conformance, table
from inference.interface import SeenTarget, SliceStack
from inference.remote import open_remote


def checked(model: Any, sample: Sample, within_s: float = 100.0) -> dict[str, Verdict]:
    return check_conformance(Checked(model, lambda: model.description, sample), within_s)


def failed(verdicts: dict[str, Verdict]) -> list[str]:
    return [name for name, verdict in verdicts.items() if verdict.outcome is Outcome.FAIL]


def test_a_model_that_does_what_it_must_passes_each_row_elsewhere_too(
    serving: Callable[..., str], doubles: ModuleType, sample: Sample
) -> None:
    for model in (doubles.Threshold(), open_remote(serving(doubles.Threshold()))):
        verdicts = checked(model, sample)
        assert {verdict.outcome for verdict in verdicts.values()} <= {Outcome.PASS}, table(verdicts)


def test_one_that_mirrors_fails_where_sides_are_looked_at(doubles: ModuleType, sample: Sample) -> None:
    verdicts = checked(doubles.Mirrored(), sample)
    assert failed(verdicts) == ["place", "left and right"]
    assert "reversed along columns" in verdicts["place"].why


@pytest.mark.parametrize("row", ["shapes", "determinism", "orientation", "absent", "bad input", "card"])
def test_each_row_finds_its_own_fault(doubles: ModuleType, sample: Sample, row: str) -> None:
    class Faulty(doubles.Threshold):  # type: ignore[misc,name-defined]
        asked = 0
        if row == "card":
            card = None

        def _target(self, stack: SliceStack, label: str) -> SeenTarget | None:
            self.asked += 1
            target: SeenTarget | None = super()._target(stack, label)
            everywhere = np.ones(stack.values.shape[:3], dtype=np.bool_)
            if target is None:
                return SeenTarget(label, 0.9, everywhere) if row == "absent" else None
            fixed = stack.context.affine is not None and stack.context.affine[2][0] < 0
            mask = {
                "shapes": target.mask.astype(np.uint8),
                "determinism": np.roll(target.mask, self.asked, 0),
                "orientation": target.mask if fixed else target.mask[::-1],
            }.get(row, target.mask)
            return SeenTarget(label, 0.9, mask)

        def locate(self, stack: SliceStack, labels: Sequence[str], **_: Any) -> tuple[SeenTarget | None, ...]:
            if row != "bad input" and not np.isfinite(stack.values).all():
                from inference.errors import InputRefused

                raise InputRefused("no number")
            return tuple(self._target(stack, label) for label in labels)

    assert row in failed(checked(Faulty(), sample))


def test_one_that_does_not_answer_ends_the_suite(doubles: ModuleType, sample: Sample) -> None:
    doubles.Waiting.released.clear()
    try:
        verdicts = checked(doubles.Waiting(), sample, within_s=0.3)
        assert failed(verdicts) == ["shapes", "time-out"]
        assert verdicts["memory"] == Verdict(Outcome.UNDECIDED, "not run")
    finally:
        doubles.Waiting.released.set()


def test_a_turned_sample_keeps_where_its_voxels_lie(sample: Sample) -> None:
    for axes in ((0,), (1, 2)):
        other = turned(sample, axes)
        for affine, index in ((sample.stack.context.affine, (3, 5, 7)), (other.stack.context.affine, None)):
            if index is None:
                shape = sample.stack.values.shape
                index = tuple(shape[a] - 1 - i if a in axes else i for a, i in enumerate((3, 5, 7)))
            place = np.asarray(affine) @ [*index, 1]
            assert np.allclose(place, np.asarray(sample.stack.context.affine) @ [3, 5, 7, 1])
