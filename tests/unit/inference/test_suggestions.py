"""Names that may have been meant."""

from __future__ import annotations

import pytest

from inference.suggestions import similar_name


@pytest.mark.parametrize(("name", "expected"), [("widht", "width"), ("layer", "layers"), ("zzz", None)])
def test_the_most_similar_name_is_suggested_and_none_where_nothing_is_alike(name: str, expected: str | None) -> None:
    assert similar_name(name, iter(["width", "layers", "heads"])) == expected
