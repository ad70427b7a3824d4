"""Keeping: an example says what its study said, and nothing of whose it is."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import yaml

from dicom_node.headers.attributes import KeptStudy
from dicom_node.headers.coded import CodedHeader
from dicom_node.headers.keywords import sequences_by_keyword
from dicom_node.headers.sensitivity import Sensitivity, sensitivity
from tests.unit.workflows.protocols.headers import equals, pattern, protocol
from workflows.protocols.conditions import AllOf, AnyOf, Coded, Condition, Equals, Test, TimeOfDay
from workflows.protocols.example_text import ExampleNotPlaced, example_text, with_example
from workflows.protocols.keeping import KeptExample, keep
from workflows.protocols.reading_back import asked_series, study_of_example
from workflows.protocols.schema import Order, ReadingProtocol

STUDY = KeptStudy.from_json(
    {
        "series": [
            {
                "attributes": {
                    "Modality": "CT",
                    "StudyInstanceUID": "1.2.3",
                    "SeriesInstanceUID": "1.2.3.1",
                    "AccessionNumber": "AB1234",
                    "StudyDescription": "CT Abdomen Mustermann 12.03.1950",
                    "SeriesDescription": "Abdomen venous for Dr. Example",
                    "SeriesNumber": number,
                    "SeriesDate": "20240312",
                    "SeriesTime": time,
                    "PatientAge": "093Y",
                    "PatientSex": "F",
                    "InstitutionName": "North Hospital",
                    "StationName": "CT07",
                    "StudyComments": "seen by Mustermann",
                    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
                    "ProcedureCodeSequence": "SCT:818981001 Abdomen",
                    "KVP": "120",
                },
                "instances": instances,
            }
            for number, time, instances in (("2", "090000", 100), ("1", "080000", 50))
        ],
        "calling_ae": ["CT7"],
        "received": "2024-03-12T17:45:00+00:00",
    }
)
IDENTITY = ("MUSTERMANN^ERIKA", "PID-77", "19500312")
ABDOMEN = AllOf((equals("modality", "CT"), pattern("description", "abdomen")))


def kept(where: Condition = ABDOMEN, *beside: ReadingProtocol, matches: bool = True, **parts: object) -> KeptExample:
    asked = protocol(where, **parts)  # type: ignore[arg-type]
    return keep(STUDY, asked, beside, matches=matches, identity=IDENTITY)


def test_an_example_holds_what_rules_ask_and_no_trace_of_whom() -> None:
    found = kept()
    text = example_text(found.example)
    for trace in (
        "Mustermann",
        "MUSTERMANN",
        "1950",
        "PID",
        "1.2.3",
        "2024",
        "Example",
        "Hospital",
        "CT07",
        "1234",
        "CT7",
    ):
        assert trace not in text, text
    assert found.example["study"]["StudyDescription"] == "CT Abdomen X X"
    assert found.example["study"]["PatientAge"] == "090Y"
    assert "KVP" not in text and found.left_out > 0
    assert found.mistake == "" and found.example["asks"] == [1, 2]  # both are called the same
    assert [one["instances"] for one in found.example["series"]] == [50, 100]  # by Series Number
    told = {note.attribute: note.told for note in found.notes}
    assert "X stands for" in told["Study Description (0008,1030)"]
    assert yaml.safe_load(text) == [found.example]


def test_notes_say_what_was_done_and_what_to_look_at() -> None:
    plain = STUDY.as_json()
    for series in plain["series"]:
        series["attributes"]["StudyDescription"] = ["CT  Abdomen "]
        series["attributes"]["ProcedureCodeSequence"] = [
            {"CodeValue": ["4711"], "CodingSchemeDesignator": ["NORTH.PROCEDURES"], "CodeMeaning": ["CT Abdomen"]}
        ]
    coded = protocol(AllOf((ABDOMEN, Test("procedure", (Coded((CodedHeader("4711", "NORTH.PROCEDURES"),)),)))))
    found = keep(KeptStudy.from_json(plain), coded)
    told = {note.attribute: note.told for note in found.notes}
    assert told["Study Description (0008,1030)"].endswith("a text that people write: look at it")
    assert "NORTH.PROCEDURES is a coding scheme of one site: look at it" in told["Procedure Code Sequence (0008,1032)"]
    assert "Procedure Code Sequence (0008,1032)" not in {note.attribute for note in kept(coded.series.where).notes}


def test_places_and_numbers_are_kept_only_where_a_rule_of_this_protocol_asks_them() -> None:
    asks = AllOf((ABDOMEN, equals("institution", "North Hospital"), pattern("accession_number", "^AB")))
    beside = protocol(asks, "another")
    assert "InstitutionName" not in str(kept(ABDOMEN, beside).example)
    found = kept(asks)
    assert found.example["study"]["InstitutionName"] == "North Hospital"
    assert found.example["study"]["AccessionNumber"] == "AB0000" and found.mistake == ""


def test_what_says_who_somebody_is_is_not_kept_even_where_a_rule_asks_it() -> None:
    found = kept(
        AnyOf((ABDOMEN, pattern("PatientName", "x"), pattern("StudyInstanceUID", "1"), equals("StudyDate", "1")))
    )
    assert not {"PatientName", "StudyInstanceUID", "StudyDate"} & (
        set(found.example["study"]) | set(found.example["series"][0])
    )
    found = kept(pattern("StudyInstanceUID", r"^1\.2\.3$"))
    assert found.mistake == "the protocol does not ask it without what is left out"
    assert any(note.attribute.startswith("Study Instance UID") and not note.kept for note in found.notes)


def test_the_time_of_receipt_keeps_its_weekday_and_hour_and_the_latest_series_stays_the_latest() -> None:
    where = AllOf((ABDOMEN, Test("received", (TimeOfDay(days=(1,)),)), Test("calling_ae", (Equals(("CT7",)),))))
    found = kept(where, prefer=(Order.LATEST,), take=1)
    moment = datetime.fromisoformat(found.example["received"])
    received = datetime(2024, 3, 12, 17, 45, tzinfo=UTC).astimezone()
    assert (moment.weekday(), moment.hour, moment.minute) == (received.weekday(), received.hour, received.minute)
    assert moment.year == 2026 and found.example["calling_ae"] == ["CT7"]
    assert found.mistake == "" and [one["SeriesTime"] for one in found.example["series"]] == ["000000", "010000"]
    assert asked_series(study_of_example(found.example), protocol(where, prefer=(Order.LATEST,), take=1)) == {1}


def test_one_that_must_not_match_is_kept_so_and_says_where_the_protocol_would_ask_it() -> None:
    found = kept(equals("modality", "MR"), matches=False)
    assert found.example["match"] is False and "asks" not in found.example and found.mistake == ""
    assert "asks it" in kept(ABDOMEN, matches=False).mistake


@pytest.mark.parametrize(
    ("text", "kept_as"),
    [
        ("MR Abdomen 5.0/3.0 B30f, Patient Protocol", "MR Abdomen 5.0/3.0 B30f, Patient Protocol"),
        ("DR Thorax pa 2 Ebenen", "DR Thorax pa 2 Ebenen"),
        ("Abdomen Frau Muster 2024-03-12", "Abdomen X X"),
        ("abdomen erika, PID-77 for Prof. med. Muster", "abdomen X, X for X"),
        ("Abdomen 12/3/24 12345678 a@b.example", "Abdomen X X X"),
    ],
)
def test_of_texts_names_dates_and_numbers_go_and_the_rest_stays(text: str, kept_as: str) -> None:
    study = KeptStudy.from_json({"series": [{"attributes": {"Modality": "CT", "StudyDescription": text}}]})
    asked = protocol(pattern("study_description", "."))
    assert keep(study, asked, identity=IDENTITY).example["study"]["StudyDescription"] == kept_as


def test_every_attribute_of_the_standard_has_a_sensitivity_and_names_of_persons_are_none_that_is_kept() -> None:
    kinds = {keyword: sensitivity(keyword) for keyword in sequences_by_keyword()}
    names = [keyword for keyword in kinds if keyword.endswith("PhysicianName") or keyword == "PatientName"]
    assert {kinds[keyword] for keyword in names} == {Sensitivity.IDENTITY}
    assert sensitivity("NoSuchKeyword") is Sensitivity.IDENTITY
    assert kinds["StudyInstanceUID"] is Sensitivity.UID and kinds["StudyDescription"] is Sensitivity.TEXT


# --- Into a file ------------------------------------------------------------------------------------------------------

EXAMPLE = {
    "title": "a portal: venous #1",
    "match": True,
    "asks": ["Abdomen venous", 2],
    "study": {"StudyDescription": "CT: nativ", "ProcedureCodeSequence": ["SCT:818981001 Abdomen"]},
    "series": [{"Modality": "CT", "SeriesDescription": "{'a'} \"b\"", "ImageType": ["A"] * 30, "SeriesNumber": "007"}],
}
HEAD = "# about\nname: a  # name\nversion: '1'\n"


@pytest.mark.parametrize(
    ("text", "before"),
    [
        (HEAD, 0),
        (HEAD + "examples: []  # none yet\nquestions: []", 0),
        (HEAD + "examples:\nquestions: []\n", 0),
        (
            HEAD + "examples:\n- title: x # keep\n  series: [{Modality: CT,\n    instances: 3}]  # why\n\n# end\n",
            1,
        ),
        (HEAD + "examples:\n    - title: |\n        long\n        text\n\n# what follows\nquestions:\n  - id: a\n", 1),
    ],
)
def test_an_example_is_put_after_the_others_and_nothing_else_of_the_file_changes(text: str, before: int) -> None:
    changed = with_example(text, EXAMPLE)
    loaded = yaml.safe_load(changed)
    assert len(loaded["examples"]) == before + 1 and loaded["examples"][-1] == EXAMPLE
    assert {**yaml.safe_load(text), "examples": None} == {**loaded, "examples": None}
    kept_lines = [line for line in text.splitlines() if not line.startswith("examples:")]
    lines = iter(changed.splitlines())
    assert all(line in lines for line in kept_lines)  # in their order


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "name: a\nexamples: [{title: x}]\n", ""])
def test_a_file_that_takes_no_example_is_refused_with_a_remedy(text: str) -> None:
    with pytest.raises(ExampleNotPlaced, match=r"protocols check|with hyphens"):
        with_example(text, EXAMPLE)
