"""docs/protocols.md: its tables are the code's, it tells every key, and its first protocol is one."""

from __future__ import annotations

import importlib.util
import re
import textwrap
from pathlib import Path

import pytest

from workflows.protocols.document import (
    FollowUp,
    LimitsDocument,
    ProtocolDocument,
    QuestionDocument,
    ResultsDocument,
    SeriesDocument,
)
from workflows.protocols.loader import load_file


@pytest.fixture(scope="module")
def page(checkout: Path) -> str:
    return (checkout / "docs" / "protocols.md").read_text(encoding="utf-8")


def test_its_tables_are_those_of_the_code_and_of_the_starter_library(checkout: Path, page: str) -> None:
    spec = importlib.util.spec_from_file_location("protocols_page", Path(__file__).with_name("protocols_page.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    remedy = "refresh it: python tests/unit/docs/protocols_page.py"
    assert page.splitlines() == module.refreshed(page, checkout / "deploy" / "protocols").splitlines(), remedy
    assert page.count("| **yes** |") - 3 >= 5 and "(../deploy/protocols/ct-head.yaml)" in page


@pytest.mark.parametrize(
    "part", [ProtocolDocument, SeriesDocument, QuestionDocument, FollowUp, ResultsDocument, LimitsDocument]
)
def test_it_tells_every_key(page: str, part: type) -> None:
    keys = set(part.model_fields) - {"ask"}  # type: ignore[attr-defined]
    assert [key for key in sorted(keys) if not re.search(rf"`([a-z]+\.)?{key}(: [^`]*)?`", page)] == []


def test_its_first_protocol_loads_and_is_the_one_of_the_messages(page: str, tmp_path: Path) -> None:
    first = re.search(r"^   ```\n(   # yaml-language-server.*?)^   ```", page, re.M | re.S)
    assert first is not None
    file = tmp_path / "liver-size.yaml"
    file.write_text(textwrap.dedent(first[1]), encoding="utf-8")
    assert load_file(file).name == "liver-size"
    lines = file.read_text(encoding="utf-8").splitlines()
    assert "slice_thickness" in lines[10 - 1] and "findings: liver" in lines[17 - 1], "as step 3 has them"
