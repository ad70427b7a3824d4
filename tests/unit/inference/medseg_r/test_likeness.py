"""Likeness, on points of our own making: sets that lie apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from inference.errors import CheckpointError
from inference.medseg_r.likeness import LIKENESS_FILE, Known, Likeness, image_features, pooled, rows_of
from inference.medseg_r.model import MedSegR

WIDTH = 20
PLACES = {"hearts": ("MR", 0.0), "brains": ("MR", 6.0), "livers": ("CT", -6.0)}


def rows(place: float, count: int, seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    random = np.random.default_rng(seed)
    return (random.normal(size=(count, WIDTH)) + place * np.linspace(-1, 1, WIDTH)).astype(np.float32)


def known(names: Sequence[str] = tuple(PLACES), held_out: int = 60) -> list[Known]:
    return [
        Known(
            name,
            PLACES[name][0],
            rows(PLACES[name][1], 150, seed),
            [f"{name} {number // 2}" for number in range(150)],  # two images of each patient
            np.arange(150) < held_out,
            labels=(name.removesuffix("s"),),
        )
        for seed, name in enumerate(names)
    ]


def test_known_images_are_alike_and_those_of_another_modality_are_not() -> None:
    likeness = Likeness.fit(known())
    hearts, livers = rows(0.0, 200, 9), rows(-6.0, 200, 10)
    assert (likeness.shares(hearts, "MR") < 0.05).mean() < 0.2
    assert np.median(likeness.shares(hearts, "MR")) > 0.3
    assert (likeness.shares(livers, "MR") < 0.02).all() and (likeness.shares(hearts, "CT") < 0.02).all()
    assert not likeness.shares(hearts, "US").any(), "nothing was learned of that modality"


def test_a_set_that_is_left_out_is_unlike_the_others_of_its_modality() -> None:
    likeness = Likeness.fit(known(["hearts", "livers"]))
    assert (likeness.shares(rows(6.0, 100, 11), "MR") < 0.02).all()


def test_a_label_is_as_alike_as_the_images_that_taught_it(tmp_path: Path) -> None:
    fitted, hearts = Likeness.fit(known()), rows(0.0, 50, 9)
    fitted.save(tmp_path)
    for likeness in (fitted, Likeness.load(tmp_path)):
        assert likeness is not None
        assert likeness.of(hearts, "MR", "heart") == likeness.of(hearts, "MR") > 0.3
        assert likeness.of(hearts, "MR", "brain") < 0.02, "other images of the modality taught it"
        assert likeness.of(hearts, "MR", "liver") > 0.3, "no set of the modality taught it: any counts"


@pytest.mark.parametrize("held_out", [0, 5])
def test_with_few_images_kept_out_training_images_set_the_scale(held_out: int) -> None:
    likeness = Likeness.fit(known(held_out=held_out))
    shares = likeness.shares(rows(0.0, 200, 9), "MR")
    assert (shares < 0.05).mean() < 0.2 and (likeness.shares(rows(-6.0, 50, 3), "MR") < 0.02).all()


def test_it_is_loaded_as_it_was_saved(tmp_path: Path) -> None:
    assert Likeness.load(tmp_path) is None
    likeness = Likeness.fit(known())
    likeness.save(tmp_path)
    loaded = Likeness.load(tmp_path)
    assert loaded is not None
    some = np.concatenate([rows(0.0, 20, 9), rows(3.0, 20, 9)])
    assert loaded.shares(some, "MR") == pytest.approx(likeness.shares(some, "MR"), abs=1e-5)
    path = tmp_path / LIKENESS_FILE
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=LIKENESS_FILE):
        Likeness.load(tmp_path)


def test_a_stack_is_as_alike_as_its_liker_slices(model: MedSegR) -> None:
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 255, (40, 50, 3), dtype=np.uint8) for _ in range(12)]
    with torch.inference_mode():
        tokens, embedding = image_features(model, pictures)
    features = pooled(tokens, embedding)
    assert features.shape == (12, 2 * (tokens.shape[2] + embedding.shape[1]))
    likeness = Likeness.fit([Known("noise", "US", features, [str(number) for number in range(12)], np.zeros(12, bool))])
    white = [np.full((40, 50, 3), 255, dtype=np.uint8)]
    assert likeness.of(rows_of(model, white), "US") < 0.02
    assert likeness.of(rows_of(model, [*white, *pictures[:3]]), "US") > 0.02, "most of it is alike"
