"""The recipes that ship are settings that can be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference.training.settings import read_settings

RECIPES = sorted((Path(__file__).parents[4] / "inference" / "training" / "recipes").glob("*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_can_be_read(path: Path) -> None:
    assert read_settings(path).out


def test_there_is_a_recipe_for_every_stage() -> None:
    assert {read_settings(path).stage for path in RECIPES} == {"grounding", "language", "compose", "joint"}
