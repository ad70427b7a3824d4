"""What a header says of its study, as a list of studies shows it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydicom.dataset import Dataset

from dicom_node.headers.study_facts import StudyFacts, study_facts


def header(**values: str) -> Dataset:
    made = Dataset()
    for name, value in values.items():
        setattr(made, name, value)
    return made


def test_a_whole_header_is_told() -> None:
    facts = study_facts(
        header(
            StudyDescription="CT abdomen", StudyDate="20261129", StudyTime="081233.5", PatientSex="F",
            PatientAge="063Y", AcquisitionDateTime="20261129081500.25+0100",
        )
    )  # fmt: skip
    acquired = datetime(2026, 11, 29, 7, 15, tzinfo=UTC)
    assert facts == StudyFacts("CT abdomen", "2026-11-29", "08:12", "F", "63 y", acquired)
    assert StudyFacts.from_json(facts.as_json()) == facts


@pytest.mark.parametrize(
    ("values", "age"),
    [
        ({"PatientAge": "009M"}, "9 m"),
        ({"PatientAge": "000D"}, "0 d"),
        ({"PatientBirthDate": "19631130", "StudyDate": "20261129"}, "62 y"),
        ({"PatientBirthDate": "19631129", "StudyDate": "20261129"}, "63 y"),
        ({"PatientBirthDate": "20271129", "StudyDate": "20261129"}, ""),
        ({"PatientAge": "old"}, ""),
    ],
)
def test_the_age_is_that_at_the_study(values: dict[str, str], age: str) -> None:
    assert study_facts(header(**values)).age == age


@pytest.mark.parametrize(
    ("values", "acquired"),
    [
        ({"StudyDate": "2026.11.29", "StudyTime": "08:12:00"}, "2026-11-29T08:12:00+00:00"),
        (
            {"AcquisitionDate": "20261129", "AcquisitionTime": "080000", "StudyDate": "20250101"},
            "2026-11-29T08:00:00+00:00",
        ),
        ({"AcquisitionDate": "20261129", "StudyTime": "080000"}, None),
        ({"AcquisitionDateTime": "20261329080000"}, None),
    ],
)
def test_the_first_moment_that_has_date_and_time_is_when_it_was_taken(
    values: dict[str, str], acquired: str | None
) -> None:
    found = study_facts(header(**values, TimezoneOffsetFromUTC="+0000")).acquired_at
    assert (None if found is None else found.isoformat()) == acquired


@pytest.mark.parametrize("hostile", ["\x00", "9" * 70_000, "99999999", "-1", "00000000"])
def test_a_header_of_nonsense_says_nothing(hostile: str) -> None:
    facts = study_facts(header(StudyDate=hostile, StudyTime=hostile, PatientAge=hostile, TimezoneOffsetFromUTC=hostile))
    assert (facts.date, facts.age, facts.acquired_at) == ("", "", None)
