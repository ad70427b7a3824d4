"""Cards made from a set, and from which confidence a label is claimed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from inference.card import ImageKind, Plane, Region
from inference.cli import app
from inference.medseg_r.checkpoint import load_checkpoint, set_card
from inference.training.card import LIKENESS_LIMITS
from inference.training.least_confidence import Looked, claimed_from, least_confidences, looked_for
from tests.unit.inference.fake_model import CARD, FakeModel

run = CliRunner()


def test_the_command_notes_what_a_set_showed(make_qa: Callable[[], Path], checkpoint_folder: Path) -> None:
    qa = str(make_qa())
    done = run.invoke(app, ["card", "--checkpoint", str(checkpoint_folder), "--qa", qa, "--device", "cpu", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    loaded = load_checkpoint(checkpoint_folder, accept_research_use=True)  # whole: its digest fits
    assert loaded.card is not None and loaded.likeness is not None
    assert (told["digest"], loaded.card.likeness_limits) == (loaded.description.digest, LIKENESS_LIMITS)
    [liver] = loaded.card.labels  # two images show a spleen, too few to have learned it
    assert (liver.label, liver.modality, liver.kind, liver.images) == ("liver", "CT", ImageKind.SECTION, 4)
    assert liver.regions == {Region.ABDOMEN, Region.CHEST} and liver.planes == {Plane.AXIAL}
    printed = run.invoke(app, ["info", str(checkpoint_folder), "--verify"])
    assert re.search(r"^learned CT +liver$", printed.stdout, re.MULTILINE), printed.stdout
    refused = run.invoke(app, ["card", "--checkpoint", "tiny", "--qa", qa])
    assert refused.exit_code == 2 and "copy its folder" in refused.output


def test_a_new_card_keeps_what_no_set_says(make_qa: Callable[[], Path], checkpoint_folder: Path) -> None:
    set_card(checkpoint_folder, replace(CARD, windows={"PT": (0.0, 12.0)}, languages=("en", "de")), None)
    called = ["card", "--checkpoint", str(checkpoint_folder), "--qa", str(make_qa()), "--device", "cpu"]
    assert run.invoke(app, called).exit_code == 0
    card = load_checkpoint(checkpoint_folder, accept_research_use=True).card
    assert card is not None and card.known_labels == ("liver",)
    assert card.windows == {"CT": (-1024.0, 1100.0), "PT": (0.0, 12.0)} and card.languages == ("en", "de")


def _looked(confidences: list[float], dice: float | None, label: str = "liver") -> list[Looked]:
    return [Looked(label, "CT", str(number), value, dice) for number, value in enumerate(confidences)]


def test_the_bar_refuses_most_images_without_the_label() -> None:
    without = [0.0] * 4 + [0.3, 0.35, 0.4, 0.45, 0.5, 0.7]
    looked = _looked(without, None) + _looked([0.6, 0.8, 0.9, 0.9], 0.8)
    [(key, bar)] = least_confidences(looked, specificity=0.9).items()
    assert key == ("liver", "CT") and 0.5 < bar < 0.6
    assert claimed_from(CARD, {key: bar}).learned("liver")[0].least_confidence == bar


@pytest.mark.parametrize(
    ("without", "there"),
    [
        ([0.0] * 9 + [0.7], [0.8] * 9),  # refused already
        ([0.9] * 10, [0.8] * 9),  # nothing to be had but for every mask
        ([0.9] * 4, [0.95] * 9),  # too few to say
    ],
)
def test_no_bar_where_none_is_needed_or_it_costs_too_much(without: list[float], there: list[float]) -> None:
    assert least_confidences(_looked(without, None) + _looked(there, 0.8)) == {}


def test_labels_of_a_split_are_looked_for_where_they_are_and_where_they_are_not(make_qa: Callable[[], Path]) -> None:
    looked = looked_for(FakeModel({"liver": 0.9}), make_qa(), "test")
    livers = [one for one in looked if one.label == "liver"]
    assert len(livers) == 2 and all(one.confidence == 0.9 and one.dice is not None for one in livers)
    kidneys = [one for one in looked if one.label == "kidney left"]
    assert len(kidneys) == 6, "too few images of the split lack one, so four training images are looked through"
    assert all((one.confidence, one.dice) == (0.0, None) for one in kidneys)
    assert np.all([one.modality == "CT" for one in looked])
