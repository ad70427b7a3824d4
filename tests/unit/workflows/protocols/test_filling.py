"""What a header says, put into a question's text: words that read well, and nothing that a header must not bring in."""

from __future__ import annotations

import pytest

from dicom_node.headers.study import SeriesHeader, StudyHeader
from dicom_node.results.codes import LABELS
from workflows.protocols.filling import filled, filled_questions, placeholders
from workflows.protocols.schema import ProtocolQuestion


def asked(text: str, laterality: str = "", **study: object) -> str:
    """The text as it is asked, or the attribute that is missing."""
    question = ProtocolQuestion("id", text, (LABELS["liver"],), predictor="p")
    found = filled(question, StudyHeader("1.2", **study), SeriesHeader("1.2.3", "CT", (), 1, laterality=laterality))  # type: ignore[arg-type]
    return found if isinstance(found, str) else found.text


@pytest.mark.parametrize(
    ("text", "header", "told"),
    [
        ("A {age} {sex}: liver?", {"patient_age_years": 54.9, "patient_sex": "F"}, "A 54-year-old woman: liver?"),
        ("A {age} {sex}?", {"patient_age_years": 2.0, "patient_sex": "o "}, "A 2-year-old patient?"),
        ("A {age} child?", {"patient_age_years": 14 / 12}, "A 14-month-old child?"),
        ("A {age} child?", {"patient_age_years": 3 / 365.25}, "A newborn child?"),
        ("Wo ist die Leber? ({sex}, {age})", {"patient_age_years": 54.0, "patient_sex": "M"},
         "Wo ist die Leber? (Mann, 54 Jahre alt)"),
        ("The {side} kidney?", {"laterality": "L"}, "The left kidney?"),
        ("Both: {side}?", {"laterality": "B"}, "Both: left and right?"),
        ("The {side|} kidney of this { sex | patient }?", {"laterality": "U"}, "The kidney of this patient?"),
        ("Look {{here}} for {reason}?", {"reason": "pain"}, "Look {here} for pain?"),
        ("No {{placeholder}}?", {}, "No {placeholder}?"),
        ("A {age} {sex}?", {"patient_age_years": 54.0}, "Patient's Sex (0010,0040)"),
        ("A {age} patient?", {"patient_age_years": -1.0}, "Patient's Age (0010,1010)"),
        ("Why: {reason}?", {"reason": " {age}\x00\r\n\u202ecough,  \x1b[31mfever{{ \u2028"},
         "Why: age cough, [31mfever?"),
        ("Why: {reason}?", {"reason": " {} \n"}, "Reason for the Requested Procedure (0040,1002)"),
    ],
)  # fmt: skip
def test_texts_are_filled(text: str, header: dict[str, object], told: str) -> None:
    assert asked(text, **header) == told  # type: ignore[arg-type]


def test_a_long_reason_is_cut() -> None:
    told = asked("{reason}", reason="word " * 20_000)
    assert (len(told), told[-4:]) == (199, "word")


@pytest.mark.parametrize(
    "text", ["a {age", "a {", "age}", "{weight}", "{}", "{age {sex}}", "{" * 49_999, "{a" * 50_000, "{" + "a" * 50_000]
)
def test_a_brace_that_means_nothing_is_named_with_a_remedy(text: str) -> None:
    with pytest.raises(ValueError, match=r"close it, or write|there are \{age\}"):
        placeholders(text)


def test_placeholders_are_named_once() -> None:
    assert placeholders("{age} {sex|patient} {age|old} {{reason}}") == ("age", "sex")


def test_what_goes_on_from_what_is_not_asked_is_not_asked_and_ids_stay() -> None:
    first = ProtocolQuestion("the {sex}", "A {sex}?", (LABELS["liver"],))
    second, third = first.follow_ups(["And {reason}?", "How large is it?"])
    other = ProtocolQuestion("other", "Where?", ())
    study, series = StudyHeader("1.2", patient_sex="M"), SeriesHeader("1.2.3", "CT", (), 1)
    questions, missing = filled_questions([first, second, third, other], study, series)
    assert [(one.id, one.text) for one in questions] == [("the {sex}", "A man?"), ("other", "Where?")]
    assert questions[1] is other, "a text without braces is as it was"
    assert missing == {one.id: "Reason for the Requested Procedure (0040,1002)" for one in (second, third)}
