"""Checking a folder: examples, and what will not do what its writer expects."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from inference.card import ImageKind, LearnedLabel, ModelCard, Region
from workflows.commands.protocols import protocols_app
from workflows.protocols.checking import check_rules

CARD = ModelCard(
    labels=(
        LearnedLabel("liver", "CT", ImageKind.SECTION, frozenset({Region.ABDOMEN}), frozenset(), 100),
        LearnedLabel("spleen", "CT", ImageKind.SECTION, frozenset({Region.ABDOMEN}), frozenset(), 100),
    )
)
LIVER = "{id: liver, text: Where is the liver?, findings: liver}"
EXAMPLES = """\
examples:
  - {title: abdomen, match: true, study: {StudyDescription: CT Abdomen}, series: {Modality: CT}}
  - {title: head, match: false, study: {StudyDescription: Head}, series: {Modality: MR}}
"""


def protocol(name: str, where: str, questions: str = LIVER, examples: str = EXAMPLES, more: str = "") -> str:
    return f"name: {name}\nversion: 1\n{more}series: {{where: {where}}}\nquestions: [{questions}]\n{examples}"


def checked(folder: Path, *, card: ModelCard | None = None, **files: str) -> tuple[list[str], list[str]]:
    """Mistakes and warnings."""
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    rules = check_rules(folder, archives=["pacs"], card=card)
    return tuple([str(one).removeprefix(f"{folder}/") for one in told] for told in (rules.mistakes, rules.warnings))  # type: ignore[return-value]


def test_a_good_protocol_has_neither_mistakes_nor_warnings(tmp_path: Path) -> None:
    assert checked(tmp_path, a=protocol("a", "{modality: CT}"), card=CARD) == ([], [])
    rules = check_rules(tmp_path)
    assert rules.passed == {("a", "1"): 2} and len(rules.protocols) == 1


def test_a_broken_example_is_a_mistake_that_says_what_was_expected_and_why(tmp_path: Path) -> None:
    mistakes, _ = checked(tmp_path, a=protocol("a", "{modality: MR}"))
    assert mistakes[0].startswith("a.yaml:6: example 'abdomen' must match, and nothing of it would be asked: ")
    assert "CT" in mistakes[0]
    assert mistakes[1].startswith("a.yaml:7: example 'head' must not match, and series 1 would be asked: ")


def test_an_example_names_the_series_that_are_asked(tmp_path: Path) -> None:
    examples = """\
examples:
  - match: true
    asks: [thin]
    series: [{Modality: CT, SeriesDescription: thin, SliceThickness: 1}, {Modality: CT, SliceThickness: 5}]
  - {match: false, series: {Modality: MR}}
