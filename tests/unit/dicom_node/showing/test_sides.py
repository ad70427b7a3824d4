"""Letters on the sides of a picture."""

from __future__ import annotations

from dicom_node.showing.sides import Sides, sides_stated


def test_opposite_sides_have_opposite_letters() -> None:
    assert sides_stated(["P", "FL"]) == Sides(left="A", right="P", top="HR", bottom="FL")


def test_nobody_says() -> None:
    assert sides_stated([]) == sides_stated(["", ""]) == Sides()
