"""The form of protocol files: what each key takes, and what is said of what it does not take."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dicom_node.headers.coded import CodedHeader
from workflows.errors import ProtocolErrors
from workflows.protocols.anatomy import every_test
from workflows.protocols.conditions import (
    AllOf,
    AnyOf,
    Coded,
    Condition,
    Count,
    Equals,
    Not,
    NumberRange,
    Pattern,
    Present,
    Test,
    TimeOfDay,
)  # fmt: skip
from workflows.protocols.document_schema import SCHEMA_FILE, protocol_schema, schema_text
from workflows.protocols.loader import load_directory, load_file, read_file
from workflows.protocols.schema import ImageKind, Limits, OnlyIf, Order, Priority, ReadingProtocol, Results

QUESTIONS = "questions: [{id: liver, text: 'Where is the liver?', findings: liver}]\n"
FULL = """\
# yaml-language-server: $schema=protocol.schema.json
name: abdominal-ct
version: "2"
title: Organs of the upper abdomen in CT
priority: 70
off: the shipped weights have not learned these

when:
  age: {at_least: 18}
  any:
    - procedure: {code: [SCT:818981001, SCT:818982008]}
    - description: {pattern: ['\\babd', '\\boberbauch\\b']}
series:
  where:
    modality: CT
    slice_thickness: {at_most: 10, if_missing: true}
    not: {description: {pattern: '\\bscout\\b', if_missing: false}}
  include: [reformats, own results]
  prefer: [original, axial, thin, {phase: portal}]
  take: 1
unknown: accept
frames: middle
questions:
  - id: liver
    text: Where is the liver?
    findings: liver
    follow_ups:
      - How large is it?
      - {ask: Is it enlarged?, if_seen: Liver, if_larger_than: {ml: 1500}}
results: {archives: [pacs], profile: OHIF}
limits: {priority: stat, useful_for_minutes: 60, largest_study: 3000, prior_deadline_s: 5}
examples:
  - title: a portal venous abdomen
    match: yes
    asks: [Abdomen venous]
    calling_ae: [CT1]
    received: 2026-11-02T08:00:00+01:00
    study: {StudyDescription: CT Abdomen, PatientAge: 054Y, ProcedureCodeSequence: SCT:818981001 Abdomen}
    series:
      - {Modality: CT, SeriesDescription: Abdomen venous, ImageType: [ORIGINAL, PRIMARY, AXIAL], instances: 120}
