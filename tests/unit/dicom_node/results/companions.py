"""Parts of every kind of image for companions: two findings, one of low confidence, with something not seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from dicom_node.results.finding import ReadPart
from dicom_node.volumes.load import SeriesVolume, load_series
from tests.corpus.kinds import KINDS

COMPANION_KINDS = (
    "CT, axial",
    "MR, oblique",
    "Enhanced MR, measures per frame",
    "PET, a slope per slice",
    "CR",
    "DX",
    "DX, MONOCHROME1",
    "US, one frame",
    "US, cine",
    "ES",
)
"""Names of tests.corpus.kinds: slices, frames, projections, colour."""


def phantom(name: str, folder: Path) -> SeriesVolume:
    """The first part of a phantom."""
    kind = next(one for one in KINDS if one.name == name)
    return load_series(kind.write(folder).files).parts[0]


def marked(volume: SeriesVolume, read: Callable[..., ReadPart], **changes: object) -> ReadPart:
    """The part with an L and, of low confidence, the same to its right; its answer changed by `changes`."""
    shape = volume.values.shape[:3]
    mask = np.zeros(shape, dtype=bool)
    mask[:, shape[1] // 4 : shape[1] // 2, shape[2] // 4 : shape[2] // 4 + 5] = True
    mask[shape[0] // 2, shape[1] // 2 - 2 : shape[1] // 2, shape[2] // 4 : shape[2] // 2] = True
    part = read(volume, mask, np.roll(mask, shape[2] // 4, axis=2))
    first, second = part.findings
    doubtful = dataclasses.replace(second, low_confidence=True, measurements=(), confidence=0.3)
    answer = dataclasses.replace(part.answers[0], findings=(first, doubtful), **changes)  # type: ignore[arg-type]
    return dataclasses.replace(part, answers=(answer,))
