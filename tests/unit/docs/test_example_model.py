"""The class that docs/researcher.md shows runs as it stands, and keeps what the interface promises."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from inference.conformance.phantom import abdomen
from inference.conformance.rows import ROWS, Checked, Outcome
from inference.interface import NotAssessedReason, Question
from inference.open import describe_predictor, open_model, open_predictor

CHECKOUT = Path(__file__).resolve().parents[3]


def test_the_class_of_the_page_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (CHECKOUT / "docs" / "researcher.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n# my_package/adapter\.py\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "adapter.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    name = "my_package.adapter:Segmenter"
    predictor = open_predictor(name)
    assert predictor.description == describe_predictor(name)
    liver, spleen = predictor.answer(
        abdomen().stack, [Question("Where is the liver?"), Question("Where is the spleen?")]
    )
    assert [target.phrase for target in liver.targets] == ["liver"]
    assert [missing.why for missing in spleen.not_assessed] == [NotAssessedReason.LABEL]
    checked = Checked(open_model(name), lambda: describe_predictor(name), abdomen())
    quick = [row for row in ROWS if row != "memory"]
    verdicts = {row: ROWS[row](checked) for row in quick}
    assert [(row, verdict.why) for row, verdict in verdicts.items() if verdict.outcome is Outcome.FAIL] == []
    assert verdicts["bad input"].outcome is Outcome.PASS