"""
    assert checked(tmp_path, a=protocol("a", "{slice_thickness: {at_most: 2}}", examples=examples))[0] == []
    (told,) = checked(tmp_path, a=protocol("a", "{modality: CT}", examples=examples))[0]
    assert told.startswith("a.yaml:6: example 'example 1': series 2 would be asked, too, and stands not in asks: ")
    (told,) = checked(tmp_path, a=protocol("a", "{slice_thickness: 5}", examples=examples))[0]
    assert told.startswith("a.yaml:6: example 'example 1': series 1 (thin) must be asked, and would not be: ")


def test_an_example_of_a_protocol_that_is_off_is_tried_as_if_it_were_on(tmp_path: Path) -> None:
    off = protocol("a", "{modality: CT}", more="off: not learned\n")
    assert checked(tmp_path, a=off, b=protocol("b", "{modality: CT}"))[0] == []


@pytest.mark.parametrize(
    ("written", "warning"),
    [
        (protocol("a", "{modality: CT}", examples=""), "a.yaml:1: a has no examples: write one that it must match"),
        (
            protocol("a", "{modality: CT}", examples="examples: {match: true, series: {Modality: CT}}\n"),
            "a.yaml:5: a has no example that it must not match: match: false",
        ),
        (
            protocol("a", "{modality: CT, all: [{modality: MR}]}", examples=""),
            "a.yaml:3: no image can meet this beside series.where.modality: modality has one value, and these have",
        ),
        (
            protocol("a", "{all: [{instances: {at_least: 9}}, {instances: {at_most: 5}}]}", examples=""),
            "a.yaml:3: no image can meet this beside series.where.all[1].instances: instances is to be at least 9",
        ),
        (
            protocol("a", "{modality: CT, not: {modality: [CT, MR]}}", examples=""),
            "a.yaml:3: no image can meet this: it wants series.where.modality on the one hand and under not",
        ),
        (
            protocol("a", "{modality: DX, slice_thickness: {at_most: 3}}", examples=""),
            "a.yaml:3: images of DX have no slice thickness: it is never known",
        ),
        (
            protocol("a", "{description: abdomen}", examples=""),
            r"a.yaml:3: description: abdomen is met by a header that says this and nothing else; did you mean "
            r"{pattern: '\babdomen\b'}? If not, write {equals: abdomen}",
        ),
        (
            protocol("a", "{modality: CT, not: {series_description: [Übersicht]}}", examples=""),
            r"a.yaml:3: series_description: Übersicht is met by a header that says this and nothing else; did you mean "
            r"{pattern: 'Übersicht\b'}?",
        ),
        (
            protocol("a", "{RequestAttributesSequence/ReasonForTheRequestedProcedure: acute pain}", examples=""),
            r"ReasonForTheRequestedProcedure: acute pain is met by a header that says this and nothing else",
        ),
        (
            protocol("a", "{modality: CT}", examples="", more="when: {age: 18}\n"),
            "a.yaml:3: age 18 is met by exactly 18 years; did you mean {at_least: 18}?",
        ),
        (
            protocol("a", "{modality: [CT, MRT]}", examples=""),
            "a.yaml:3: 'MRT' is no modality of DICOM (PS3.3 C.7.3.1.1.1), so no image has it; did you mean MR?",
        ),
        (protocol("a", "{modality: CTX}", examples=""), "so no image has it; did you mean CT?"),
        (protocol("a", "{modality: RX}", examples=""), "so no image has it; did you mean CR or DX?"),
        (
            protocol("a", "{modality: CT}", "{id: a, text: 'Is this {age} liver {sex|} seen?', findings: liver}", ""),
            "a.yaml:4: every question needs what a header may not say ({age}): nothing is asked then; write {age|}",
        ),
        (protocol("a", "{modality: SR}", examples=""), "a.yaml:3: SR has no images: nothing is ever asked"),
        (
            protocol("a", "{modality: CT, image_type: LOCALIZER}", examples=""),
            "a.yaml:3: localizers are left out unless they are included: include: [localizers]",
        ),
        (
            protocol("a", "{modality: CT}", more="frames: all\n"),
            "a.yaml:3: frames: all means nothing here: all slices of a volume are read in any case, and CT has no",
        ),
        (
            protocol("a", "{modality: CT, PatientID: x}", examples=""),
            "a.yaml:3: PatientID is not kept of a header, for it tells who somebody is: the test is never known",
        ),
        (
            protocol("a", "{description: {pattern: '\\bösophagus'}}", examples=""),
            "\\b beside a letter that is not one of a to z never holds",
        ),
        (protocol("a", "{procedure: SCT:1}", examples=""), "SCT:1 is not among the codes of PS3.16: check the value"),
        (protocol("a", "{procedure: SRT:T-D4000}", examples=""), "SRT:T-D4000 is retired; write SCT:113345001"),
        (
            protocol("a", "{procedure: SCT:818981001 Head}", examples=""),
            "SCT:818981001 means 'Abdomen' in PS3.16, and 'Head' is said of it here: check the value",
        ),
        (
            protocol("a", "\n  {procedure: SCT:818981001   # Head\n  }", examples=""),
            "a.yaml:4: SCT:818981001 means 'Abdomen' in PS3.16, and 'Head' is said of it here: check the value",
        ),
        (
            protocol("a", "{modality: CT}", "{id: a, text: Où est le foie ?, findings: liver}"),
            "a.yaml:4: 'Où est le foie ?' is in a language that is not understood (French); write English or German",
        ),
        (
            protocol("a", "{modality: MR}", examples=""),
            "a.yaml:4: 'liver' will not be looked for: this model has not learned liver on MR images; it has learned",
        ),
        (
            protocol("a", "{modality: CT, region: head}", examples=""),
            "'liver' will not be looked for: this model has not learned liver on CT images of the head; it has",
        ),
        (
            protocol(
                "a",
                "{modality: CT}",
                "{id: a, text: Is there a liver metastasis?, findings: {label: liver metastasis, category: {value: '1',"
                " scheme: 99X, meaning: a}, type: {value: '2', scheme: 99X, meaning: b}}}",
            ),
            "'liver metastasis' will not be looked for: this model has not learned liver metastasis; near labels that"
            " it has learned: liver",
        ),
    ],
)
def test_what_will_not_do_what_is_expected_is_warned_of(tmp_path: Path, written: str, warning: str) -> None:
    mistakes, warnings = checked(tmp_path, a=written, card=CARD)
    assert not mistakes
    assert any(warning in one for one in warnings), warnings


@pytest.mark.parametrize(
    "where",
    [
        "{modality: CT, image_type: AXIAL, all: [{image_type: ORIGINAL}]}",
        "{modality: [CT, MR], not: {modality: MR}}",
        "{any: [{modality: DX}, {modality: CT, slice_thickness: {at_most: 3}}]}",
        "{modality: DX, slice_thickness: {at_most: 3, if_missing: true}}",
        "{procedure: SCT:80891009 Heart}",
        "{description: {pattern: 'ösophagus'}}",
        "{description: {equals: abdomen}}",
        "{study_description: CT Abdomen, series_description: [T2w, CINE_segmented]}",
        "{age: {equals: 18}, slice_thickness: 5}",
        "{modality: [ct, ES, DS]}",
    ],
)
def test_what_does_is_not_warned_of(tmp_path: Path, where: str) -> None:
    assert checked(tmp_path, a=protocol("a", where, examples="")) == (
        [],
        ["a.yaml:1: a has no examples: write one that it must match, and one that it must not"],
    )


def test_a_protocol_that_another_one_always_comes_before_is_never_asked(tmp_path: Path) -> None:
    narrow = protocol("narrow", "{modality: CT, slice_thickness: {at_most: 3}}", examples="")
    wide = protocol("wide", "{modality: [CT, MR]}", f"{LIVER}, {{id: s, text: Where is the spleen?, findings: spleen}}")
    wide = wide.replace("series: {Modality: MR}", "series: {Modality: US}")
    _, warnings = checked(tmp_path, a=narrow, b=wide.replace("version: 1", "version: 1\npriority: 60"))
    assert any("a.yaml:1: narrow is never asked: wide (priority 60) asks the same questions" in one for one in warnings)
    _, warnings = checked(tmp_path, a=narrow.replace("version: 1", "version: 1\npriority: 70"))
    assert not any("never asked" in one for one in warnings)


FOLLOWED = (
    "{id: liver, text: Where is the liver?, findings: liver, follow_ups: [{ask: How large is it?, if_seen: liver}]}"
)


@pytest.mark.parametrize(
    ("other", "more", "told"),
    [
        (LIVER, "", "; a asks, as it comes first"),
        (
            FOLLOWED,
            "",
            ", each by itself, and so it is answered twice: follow-ups, results or useful_for_minutes differ",
        ),
        (LIVER, "limits: {useful_for_minutes: 9}\n", ", each by itself, and so it is answered twice"),
    ],
)
def test_two_protocols_that_ask_the_same_of_an_example_overlap(
    tmp_path: Path, other: str, more: str, told: str
) -> None:
    spleen = "{id: s, text: Where is the spleen?, findings: spleen}"
    examples = EXAMPLES.replace("Modality: CT", "Modality: CT, SliceThickness: 1")
    first = protocol("a", "{description: {pattern: abdomen}}", f"{LIVER}, {spleen}", examples)
    _, warnings = checked(tmp_path, a=first, b=protocol("b", "{modality: CT}", other, EXAMPLES, more))
    (overlap,) = warnings
    assert overlap.startswith("a.yaml:6: overlaps with b: of example 'abdomen' both ask question liver" + told)


def test_what_an_example_has_as_its_whole_text_is_meant_so(tmp_path: Path) -> None:
    examples = EXAMPLES.replace("CT Abdomen", "Abdomen")
    assert checked(tmp_path, a=protocol("a", "{study_description: abdomen}", examples=examples)) == ([], [])


def test_a_protocol_whose_answers_go_elsewhere_is_asked_beside_one_of_the_same_questions(tmp_path: Path) -> None:
    wide = protocol("wide", "{modality: CT}", more="priority: 60\n", examples="")
    narrow = "{modality: CT, instances: {at_least: 3}}"
    elsewhere = protocol("narrow", narrow, more="results: {archives: pacs}\n", examples="")
    assert not any("never asked" in one for one in checked(tmp_path, a=wide, b=elsewhere)[1])
    assert any("never asked" in one for one in checked(tmp_path, b=protocol("narrow", narrow, examples=""))[1])


def test_a_name_of_an_archive_that_no_setting_has_is_a_mistake(tmp_path: Path) -> None:
    (mistake,) = checked(tmp_path, a=protocol("a", "{modality: CT}", more="results: {archives: pac}\n"))[0]
    assert mistake == "a.yaml:3: archive 'pac' stands in no [[archives]] name; did you mean 'pacs'?"


def test_the_command_shows_protocols_and_says_by_its_exit_code_what_it_saw(tmp_path: Path) -> None:
    run = CliRunner().invoke
    (tmp_path / "a.yaml").write_text(protocol("a", "{modality: CT}"))
    shown = run(protocols_app, ["check", str(tmp_path)])
    assert shown.exit_code == 0 and "2 of 2" in shown.output
    (tmp_path / "a.yaml").write_text(protocol("a", "{modality: CT}", examples=""))
    assert run(protocols_app, ["check", str(tmp_path / "a.yaml")]).exit_code == 0
    assert run(protocols_app, ["check", str(tmp_path), "--strict"]).exit_code == 1
    (tmp_path / "a.yaml").write_text(protocol("a", "{modality: '[bold'}").replace("liver}", "lever}"))
    wrong = run(protocols_app, ["check", str(tmp_path), "--json"])
    told = json.loads(wrong.stdout)
    assert wrong.exit_code == 2 and told["protocols"] == []
    assert (told["mistakes"][0]["line"], told["mistakes"][0]["message"][:26]) == (4, "no code is known for 'leve")
    missing = run(protocols_app, ["check", str(tmp_path / "none")])
    assert missing.exit_code == 2 and "no such folder" in missing.output


def test_protocols_that_are_off_are_counted_and_listed_with_all(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(protocol("a", "{modality: CT}"))
    (tmp_path / "idle.yaml").write_text(protocol("idle", "{modality: CT}", more="off: not learned\n"))
    shown = CliRunner().invoke(protocols_app, ["check", str(tmp_path)]).output
    assert "1 protocol is off (checked too; 2 of their examples hold); --all lists them" in shown
    assert "idle" not in shown and "idle" in CliRunner().invoke(protocols_app, ["check", str(tmp_path), "--all"]).output


def test_the_command_compares_names_with_a_configuration(tmp_path: Path) -> None:
    folder, config = tmp_path / "protocols", tmp_path / "node.toml"
    folder.mkdir()
    question = "{id: liver, text: Where is the liver?, findings: liver, predictor: organs}"
    (folder / "a.yaml").write_text(protocol("a", "{modality: CT}", question))

    def check(*more: str) -> tuple[int, str]:
        done = CliRunner().invoke(protocols_app, ["check", str(folder), *more])
        return done.exit_code, done.output

    code, told = check()
    assert not code and "not checked: predictor organs; --config FILE" in told
    config.write_text('[[predictors]]\nname = "organs"\ncheckpoint = "tiny"\n')
    assert check("--config", str(config))[0] == 0
    config.write_text('[[predictors]]\nname = "organ"\ncheckpoint = "tiny"\n')
    code, told = check("--config", str(config))
    assert code == 2 and "predictor 'organs' of question 1 stands in no [[predictors]] name; did you mean" in told


def test_the_command_writes_the_schema(tmp_path: Path) -> None:
    run = CliRunner().invoke
    assert run(protocols_app, ["schema", "--out", str(tmp_path / "schema.json")]).exit_code == 0
    assert run(protocols_app, ["schema"]).stdout == (tmp_path / "schema.json").read_text()
