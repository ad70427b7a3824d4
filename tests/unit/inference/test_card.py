from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from inference.card import CARD_FILE, LabelCode, ModelCard, card_from_json, card_to_json, read_card, write_card
from inference.errors import CheckpointError
from tests.unit.inference.fake_model import CARD, learned


def test_a_card_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_card(tmp_path) is None
    card = ModelCard(
        labels=CARD.labels,
        windows={"CT": (-160.0, 240.0)},
        codes={"liver": LabelCode("10200004", "SCT", "Liver")},
        likeness_limits=(0.02, 0.1),
        letters={"liver": ("R", "L", "A", "P")},
        languages=("en", "de"),
    )
    write_card(tmp_path, card)
    assert read_card(tmp_path) == card
    assert card.learned("left ventricle cavity", "CT") == () and len(card.learned("liver")) == 1


def changed(*path: str | int, value: object) -> dict[str, Any]:
    stated: Any = deepcopy(card_to_json(CARD))
    place = stated
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return stated  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("stated", "named"),
    [
        ([], "the card"),
        ({}, "labels"),
        (changed("labels", value=[]), "labels is empty"),
        (changed("labels", 1, "modality", value=""), r"labels\[1\].modality"),
        (changed("labels", 1, "kind", value="drawing"), r"labels\[1\].kind must be one of section"),
        (changed("labels", 1, "regions", value=["tail"]), r"labels\[1\].regions"),
        (changed("labels", 1, "images", value=-1), r"labels\[1\].images"),
        (changed("labels", 1, "least_confidence", value=1.5), r"labels\[1\].least_confidence"),
        (changed("labels", 1, value=card_to_json(CARD)["labels"][0]), "twice"),
        (changed("windows", value={"CT": [240, -160]}), "windows.CT"),
        (changed("windows", value={"CT": [float("nan"), 1]}), "windows.CT"),
        (changed("codes", value={"liver": {"value": "1", "scheme": "SCT"}}), "codes.liver.meaning"),
        (changed("likeness_limits", value=[0.1, 2]), "likeness_limits"),
        (changed("letters", value={"liver": ["R", "R", "A", "P"]}), "letters.liver"),
        (changed("languages", value="en"), "languages"),
        (changed("learned", value=1), "learned is no key"),
    ],
)
def test_what_a_card_cannot_say_is_named(stated: object, named: str, tmp_path: Path) -> None:
    (tmp_path / CARD_FILE).write_text(json.dumps(stated))
    with pytest.raises(CheckpointError, match=f"{CARD_FILE}: {named}" if named != "twice" else named):
        read_card(tmp_path)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / CARD_FILE).write_text('{"labels": [')
    with pytest.raises(CheckpointError, match=f"{CARD_FILE} is not readable JSON"):
        read_card(tmp_path)


def test_a_model_that_takes_any_label_needs_to_list_none() -> None:
    assert card_from_json({"open_set": True}).open_set
    assert card_from_json({"open_set": True, "labels": card_to_json(ModelCard((learned("liver"),)))["labels"]}).labels
