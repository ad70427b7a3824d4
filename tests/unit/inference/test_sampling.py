"""Some of many, evenly spaced."""

from __future__ import annotations

import pytest

from inference.sampling import evenly_spaced


@pytest.mark.parametrize(
    ("most", "expected"),
    [(1, "a"), (2, "ag"), (3, "adg"), (4, "aceg"), (7, "abcdefg"), (9, "abcdefg"), (None, "abcdefg")],
)
def test_first_and_last_are_among_them_and_no_item_comes_twice(most: int | None, expected: str) -> None:
    assert "".join(evenly_spaced("abcdefg", most)) == expected


def test_none_of_none() -> None:
    assert evenly_spaced([], 3) == []
