"""Loader: all mistakes at once, each with its line; what is read is what was written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dicom_node.results.codes import LABELS, concept_for
from dicom_node.volumes.frames import FrameChoice
from workflows.errors import ProtocolErrors
from workflows.protocols.anatomy import every_test
from workflows.protocols.conditions import Equals, NumberRange
from workflows.protocols.loader import load_directory, load_file
from workflows.protocols.schema import Limits, Priority, ProtocolQuestion

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
    wanted = {test.field: test.checks for test in every_test(protocol.series.where)}
    assert wanted["modality"] == (Equals(("CT",)),)
    assert wanted["instances"] == (NumberRange(3),)
    (question,) = protocol.questions
    assert question.findings == (LABELS["kidney left"], LABELS["kidney right"])
    assert ProtocolQuestion.from_json(question.as_json()) == question


def test_three_mistakes_are_reported_at_once_with_their_lines(tmp_path: Path) -> None:
    text = GOOD.replace("modality: CT", "modalty: CT").replace("minimum: 3", "minimum: three")
    text = text.replace("[left kidney, right kidney]", "[left kidny, right kidney]")
    assert mistakes(tmp_path, a=text) == [
        "a.yaml:4: unknown key 'modalty'; did you mean 'modality'?",
        "a.yaml:6: minimum is 'three'; write a number, 0 or more",
        "a.yaml:10: no code is known for 'left kidny'; did you mean 'left kidney'? "
        "If not, write a mapping with label, category and type",
    ]


def test_mistakes_of_all_files_are_reported_together(tmp_path: Path) -> None:
    found = mistakes(tmp_path, a=GOOD.replace("texts: [abdomen]", "texts: ['(']"), b="- 1\n", c="name: [\n")
    assert [line.split(":")[:2] for line in found] == [["a.yaml", "5"], ["b.yaml", "1"], ["c.yaml", "2"]]
    assert "not a regular expression" in found[0] and "not YAML" in found[2]


def test_a_protocol_says_how_urgent_it_is_and_how_long_its_answer_is_of_use(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    assert load_file(tmp_path / "a.yaml").limits == Limits()
    (tmp_path / "a.yaml").write_text(GOOD.replace("version: 2", "version: 2\npriority: STAT\nuseful_for_minutes: 90"))
    protocol = load_file(tmp_path / "a.yaml")
    assert protocol.limits == Limits(Priority.STAT, 90)


@pytest.mark.parametrize("frames", ["middle", "all", "every 10"])
def test_a_protocol_says_which_frames_of_a_cine_are_read(tmp_path: Path, frames: str) -> None:
    (tmp_path / "a.yaml").write_text(GOOD.replace("version: 2", f"version: 2\nframes: {frames}"))
    (protocol,) = load_directory(tmp_path)
    assert protocol.frames == FrameChoice(frames)


@pytest.mark.parametrize(
    ("written", "instead", "line", "message"),
    [
        (
            "version: 2",
            "version: 2\npriority: soon",
            3,
            "priority is 'soon'; write a whole number from 0 to 100, the higher come first; how soon",
        ),
        (
            "version: 2",
            "version: 2\nuseful_for_minutes: nan",
            3,
            "is 'nan'; write a number of minutes above 0, such as 90",
        ),
        ("version: 2", "version: 2\nuseful_for_minutes: 0", 3, "is '0'; write a number of minutes above 0, such as 90"),
        ("version: 2", "version: 2\nframes: every", 3, "frames: 'every' chooses no frames: write middle, first"),
        ("  texts: [abdomen]", "  texts: [a]\n  body_part: ABDOMEN", 6, "body_part is often wrong and never decides"),
        ("  texts: [abdomen]", "  vague_texts: [venous]", 5, "decide only with a body part; add body_part, or call"),
        ("  texts: [abdomen]", "  codes:\n    - SCT:1\n    - 818981001", 7, "codes: '818981001' is not SCHEME:VALUE"),
        ("  texts: [abdomen]", "  texts: []", 5, "texts is an empty list; write something into it, or leave it out"),
        ("  texts: [abdomen]", "  texts: [abd|]", 5, "texts: 'abd|' matches every text"),
        ("  texts: [abdomen]", '  texts: ["\\babd"]', 5, "holds a control character"),
        ("  texts: [abdomen]", '  texts: ["\\dabd"]', 5, "write regular expressions in single quotes"),
        ("  texts: [abdomen]", "\ttexts: [abdomen]", 5, "indent with spaces, not with tabs"),
        ("  texts: [abdomen]", "  sop_classes: CT Image Storage", 5, "is not a SOP Class UID"),
        ("  texts: [abdomen]", "  image_type: {a: b}", 5, "image_type is a mapping; write a text"),
        ("modality: CT", "modality: ct", 4, "modality: 'ct' is not a modality code: capital letters, such as CT"),
        ("modality: CT", "modality: []", 4, "modality is an empty list; write something into it"),
        ("  modality: CT\n", "", 4, "select lacks 'modality'; write, for example, modality: CT"),
        ("{minimum: 3}", "{minimum: 3, maximum: 2}", 6, "instances: minimum is above maximum, so nothing could match"),
        ("{minimum: 3}", "{maximum: -1}", 6, "maximum is '-1'; write a number, 0 or more"),
        ("{minimum: 3}", "{minimum: nan}", 6, "minimum is 'nan'; write a number, 0 or more"),
        ("{minimum: 3}", "{}", 6, "instances is empty"),
        ("{minimum: 3}", "3", 6, "instances is '3'; write a mapping with minimum, maximum"),
        ("version: 2", "version: 2\nversion: 3", 3, "key 'version' stands on line 2 too: keep one"),
        ("version: 2\n", "", 1, "a protocol lacks 'version'; write, for example, version: \"1\""),
        ("name: abdomen", "name: ''", 1, "name is empty; write a text"),
        ("name: abdomen", "name: [a]", 1, "name is a list; write a text"),
        ("name: abdomen", f"name: {'a' * 65}", 1, "name has 65 characters; an archive takes 64"),
        ("name: abdomen", "name: a\\b", 1, "holds a backslash"),
        ("name: abdomen", "name: bäuche", 1, "write ASCII characters only"),
        ("name: abdomen", "name: abdomen@organs", 1, "stands between a protocol and its predictor"),
        ("    text: Which organs make urine?\n", "", 8, "question 1 lacks 'text'; write, for example, text: Where"),
        ("    text: Which organs make urine?", "    text:", 9, "text of question 1 is empty; write a text"),
        ("questions:", "questions: []\nx:", 7, "questions is an empty list; write a list of at least one"),
        (
            "[left kidney, right kidney]",
            "",
            10,
            "findings of question 1 is empty; name what may be marked, or write []",
        ),
        ("[left kidney, right kidney]", "[liver, Liver]", 10, "finding 'liver' stands twice in a question"),
        ("[left kidney, right kidney]", "{label: cyst, type: {value: '1', scheme: SCT}}", 10, "lacks 'category'"),
        ("[left kidney, right kidney]", "{label: cyst, type: {value: '1', scheme: SCT}}", 10, "type lacks 'meaning'"),
        ("[left kidney, right kidney]", "[[liver]]", 10, "a finding with its own codes is a list; write a mapping"),
        ("[left kidney, right kidney]", "[left kidney\n", 10, "a bracket, a brace or a quote that opens here is not"),
        (
            "Which organs make urine?",
            '"Which organs make urine?\n    predictor: "x"',
            9,
            "a quote that opens here ends on line 10 only; close it on its line",
        ),
        (
            "Which organs make urine?",
            "'What's the liver?'",
            9,
            "behind the quote that ends it; write '' for an apostrophe",
        ),
        (
            "version: 2",
            "version: 2\npriority: high",
            3,
            "whole number from 0 to 100, the higher come first; how soon a",
        ),
        ("[left kidney, right kidney]", "'left kidney\n", 10, "a bracket, a brace or a quote that opens here is not"),
    ],
)
def test_each_mistake_has_a_line_and_a_remedy(
    tmp_path: Path, written: str, instead: str, line: int, message: str
) -> None:
    assert written in GOOD
    found = mistakes(tmp_path, a=GOOD.replace(written, instead))
    assert any(entry.startswith(f"a.yaml:{line}: ") and message in entry for entry in found), found


def test_a_question_without_findings_does_not_hide_its_other_mistakes(tmp_path: Path) -> None:
    more = "  - id: kidneys\n    text: ''\n  - id: liver\n    text: Which organs make urine?\n  - only text\n"
    assert mistakes(tmp_path, a=GOOD + more) == [
        "a.yaml:11: question 2 lacks 'findings'; write, for example, findings: liver",
        "a.yaml:11: id 'kidneys' stands on line 8 too: give each question its own",
        "a.yaml:12: text of question 2 is empty; write a text",
        "a.yaml:13: question 3 lacks 'findings'; write, for example, findings: liver",
        "a.yaml:14: text 'Which organs make urine?' stands on line 9 too: give each question its own",
        "a.yaml:15: question 4 is 'only text'; write a mapping with id, text, findings, follow_ups, predictor",
    ]


def test_a_finding_that_is_mistyped_is_one_mistake(tmp_path: Path) -> None:
    followed = "lifer\n    follow_ups: [{ask: How large is it?, if_seen: liver}]"
    (one,) = mistakes(tmp_path, a=GOOD.replace("[left kidney, right kidney]", followed))
    assert one.startswith("a.yaml:10: no code is known for 'lifer'; did you mean 'liver'?")


@pytest.mark.parametrize(
    ("field", "said", "meant"),
    [
        ("region", "Oberbauch", "abdomen"), ("region", "Kopf", "head"), ("region", "chst", "chest"),
        ("plane", "transversal", "axial"), ("phase", "portalvenös", "portal"), ("sex", "weiblich", "F"),
    ],
)  # fmt: skip
def test_what_is_never_there_is_told_with_what_is_meant(tmp_path: Path, field: str, said: str, meant: str) -> None:
    select = GOOD[GOOD.index("select") : GOOD.index("questions")]
    (one,) = mistakes(tmp_path, a=GOOD.replace(select, f"series: {{where: {{{field}: {said}}}}}\n"))
    assert one == f"a.yaml:3: {field} is never {said!r}; did you mean {meant!r}?"


def test_a_question_may_be_answered_in_words_only(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD.replace("[left kidney, right kidney]", "[]"))
    assert load_file(tmp_path / "a.yaml").questions[0].findings == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"",
            ":1: the file is empty: a protocol has name, version, title, priority, off, when, series, unknown, frames,"
            " questions, results, limits, examples",
        ),
        (b"name: a\nversion: \xff\n", ":1: not UTF-8; save the file in that encoding"),
        (b"name: a\nversion: \x07\n", ":2: not YAML: a control character stands here; remove it"),
        (b"name: a\n---\nname: b\n", ":2: not YAML: but found another document; one file holds one protocol"),
    ],
)
def test_a_file_that_is_no_protocol_says_why(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.yaml").write_bytes(content)
    with pytest.raises(ProtocolErrors) as raised:
        load_file(tmp_path / "a.yaml")
    assert str(raised.value).startswith(f"{tmp_path / 'a.yaml'}{message}")
    assert "select" not in str(raised.value)


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
    copied = "# copied\n" + GOOD.replace("modality: CT", "modality: ct")
    assert mistakes(tmp_path, a=GOOD, b=copied) == [
        "b.yaml:2: abdomen version 2 stands in a.yaml too: give one a new name or version",
        "b.yaml:5: modality: 'ct' is not a modality code: capital letters, such as CT",
    ]


def test_an_empty_or_missing_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(ProtocolErrors, match=r"no \*.yaml files here"):
        load_directory(tmp_path)
    (tmp_path / "knee.yaml").write_text("name: knee")
    with pytest.raises(ProtocolErrors, match="a file; name the folder it lies in"):
        load_directory(tmp_path / "knee.yaml")
    with pytest.raises(ProtocolErrors, match="no such folder"):
        load_directory(tmp_path / "none")


def test_shipped_protocols_load_and_ask_only_what_has_a_code(checkout: Path) -> None:
    protocols = load_directory(checkout / "deploy" / "protocols")
    assert {protocol.name for protocol in protocols} >= {"abdominal-ct", "chest-radiograph", "cardiac-mr"}
    assert all(question.findings for protocol in protocols for question in protocol.questions)


def scores(card: str) -> dict[str, tuple[float, float]]:
    """Label of the table of codes -> Dice, and the share of absent ones called absent (1 if fewer than 5)."""
    found = {}
    for row in re.findall(r"^\| ([a-z][^|]*) \| ([^*\n]*) \|$", card, re.M):
        cells = [cell.strip() for cell in row[1].split("|")]
        if len(cells) == 7 and (concept := concept_for(row[0])) is not None and cells[0] != "-":
            found[concept.label] = float(cells[0]), float(cells[5]) if int(cells[6]) >= 5 else 1.0
    return found


def test_shipped_protocols_ask_only_what_the_shipped_weights_mark_well(checkout: Path) -> None:
    measured = scores((checkout / "inference" / "weights" / "tiny" / "MODEL_CARD.md").read_text())
    assert len(measured) > 20, "the model card's table of labels is not read any more"
    in_service = [one for one in load_directory(checkout / "deploy" / "protocols") if not one.off_because]
    for protocol in in_service:
        for question in protocol.questions:
            for finding in question.findings:
                dice, absent = measured.get(finding.label, (0.0, 0.0))
                why = (
                    f"{protocol.name}: {finding.label} has a Dice of {dice}, and {absent} of absent ones are called so"
                )
                assert dice >= 0.4 and absent >= 0.5, f"{why}: leave it out, with a comment"


def test_the_documented_examples_load(checkout: Path, tmp_path: Path) -> None:
    examples = re.findall(r"^```yaml\n(.*?)^```", (checkout / "docs/protocols.md").read_text(), re.M | re.S)
    for example in examples:
        (tmp_path / "example.yaml").write_text(example)
        assert load_file(tmp_path / "example.yaml").questions


def test_what_goes_on_from_a_question_is_asked_after_it(tmp_path: Path) -> None:
    more = "    follow_ups:\n      - How large are they?\n      - Which side is larger?\n"
    (tmp_path / "a.yaml").write_text(GOOD + more)
    (protocol,) = load_directory(tmp_path)
    first, second, third = protocol.questions
    assert [one.text for one in (second, third)] == ["How large are they?", "Which side is larger?"]
    assert (second.follows, third.follows) == (first.id, second.id)
    assert first.findings == second.findings == third.findings
    assert [ProtocolQuestion.from_json(one.as_json()) for one in protocol.questions] == list(protocol.questions)
    assert set(first.as_json()) == {"id", "text", "findings"}, "keys of what does not go on stay what they were"


def test_a_question_may_stand_in_brackets(tmp_path: Path) -> None:
    more = "    follow_ups: [How large is it?, {ask: Is it enlarged?}]\n"
    more += "  - {id: x, text: Where is the liver?, findings: []}\n"
    (tmp_path / "a.yaml").write_text(GOOD + more)
    asked = [question.text for question in load_file(tmp_path / "a.yaml").questions]
    assert asked[1:] == ["How large is it?", "Is it enlarged?", "Where is the liver?"]


def test_what_is_no_question_is_a_mistake(tmp_path: Path) -> None:
    (one,) = mistakes(tmp_path, a=GOOD + "  - {id: hello, text: Hello, findings: liver}\n")
    assert one.startswith("a.yaml:11: 'Hello': ")
    (one,) = mistakes(tmp_path, a=GOOD + "    follow_ups:\n      - Which organs make urine?\n")
    assert one.endswith("'Which organs make urine?' was asked in this conversation already; remove one")


def test_a_question_names_a_predictor_that_the_settings_have(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD + "    predictor: organs\n")
    (protocol,) = load_directory(tmp_path, ["organs"])
    assert protocol.questions[0].predictor == "organs"
    assert [(name, part.name) for name, part in protocol.by_predictor()] == [("organs", "abdomen@organs")]
    with pytest.raises(ProtocolErrors, match=r"a.yaml:11: predictor 'organs' .* did you mean 'organ'"):
        load_directory(tmp_path, ["organ"])
