"""Codes that a model brings along."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from inference.adapters import totalsegmentator
from inference.answering import AnsweringPredictor
from inference.card import LabelCode, ModelCard
from inference.errors import CheckpointError
from inference.interface import Question
from inference.labels import LABELS_FILE, read_codes, with_codes
from tests.unit.inference.fake_model import FakeModel, stack

CYST = {"value": "367643001", "scheme": "SCT", "meaning": "Cyst", "category": "abnormality"}


def test_codes_beside_a_checkpoint_reach_its_targets(tmp_path: Path) -> None:
    assert with_codes(ModelCard(), tmp_path) == ModelCard()
    (tmp_path / LABELS_FILE).write_text(json.dumps({"renal cyst": CYST, "kidney left": CYST | {"side": "left"}}))
    card = with_codes(ModelCard(codes={"renal cyst": LabelCode("1", "DCM", "old")}), tmp_path)
    asked = [Question("?", labels=("renal cyst",)), Question("?", labels=("other",))]
    model = FakeModel({"renal cyst": 0.9, "other": 0.9}, card=replace(card, open_set=True))
    cyst, other = AnsweringPredictor(model).answer(stack(), asked)
    assert cyst.targets[0].code == LabelCode(**CYST)
    assert other.targets[0].code is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "no object of labels"),
        ("{", "not readable JSON"),
        (json.dumps({"a": CYST | {"scheme": "SNOMED"}}), "'a': scheme 'SNOMED' is not known; write one of DCM"),
        (json.dumps({"a": CYST | {"value": ""}}), "'a' lacks value"),
        (json.dumps({"a": CYST | {"value": 7}}), "value is no text"),
        (json.dumps({"a": CYST | {"value": "9" * 17}}), "value is longer than 16"),
        (json.dumps({"a": CYST | {"side": "both"}}), "side is left, right or nothing"),
        (json.dumps({"a": CYST, "b": CYST | {"meaning": "other"}}), "'b' and 'a' have the same code"),
        ('{"a": {}, "a": {}}', "'a' stands twice"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / LABELS_FILE).write_text(text)
    with pytest.raises(CheckpointError, match=said):
        read_codes(tmp_path / LABELS_FILE)


def test_an_adapters_own_labels_are_a_good_file() -> None:
    codes = read_codes(Path(totalsegmentator.__file__).with_suffix(".json"))
    assert len(codes) == 117
    assert codes["kidney left"] == LabelCode("64033007", "SCT", "Kidney", "anatomy", "left")


def test_an_adapter_says_what_it_needs() -> None:
    with pytest.raises(CheckpointError, match="not installed here"):
        totalsegmentator.TotalSegmentator()
