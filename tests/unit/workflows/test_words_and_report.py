"""The numbers in the words of an answer are those of its report."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from dicom_node.results.measurement import MeasurementKind, measure
from dicom_node.volumes.load import SeriesVolume
from dicom_node.volumes.rescale import HOUNSFIELD
from inference.interface import ImageContext, SeenTarget, SliceStack
from inference.reasoning.facts import FindingFacts, facts_of
from inference.reasoning.wording import size_text

SPACING = (3.0, 0.8, 0.7)


def both(mask: np.ndarray, *, images: bool = False) -> tuple[FindingFacts, dict[MeasurementKind, tuple[str, float]]]:
    values = np.random.default_rng(0).normal(40, 20, mask.shape).astype(np.float32)
    geometry = None if images else SimpleNamespace(slice_extents_mm=np.full(len(mask), SPACING[0]))
    volume = SimpleNamespace(
        values=values,
        geometry=geometry,
        pixel_spacing_mm=SPACING[1:],
        spacing_basis=None,
        unit=HOUNSFIELD,
        is_color=False,
        modality="CT",
        slices=[SimpleNamespace(frame_number=None)] * len(mask),
    )
    stack = SliceStack(values, "CT", SPACING, ImageContext(calibrated=True))
    [facts] = facts_of(stack, [SeenTarget("liver", 0.9, mask)])
    measured = measure(cast(SeriesVolume, volume), mask)
    return facts, {measurement.kind: (measurement.text, measurement.value) for measurement in measured}


def speckled(shape: tuple[int, int, int], seed: int, *, at_edge: bool) -> np.ndarray:
    mask = np.random.default_rng(seed).random(shape) < 0.4
    if not at_edge:
        mask[[0, -1]] = mask[:, [0, -1]] = mask[:, :, [0, -1]] = False
    return mask


@pytest.mark.parametrize("at_edge", [False, True])
def test_of_a_stack(at_edge: bool) -> None:
    facts, report = both(speckled((6, 20, 24), 1, at_edge=at_edge))

    assert size_text(facts, short=True) == report[MeasurementKind.VOLUME][0]
    assert facts.parts == report[MeasurementKind.PARTS][1]
    assert facts.mean_hu == pytest.approx(report[MeasurementKind.MEAN][1], rel=1e-6)


def test_of_a_single_image() -> None:
    mask = speckled((1, 20, 24), 2, at_edge=True)
    mask[0, [0, -1]] = mask[0, :, [0, -1]] = False
    facts, report = both(mask, images=True)

    area, unit = size_text(facts, short=True).split()
    assert (area, unit) == (report[MeasurementKind.AREA][0].split()[0], "mm²")
    assert facts.length_mm == pytest.approx(report[MeasurementKind.LONG_AXIS][1])
    assert facts.parts == report[MeasurementKind.PARTS][1]
