"""A finding has one colour everywhere, bright on dark and unlike any other's."""

from __future__ import annotations

import itertools

import highdicom as hd
import numpy as np
import pytest

from dicom_node.results.codes import COMMISSIONING_CONCEPT, LABELS, UNSIDED
from dicom_node.results.colours import cielab_of, colour_of, hex_of

KNOWN = (*LABELS, *UNSIDED, COMMISSIONING_CONCEPT.label)


def test_no_two_labels_look_alike() -> None:
    """Two colours 2.3 apart in CIELab can just be told apart side by side; here they never stand side by side."""
    lab = {
        label: np.array([value.l_star, value.a_star, value.b_star]) for label in KNOWN for value in [cielab_of(label)]
    }
    closest = min(float(np.linalg.norm(lab[a] - lab[b])) for a, b in itertools.combinations(KNOWN, 2))
    assert closest > 15


@pytest.mark.parametrize("label", KNOWN)
def test_it_shows_on_a_dark_image(label: str) -> None:
    """Contrast of 4.5 : 1 or more with black, as WCAG 2.2 (1.4.3) asks of text."""
    parts = np.array(colour_of(label)) / 255
    linear = np.where(parts > 0.04045, ((parts + 0.055) / 1.055) ** 2.4, parts / 12.92)
    assert (float(linear @ (0.2126, 0.7152, 0.0722)) + 0.05) / 0.05 > 4.5
    assert max(colour_of(label)) - min(colour_of(label)) > 60  # no grey, which images are made of


@pytest.mark.parametrize("label", [*KNOWN, "a label of a site's own"])
def test_every_way_to_write_it_means_the_same(label: str) -> None:
    assert hd.color.CIELabColor(*_scaled(label)).to_rgb() == colour_of(label)
    assert hex_of(label) == "#{:02x}{:02x}{:02x}".format(*colour_of(label))


def _scaled(label: str) -> tuple[float, float, float]:
    """From the numbers that stand in a SEG, by PS3.3 C.10.7.1.1."""
    l_star, a_star, b_star = (value / 65535 for value in cielab_of(label).value)
    return l_star * 100, a_star * 255 - 128, b_star * 255 - 128


@pytest.mark.parametrize(("one", "other"), [
    ("spleen", "aorta"), ("spleen", "stomach"), ("spleen", "kidney left"), ("spleen", "pancreas"), ("aorta", "stomach"),
    ("aorta", "inferior vena cava"), ("aorta", "esophagus"), ("aorta", "pancreas"), ("liver", "gallbladder"),
    ("liver", "stomach"), ("liver", "kidney right"), ("inferior vena cava", "kidney right"), ("aorta", "kidney left"),
])  # fmt: skip
def test_neighbours_in_the_abdomen_differ_in_hue(one: str, other: str) -> None:
    hues = [float(np.degrees(np.arctan2(value.b_star, value.a_star))) for value in map(cielab_of, (one, other))]
    assert abs((hues[0] - hues[1] + 180) % 360 - 180) > 19


def test_a_label_that_nobody_knows_has_a_colour_too() -> None:
    assert colour_of("a label of a site's own") == colour_of("a label of a site's own")
    assert hex_of("") in {hex_of(label) for label in KNOWN}
