"""Loader: all mistakes at once, each with its line; what is read is what was written."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from dicom_node.results.codes import LABELS, concept_for
from workflows.errors import ProtocolErrors
from workflows.protocols.loader import load_directory, load_file
from workflows.protocols.schema import NumberRange, ProtocolQuestion, Selector

GOOD = """\
name: abdomen
version: 2
select:
  modality: CT
  texts: [abdomen]
  instances: {minimum: 3}
questions:
  - id: kidneys
    text: Which organs make urine?
    findings: [left kidney, right kidney]
"""


def mistakes(folder: Path, **files: str) -> list[str]:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    with pytest.raises(ProtocolErrors) as raised:
        load_directory(folder)
    return [str(mistake).removeprefix(f"{folder}/") for mistake in raised.value.mistakes]


def test_a_protocol_is_read_as_written(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    (protocol,) = load_directory(tmp_path)
    assert (protocol.name, protocol.version, protocol.title) == ("abdomen", "2", "abdomen")
    assert protocol.selector.modality == ("CT",)
    assert protocol.selector.instances == NumberRange(3)
    (question,) = protocol.questions
    assert question.findings == (LABELS["kidney left"], LABELS["kidney right"])
    assert ProtocolQuestion.from_json(question.as_json()) == question


def test_three_mistakes_are_reported_at_once_with_their_lines(tmp_path: Path) -> None:
    text = GOOD.replace("modality: CT", "modalty: CT").replace("minimum: 3", "minimum: three")
    text = text.replace("[left kidney, right kidney]", "[left kidny, right kidney]")
    assert mistakes(tmp_path, a=text) == [
        "a.yaml:4: unknown key 'modalty'; did you mean 'modality'?",
        "a.yaml:4: 'modality' is missing",
        "a.yaml:6: minimum is not a number",
        "a.yaml:10: no code is known for 'left kidny': write label, category and type",
    ]


def test_mistakes_of_all_files_are_reported_together(tmp_path: Path) -> None:
    found = mistakes(tmp_path, a=GOOD.replace("texts: [abdomen]", "texts: ['(']"), b="- 1\n", c="name: [\n")
    assert [line.split(":")[:2] for line in found] == [["a.yaml", "5"], ["b.yaml", "1"], ["c.yaml", "2"]]
    assert "not a regular expression" in found[0] and "not YAML" in found[2]


@pytest.mark.parametrize(
    ("written", "instead", "line", "message"),
    [
        ("  texts: [abdomen]", "  texts: [a]\n  body_part: ABDOMEN", 6, "never decides alone"),
        ("  texts: [abdomen]", "  vague_texts: [venous]", 5, "decide only with a body part"),
        ("  texts: [abdomen]", "  codes:\n    - SCT:1\n    - 818981001", 7, "is not SCHEME:VALUE"),
        ("modality: CT", "modality: ct", 4, "capital letters"),
        ("{minimum: 3}", "{minimum: 3, maximum: 2}", 6, "nothing could match"),
        ("version: 2", "version: 2\nversion: 3", 3, "'version' stands twice"),
        ("name: abdomen", "name: ''", 1, "expected a text"),
        ("    text: Which organs make urine?\n", "", 8, "'text' is missing"),
        ("questions:", "questions: []\nx:", 7, "at least one is needed"),
        ("[left kidney, right kidney]", "{label: cyst, type: {value: '1', scheme: SCT}}", 10, "'category' is missing"),
    ],
)
def test_each_mistake_has_a_line_and_a_remedy(
    tmp_path: Path, written: str, instead: str, line: int, message: str
) -> None:
    assert written in GOOD
    found = mistakes(tmp_path, a=GOOD.replace(written, instead))
    assert any(entry.startswith(f"a.yaml:{line}: ") and message in entry for entry in found), found


def test_a_finding_may_bring_its_own_codes(tmp_path: Path) -> None:
    codes = """
      - label: cyst
        category: {value: '49755003', scheme: SCT, meaning: Morphologically Abnormal Structure}
        type: {value: '367643001', scheme: SCT, meaning: Cyst}
        site: {value: '64033007', scheme: SCT, meaning: Kidney}
"""
    (tmp_path / "a.yaml").write_text(GOOD.replace(" [left kidney, right kidney]\n", codes))
    (concept,) = load_file(tmp_path / "a.yaml").questions[0].findings
    assert (concept.label, concept.type.value, concept.laterality) == ("cyst", "367643001", None)
    assert concept.site is not None and concept.site.meaning == "Kidney"


def test_the_same_name_and_version_twice_is_a_mistake_that_names_the_other_file(tmp_path: Path) -> None:
    found = mistakes(tmp_path, a=GOOD, b="# copied\n" + GOOD)
    assert found == ["b.yaml:2: abdomen version 2 stands in a.yaml too: give one a new name or version"]


def test_an_empty_or_missing_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(ProtocolErrors, match=r"no \*.yaml files here; set \[protocols\] directory"):
        load_directory(tmp_path)
    with pytest.raises(ProtocolErrors, match="no such folder"):
        load_directory(tmp_path / "none")


def test_shipped_protocols_load_and_ask_only_what_has_a_code(checkout: Path) -> None:
    protocols = load_directory(checkout / "deploy" / "protocols")
    assert {protocol.name for protocol in protocols} >= {"abdominal-ct", "chest-radiograph", "cardiac-mr"}
    assert all(question.findings for protocol in protocols for question in protocol.questions)


def scores(card: str) -> dict[str, tuple[float, float]]:
    """Label of the table of codes -> Dice, and the share of absent ones that was called absent (1 if not measured)."""
    found = {}
    for row in re.findall(r"^\| ([a-z][^|]*) \| ([^*\n]*) \|$", card, re.M):
        cells = [cell.strip() for cell in row[1].split("|")]
        if (concept := concept_for(row[0])) is not None and cells[0] != "-":
            found[concept.label] = float(cells[0]), float(cells[5]) if cells[5] != "-" else 1.0
    return found


def test_shipped_protocols_ask_only_what_the_shipped_weights_mark_well(checkout: Path) -> None:
    measured = scores((checkout / "inference" / "weights" / "tiny" / "MODEL_CARD.md").read_text())
    assert len(measured) > 20, "the model card's table of labels is not read any more"
    for protocol in load_directory(checkout / "deploy" / "protocols"):
        for question in protocol.questions:
            for finding in question.findings:
                dice, absent = measured.get(finding.label, (0.0, 0.0))
                why = (
                    f"{protocol.name}: {finding.label} has a Dice of {dice}, and {absent} of absent ones are called so"
                )
                assert dice >= 0.4 and absent >= 0.5, f"{why}: leave it out, with a comment"


def test_the_documented_example_loads_and_shows_every_key(checkout: Path, tmp_path: Path) -> None:
    (example,) = re.findall(r"^```yaml\n(.*?)^```", (checkout / "docs/protocols.md").read_text(), re.M | re.S)
    (tmp_path / "example.yaml").write_text(example)
    (protocol,) = load_directory(tmp_path)
    unset = Selector(("CT",))
    for field in fields(Selector):
        assert getattr(protocol.selector, field.name) != getattr(unset, field.name) or field.name == "modality"
