"""A series with one part, as its volume."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dicom_node.volumes.load import SeriesVolume, load_series


def only_part(paths: Sequence[Path]) -> SeriesVolume:
    (volume,) = load_series(paths).parts
    return volume
