"""Which files `ask` looks at, and what it says of the others."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from inference.interface import (
    Answer,
    NotAssessed,
    NotAssessedReason,
    PredictorDescription,
    Question,
    SeenTarget,
    SliceStack,
)
from workflows.commands.ask import ask, look_for_series
from workflows.errors import CallError
from workflows.settings import Settings

IMAGE = Path(str(get_testdata_file("CT_small.dcm", download=False)))
LONG = "1.2." + "3" * 66


def with_long_uid(path: Path) -> Path:
    whole = IMAGE.read_bytes()
    uid = dcmread(IMAGE).SeriesInstanceUID.encode()
    written = len(uid) + len(uid) % 2
    head = b"\x20\x00\x0e\x00UI"
    at = whole.index(head)
    value = head + len(LONG).to_bytes(2, "little") + LONG.encode()
    path.write_bytes(whole[:at] + value + whole[at + 8 + written :])
    return path


def test_a_folder_of_refused_files_says_the_first_reasons(tmp_path: Path) -> None:
    for index in range(5):
        with_long_uid(tmp_path / f"{index}.dcm")
    (tmp_path / "0-read-me.txt").write_text("no image")
    with pytest.raises(CallError) as refused:
        ask(tmp_path, "Where is the liver?", Settings(), tmp_path / "out")
    lines = str(refused.value).splitlines()
    assert lines[:2] == [f"no file under {tmp_path} can be read", "6 files were passed over:"]
    assert "0.dcm: Series Instance UID has 70 characters" in lines[2] and lines[5] == "  and 3 more"


def test_a_folder_without_dicom_says_so_and_why(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("no image")
    with pytest.raises(CallError, match=r"holds no DICOM files\n1 files were passed over:\n.*letter\.txt"):
        ask(tmp_path, "Where is the liver?", Settings(), tmp_path / "out")


def test_what_was_passed_over_is_counted_and_the_rest_is_read(tmp_path: Path) -> None:
    shutil.copy(IMAGE, tmp_path / "good.dcm")
    wrong = with_long_uid(tmp_path / "wrong.dcm")
    found = look_for_series(tmp_path)
    assert list(found.series.values()) == [[tmp_path / "good.dcm"]]
    assert found.told() == [
        "1 files were passed over:",
        f"  {wrong}: Series Instance UID has 70 characters; a UID has at most 64",
    ]
    with pytest.raises(CallError, match="Series Instance UID has 70 characters"):
        look_for_series(wrong)


class Both:
    """Marks one voxel as the liver, has not seen the spleen, cannot look for a pneumothorax."""

    description = PredictorDescription("both", "1", "c" * 64, None)

    def answer(self, stack: SliceStack, questions: Sequence[Question], **_: object) -> tuple[Answer, ...]:
        mask = np.zeros(stack.values.shape[:3], dtype=bool)
        mask[0, 60:70, 60:70] = True
        missing = NotAssessed("pneumothorax", NotAssessedReason.LABEL, "this model has not learned pneumothorax")
        said = {"not_seen": ("spleen",), "not_assessed": (missing,)}
        return tuple(
            Answer(one, f"{len(one.earlier)} turns before", (SeenTarget("liver", 0.9, mask),), (0,), **said)  # type: ignore[arg-type]
            for one in questions
        )


def test_a_conversation_is_answered_turn_by_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workflows.commands.ask.open_predictor", lambda *_, **__: Both())
    settings = Settings.model_validate({"model": {"checkpoint": "commissioning"}})
    follow_ups = ["How big is it?", "Which side is it on?"]
    answer = ask(IMAGE, "Where is the liver?", settings, tmp_path / "out", follow_ups=follow_ups)
    answer = json.loads(json.dumps(answer))
    assert answer == json.loads((tmp_path / "out" / "answer.json").read_text())
    assert (answer["question"], answer["text"]) == ("Where is the liver?", "0 turns before")
    assert [one["label"] for one in answer["findings"]] == ["liver"]
    assert answer["not_seen"] == ["spleen"]
    reason = "this model has not learned pneumothorax"
    assert answer["not_assessed"] == [{"label": "pneumothorax", "why": "label-not-learned", "reason": reason}]
    turns = answer["follow_ups"]
    assert [(one["question"], one["text"]) for one in turns] == [
        ("How big is it?", "1 turns before"),
        ("Which side is it on?", "2 turns before"),
    ]
    assert all(one["findings"] == one["not_seen"] == one["not_assessed"] == [] for one in turns), "said already"
    assert answer["parts"][0]["follow_ups"] == turns
    report = dcmread(tmp_path / "out" / "sr.dcm")
    assert "How big is it?" in str(report) and str(report).count("'not-assessed'") > 0


def test_what_asks_for_nothing_is_refused_before_weights_are_loaded(tmp_path: Path) -> None:
    with pytest.raises(CallError, match="ask"):
        ask(IMAGE, "Hello", Settings(), tmp_path / "out")
