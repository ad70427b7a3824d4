"""Settings read from JSON: what they may be."""

from __future__ import annotations

import pytest

from inference.errors import CheckpointError
from inference.medseg_r.config import GroundingConfig, MedSegRConfig


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ([], "a model's settings"),
        (7, "a model's settings"),
        ({"grounding": 5}, "grounding"),
        ({"asked_slices": "16"}, "asked_slices"),
        ({"asked_slices": True}, "asked_slices"),
        ({"asked_slices": -1}, "asked_slices"),
        ({"grounding_storage": "floatx"}, "grounding_storage"),
        ({"language_dtype_gpu": ["float32"]}, "language_dtype_gpu"),
        ({"grounding": {"refined": 1}}, "refined"),
        ({"grounding": {"global_layers": 3}}, "global_layers"),
        ({"grounding": {"global_layers": ["a"]}}, "global_layers"),
        ({"grounding": {"pixel_channels": [48, 32]}}, "pixel_channels must be a list of 3"),
        ({"grounding": {"preprocessing": []}}, "preprocessing"),
        ({"colour": 1}, "colour"),
    ],
)
def test_a_setting_of_the_wrong_kind_is_named(values: object, named: str) -> None:
    with pytest.raises(CheckpointError, match=named):
        MedSegRConfig.from_json(values)  # type: ignore[arg-type]  # what a file may hold


def test_what_is_not_named_keeps_its_default() -> None:
    read = MedSegRConfig.from_json({"grounding": {"global_layers": [], "pixel_channels": [8, 8, 8]}})
    assert read == MedSegRConfig(grounding=GroundingConfig(global_layers=(), pixel_channels=(8, 8, 8)))