"""


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{key}: &{key} [{', '.join([f'*{before}'] * 9)}]\n" for before, key in zip("abcdefgh", "bcdefghi", strict=True)
)


def loaded(folder: Path, text: str) -> ReadingProtocol:
    (folder / "a.yaml").write_text(text, encoding="utf-8")
    return load_file(folder / "a.yaml")


def mistakes(folder: Path, text: str) -> list[str]:
    (folder / "a.yaml").write_text(text, encoding="utf-8")
    return [str(one).removeprefix(f"{folder}/") for one in read_file(folder / "a.yaml").mistakes]


def where(folder: Path, written: str) -> Condition:
    """The condition that a line under `where` says."""
    return loaded(folder, f"name: a\nversion: 1\nseries:\n  where:\n    {written}\n{QUESTIONS}").series.where


def test_a_file_is_read_as_it_is_written(tmp_path: Path) -> None:
    protocol = loaded(tmp_path, FULL)
    assert (protocol.name, protocol.version, protocol.rank, protocol.unknown) == ("abdominal-ct", "2", 70, True)
    assert protocol.off_because == "the shipped weights have not learned these"
    codes = (CodedHeader("818981001", "SCT"), CodedHeader("818982008", "SCT"))
    assert protocol.when == AllOf(
        (
            Test("age", (NumberRange(18),), where="when.age"),
            AnyOf(
                (
                    Test("procedure", (Coded(codes),), where="when.any[1].procedure"),
                    Test(
                        "description", (Pattern(r"\babd"), Pattern(r"\boberbauch\b")), where="when.any[2].description"
                    ),
                ),
                "when.any",
            ),
        ),
        "when",
    )
    assert protocol.series.prefer == (
        Order.ORIGINAL, Order.AXIAL, Order.THIN, Test("phase", (Equals(("portal",)),), where="series.prefer[4].phase"),
    )  # fmt: skip
    assert protocol.series.take == 1 and protocol.series.include == {ImageKind.REFORMATS, ImageKind.OWN_RESULTS}
    assert protocol.results == Results(("pacs",), "ohif")
    assert protocol.limits == Limits(Priority.STAT, 60, 3000, 5)
    assert [question.only_if for question in protocol.questions] == [None, None, OnlyIf("liver", None, 1500)]
    (example,) = protocol.examples
    assert (example.matches, example.asks, example.line) == (True, ("Abdomen venous",), 33)
    assert example.study.series[0].attributes["StudyDescription"] == ("CT Abdomen",)
    assert example.study.series[0].instances == 120 and example.study.sources == ("CT1",)


def test_the_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    first, again = loaded(tmp_path, FULL).digest, loaded(tmp_path, FULL).digest
    assert first == again != loaded(tmp_path, FULL + "# a comment\n").digest


@pytest.mark.parametrize(
    ("written", "condition"),
    [
        ("modality: [CT, MR]", Test("modality", (Equals(("CT", "MR")),))),
        ("series_description: no", Test("series_description", (Equals(("no",)),))),
        ("series_description: {equals: 1.0}", Test("series_description", (Equals(("1.0",)),))),
        ("rows: 512", Test("rows", (Equals(("512",)),))),
        ("age: {at_least: 6M, at_most: 18Y}", Test("age", (NumberRange(0.5, 18),))),
        ("instances: [3, {at_least: 10}]", Test("instances", (Equals(("3",)), NumberRange(10)))),
        ("description: {pattern: a, if_missing: unknown}", Test("description", (Pattern("a"),))),
        ("procedure: SCT:1 Abdomen", Test("procedure", (Coded((CodedHeader("1", "SCT", "Abdomen"),)),))),
        (
            "procedure: {code: {value: 1, scheme: SCT, synonyms: [SRT:2]}}",
            Test("procedure", (Coded((CodedHeader("1", "SCT"), CodedHeader("2", "SRT"))),)),
        ),
        ("contrast_agent: {present: false}", Test("contrast_agent", (Present(False),))),
        ("received: {from: 18:00, to: 07:30, days: [sat, Sunday]}", Test("received", (TimeOfDay(1080, 450, (5, 6)),))),
        ("received: {days: mon}", Test("received", (TimeOfDay(0, 1440, (0,)),))),
        ("not: {modality: MR}", Not(Test("modality", (Equals(("MR",)),), where=".not"))),
        ("not: [{modality: MR}]", Not(AnyOf((Test("modality", (Equals(("MR",)),), where=".not[1]"),), ".not"))),
        ("count: {of: {modality: CT}, at_least: 2}", Count(Test("modality", (Equals(("CT",)),)), NumberRange(2))),
        (
            "RequestAttributesSequence/ReasonForTheRequestedProcedure: {pattern: pain}",
            Test("RequestAttributesSequence/ReasonForTheRequestedProcedure", (Pattern("pain"),)),
        ),
        ("ProcedureCodeSequence: SCT:1", Test("ProcedureCodeSequence", (Coded((CodedHeader("1", "SCT"),)),))),
    ],
)
def test_a_condition_is_what_it_says(tmp_path: Path, written: str, condition: Condition) -> None:
    assert _placeless(where(tmp_path, written)) == _placeless(condition)


def _placeless(condition: Condition) -> Condition:
    match condition:
        case Test():
            return Test(condition.field, condition.checks, condition.if_missing)
        case AllOf(conditions):
            return AllOf(tuple(map(_placeless, conditions)))
        case AnyOf(conditions):
            return AnyOf(tuple(map(_placeless, conditions)))
        case Not(beneath):
            return Not(_placeless(beneath))
        case Count(beneath, range_):
            return Count(_placeless(beneath), range_)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("modalty: CT", "unknown key 'modalty'; did you mean 'modality'?"),
        ("SliceThicknes: 1", "'SliceThicknes' is no keyword of DICOM; did you mean SliceThickness?"),
        ("StudyDate/Modality: CT", "StudyDate is no sequence: nothing stands beneath it"),
        ("(0008,103E): x", "'(0008,103E)' is a tag; write the keyword of (0008,103E) instead"),
        ("sex: female", "sex is never 'female'; did you mean 'F'?"),
        ("region: hed", "region is never 'hed'; did you mean 'head'?"),
        ("slice_thickness: thin", "slice_thickness is 'thin'; write a number"),
        ("slice_thickness: {pattern: x}", "slice_thickness takes no 'pattern'; write a number or {at_least: ..."),
        ("age: {at_least: old}", "age: at_least is 'old'; write a number of years, or an age such as 18Y or 6M"),
        ("instances: {at_least: 3, at_most: 2}", "at_least is above at_most, so nothing could match; exchange them"),
        ("description: {pattern: a, equals: b}", "description has pattern and equals in one mapping; write one"),
        ("description: {}", "description wants nothing; write a text, a list of texts or {pattern: ...}"),
        ("procedure: abdomen", "procedure: 'abdomen' is not SCHEME:VALUE, such as SCT:818981001"),
        ("received: 18:00", "received is '18:00'; write {from: '18:00', to: '07:00'}"),
        ("received: {from: 25:00}", "received: from is '25:00'; write a time, '18:00'"),
        ("received: {days: Tag}", "received: 'Tag' is no day; write mon, tue, wed, thu, fri, sat, sun"),
        (
            "description: {pattern: 'a(?!b)'}",
            "there is no lookahead or lookbehind: put what must not stand there under not",
        ),
        ("description: {pattern: '(a)\\1'}", "there are no references to groups: write out what repeats"),
        ("description: {pattern: 'a|'}", "'a|' matches every text; say what has to stand there"),
        ("description: {pattern: 'a{1,5000}'}", "is not a regular expression: invalid repetition size"),
        ('description: {pattern: "\\bct"}', "holds a control character (in double quotes YAML makes one of \\b)"),
        ("any: {modality: CT}", "any is a mapping; write a list of mappings: any: [{modality: CT}, {modality: MR}]"),
        ("all: []", "all is an empty list; write a list of mappings"),
        ("not: x", "not is 'x'; write a mapping, such as {modality: CT}"),
        ("count: {of: {modality: CT}}", "count has neither at_least nor at_most; write, for example, count:"),
        (
            "body_part_examined: CHEST",
            "Body Part Examined is often wrong and never decides alone; put it beside a test",
        ),
        ("BodyPartExamined: CHEST", "Body Part Examined is often wrong and never decides alone"),
        ("{modality: CT, any: [{body_part_examined: A}, {description: b}]}", "never decides alone"),
        ("{description: b, not: {body_part_examined: A}}", "never decides alone"),
    ],
)
def test_each_mistake_in_a_condition_has_its_line_and_a_remedy(tmp_path: Path, written: str, message: str) -> None:
    written = written if written.startswith("{") else f"\n    {written}"
    found = mistakes(tmp_path, f"name: a\nversion: 1\nseries:\n  where: {written}\n{QUESTIONS}")
    line = 4 if written.startswith("{") else 5
    assert len(found) == 1 and found[0].startswith(f"a.yaml:{line}: ") and message in found[0], found


@pytest.mark.parametrize(
    "written",
    [
        "{body_part_examined: CHEST, description: {pattern: thorax}}",
        "{all: [{body_part_examined: CHEST}, {procedure: SCT:1}]}",
        "{body_part_examined: CHEST, any: [{description: a}, {region: chest}]}",
        "{any: [{description: a}, {body_part_examined: CHEST, description: b}]}",
    ],
)
def test_body_part_examined_may_stand_beside_what_shows_the_anatomy(tmp_path: Path, written: str) -> None:
    assert not mistakes(tmp_path, f"name: a\nversion: 1\nseries: {{where: {written}}}\n{QUESTIONS}")


@pytest.mark.parametrize(
    ("written", "instead", "line", "message"),
    [
        ("priority: 70", "priority: 101", 5, "priority is '101'; write a whole number from 0 to 100"),
        ("priority: 70", "priorty: 70", 5, "unknown key 'priorty'; did you mean 'priority'?"),
        ("off: the shipped weights have not learned these", "off: true", 6, "say why it is off"),
        ("off: the shipped weights have not learned these", "off: no", 6, "leave it out for a protocol that is in"),
        ("unknown: accept", "unknown: maybe", 21, "unknown 'maybe' is not known; write refuse, accept"),
        ("  take: 1", "  take: 0", 20, "take is '0'; write how many series at most, 1 or more"),
        ("  take: 1", "  modality: CT", 20, "modality is a condition; write it under where: {modality: ...}"),
        ("unknown: accept", "modality: CT", 21, "modality is a condition; write it under series: {where: {modality"),
        ("[reformats, own results]", "[reformat]", 18, "include 'reformat' is not known; did you mean 'reformats'?"),
        ("[original, axial,", "[originals, axial,", 19, "prefer: 'originals' is no order; write original, axial, thin"),
        ("{phase: portal}", "{phse: portal}", 19, "unknown key 'phse'; did you mean 'phase'?"),
        ("if_seen: Liver", "if_seen: spleen", 29, "if_seen 'spleen' is no finding of this question"),
        ("{ml: 1500}", "{ml: 0}", 29, "ml is '0'; write a number above 0"),
        ("ask: Is it", "aks: Is it", 29, "unknown key 'aks'; did you mean 'ask'?"),
        ("profile: OHIF", "profile: osiris", 30, "profile 'osiris' is not known; write ohif, air, plain-pacs, slicer"),
        ("largest_study: 3000", "largest_study: 0", 31, "largest_study is '0'; write a number of instances, 1 or more"),
        ("match: yes", "match: perhaps", 34, "match of example 1 is 'perhaps'; write true or false"),
        ("match: yes", "match: no", 35, "asks stands where match is false; leave it out, or write match: true"),
        ("[Abdomen venous]", "[Abdomen venus]", 35, "the example has no series 'Abdomen venus'; did you mean 'Abdomen"),
        ("+01:00", "", 37, "write a moment with its zone, 2026-11-02T08:00:00+01:00"),
        ("PatientAge", "PatientAg", 38, "'PatientAg' is no keyword of DICOM; did you mean PatientAge?"),
        ("SCT:818981001 Abdomen}", "abdomen}", 38, "an item of ProcedureCodeSequence is 'abdomen'; write a mapping"),
        (
            "{Modality: CT, Series",
            "{modality: CT, Series",
            40,
            "'modality' is no keyword of DICOM; did you mean Modality?",
        ),
        ("instances: 120", "instances: many", 40, "instances is 'many'; write how many images the series has, 1 or"),
        ("series:\n  where", "select: {modality: CT}\nseries:\n  where", 13, "select is of 0.1 and stands beside when"),
    ],
)
def test_each_mistake_in_a_file_has_its_line_and_a_remedy(
    tmp_path: Path, written: str, instead: str, line: int, message: str
) -> None:
    assert written in FULL
    found = mistakes(tmp_path, FULL.replace(written, instead, 1))
    assert any(one.startswith(f"a.yaml:{line}: ") and message in one for one in found), found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Where is the liver of this {age|} {sex|patient}?", ""),
        ("Where is the {organ}?", "{organ} is no placeholder: there are {age}, {sex}, {side}, {reason}"),
        ("Where is the liver of this {sex?", "a brace stands alone at '{sex?': close it, or write {{"),
    ],
)
def test_a_question_may_have_what_the_header_says(tmp_path: Path, text: str, message: str) -> None:
    found = mistakes(tmp_path, FULL.replace("text: Where is the liver?", f"text: '{text}'"))
    assert (not found) if not message else message in found[0], found


def test_a_protocol_says_which_series_it_is_for(tmp_path: Path) -> None:
    (one,) = mistakes(tmp_path, "name: a\nversion: 1\n" + QUESTIONS)
    assert one == "a.yaml:1: a protocol lacks 'series'; write, for example, series: {where: {modality: CT}}"


def test_two_versions_of_one_name_are_a_mistake_unless_one_is_off(tmp_path: Path) -> None:
    text = "name: a\nversion: {}\nseries: {{where: {{modality: CT}}}}\n" + QUESTIONS.replace("{", "{{").replace(
        "}", "}}"
    )
    (tmp_path / "a1.yaml").write_text(text.format(1))
    (tmp_path / "a2.yaml").write_text(text.format(2))
    with pytest.raises(ProtocolErrors, match=r"a2.yaml:1: a stands in a1.yaml too, as version 1: one version alone"):
        load_directory(tmp_path)
    (tmp_path / "a1.yaml").write_text(text.format(1) + "off: version 2 is in service\n")
    assert [one.version for one in load_directory(tmp_path)] == ["1", "2"]


def test_a_file_of_an_earlier_form_asks_what_it_asked(tmp_path: Path) -> None:
    select = "select: {modality: CT, vague_texts: [body], body_part: ABDOMEN, image_type: [LOCALIZER], exclude: [x]}\n"
    protocol = loaded(tmp_path, f"name: a\nversion: 1\npriority: stat\nuseful_for_minutes: 5\n{select}{QUESTIONS}")
    assert protocol.limits == Limits(Priority.STAT, 5) and protocol.rank == 50
    assert protocol.series.include == {ImageKind.LOCALIZERS}
    fields = [test.field for test in every_test(protocol.series.where)]
    assert fields == ["modality", "image_type", "description", "image_type", "description", "body_part_examined"]


def test_the_schema_in_the_folder_is_the_one_that_is_exported(checkout: Path) -> None:
    assert (checkout / "deploy" / "protocols" / SCHEMA_FILE).read_text(encoding="utf-8") == schema_text()


def test_every_reference_of_the_schema_leads_somewhere() -> None:
    schema = protocol_schema()
    told = json.dumps(schema)
    references = {part.split('"')[0] for part in told.split('"#/$defs/')[1:]}
    assert references <= set(schema["$defs"])
    assert {"Conditions", "Findings", "Attributes", "TextTest", "CodeTest"} <= references
    assert schema["$defs"]["Conditions"]["properties"]["slice_thickness"]["description"] == "in millimetres"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "its aliases make more than 50,000 entries of it"),
        ("a: &a [*a]\n", "nested too deep"),
        ("a: " + "[" * 60 + "]" * 60 + "\n", "nested too deep"),
        ("a: " + "[" * 100_000 + "\n", "nested too deep"),
        ("".join(f"k{number}: v\n" for number in range(1000)), "unknown key 'k0'; a protocol has name"),
        ("when: {" + "".join(f"k{number}: v, " for number in range(1000)) + "}", "unknown key 'k0'"),
        ("questions: [" + "Where?, " * 1000 + "]", "questions has 1,000 entries; a protocol asks at most 200"),
        ("a" * 600_000, "has more than 524,288 characters: divide the protocol"),
        ("name:\n\tversion: 1\n", "indent with spaces, not with tabs"),
        ("? [a, b]\n: c\n", "a key is a list; write a text"),
        ("<<: {name: a}\n", "unknown key '<<': keys are not merged here; write them out"),
        ("just a text\n", "a protocol is 'just a text'; write a mapping with name, version, title"),
    ],
)  # fmt: skip
def test_what_is_no_protocol_is_told_and_ends_nothing(tmp_path: Path, text: str, message: str) -> None:
    found = mistakes(tmp_path, text)
    assert found and any(message in one for one in found), found
    assert len(found) <= 201 and all(len(one) < 1000 for one in found)


TEXTS = st.sampled_from(
    ["CT", "no", "1.0", "SCT:1", "(", "18Y", "a:b", "# x", "null", "{x", "[", "ä", "*a", "", "\t", "a: b", "!!int x"]
)
_KEYS = """name version title priority off when series select unknown frames questions results limits examples where any
all not count of modality age procedure received body_part_examined Modality ProcedureCodeSequence pattern code at_least
present if_missing prefer take include id text findings follow_ups ask if_seen match study instances << {}"""
KEYS = st.sampled_from(_KEYS.split())
VALUES = st.recursive(
    TEXTS | st.none() | st.integers(-2, 200) | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=25,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(KEYS, VALUES, max_size=8))
def test_whatever_a_file_holds_it_is_a_protocol_or_mistakes(tmp_path: Path, values: object) -> None:
    file = tmp_path / f"{os.getpid()}.yaml"
    file.write_text(json.dumps(values), encoding="utf-8")
    read = read_file(file)
    assert (read.protocol is None) == bool(read.mistakes)
    assert all(one.line >= 1 or one.message.startswith("and ") for one in read.mistakes)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_whatever_bytes_a_file_has_they_are_told(tmp_path: Path, contents: bytes) -> None:
    read = read_file(tmp_path / "a.yaml", contents=contents)
    assert read.mistakes and read.protocol is None
