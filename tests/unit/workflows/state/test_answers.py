"""Answers as the database and `answer.json` keep them, old rows included."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import asdict

from workflows.commands.telling import size_of
from workflows.state.answers import AnswerRecord, ChangeRecord, FindingRecord, MeasurementRecord

VOLUME = MeasurementRecord("volume", "volume", 12.3, "ml", "at least 12.3 ml", at_least=True)
AXIS = MeasurementRecord(
    "long-axis", "long axis", 4.5, "mm", "4.5 mm", False, "1.2.3", 7, 3, ((1.0, 2.0), (3.25, 4.0))
)  # fmt: skip
FINDING = FindingRecord("the liver", "liver", 0.9, 120, (VOLUME, AXIS))


def test_they_come_back_as_they_were() -> None:
    low = dataclasses.replace(FINDING, measurements=(), low_confidence=True)
    answer = AnswerRecord("Where?", "Here.", (FINDING, low), ("spleen",), 1)
    assert AnswerRecord.from_json(json.loads(json.dumps(answer.as_json()))) == answer


def test_a_number_that_stands_alone_has_its_bound_beside_it() -> None:
    entry = FINDING.as_json()
    assert (entry["volume_ml"], entry["at_least"]) == (12.3, True)
    assert dataclasses.replace(FINDING, measurements=(AXIS,)).as_json()["at_least"] is False


def test_old_rows_are_read() -> None:
    five = {"kind": "volume", "name": "volume", "value": 12.3, "unit": "ml", "text": "12.3 ml"}
    row = {"phrase": "the liver", "label": "liver", "confidence": 0.9, "voxels": 12, "measurements": [five]}
    finding = FindingRecord.from_json(row)
    assert finding.measurements == (MeasurementRecord(**five),)
    assert (finding.at_least, finding.low_confidence) == (False, False)


def test_lines_to_read_say_what_holds_of_the_number() -> None:
    assert size_of(FINDING) == "liver: at least 12.3 ml, 120 voxels, confidence 0.90"
    low = dataclasses.replace(FINDING, confidence=0.3, measurements=(), low_confidence=True)
    assert size_of(low) == "liver: low confidence 0.30, not measured"


def test_a_change_kept_before_it_was_known_which_value_is_a_lower_bound_tells_no_difference() -> None:
    old = {
        "name": "volume", "unit": "ml", "before": 705.9, "after": 608.8, "before_date": "2022-12-08", "after_date": "",
        "difference": -97.1, "per_cent": -13.76, "bounded": True, "text": "volume -97.1 ml (-13.8 %): ...",
    }  # fmt: skip
    change = ChangeRecord.from_json(old)
    assert (change.difference, change.per_cent) == (None, None) and change.before_at_least and change.after_at_least
    assert change.text.startswith("volume: at least 705.9 ml on 2022-12-08, at least 608.8 ml on an unknown date; cut")
    whole = ChangeRecord.from_json(old | {"bounded": False})
    assert whole.difference == -97.1 and whole.text == old["text"] and not whole.before_at_least
    assert ChangeRecord.from_json(json.loads(json.dumps(asdict(whole)))) == whole
