"""What must not be asked: headers of a hospital's worst week against the shipped protocols, all of them as if on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dicom_node.headers.attributes import KeptStudy
from dicom_node.headers.coded import parse_code
from dicom_node.headers.study import study_header
from tests.unit.workflows.protocols.headers import STUDY, pattern, protocol
from workflows.protocols.conditions import ALWAYS, AnyOf, Coded, Condition, Test
from workflows.protocols.loader import load_directory
from workflows.protocols.matching import match
from workflows.protocols.schema import Limits, Priority, ReadingProtocol, Results

AXIAL, OBLIQUE, CORONAL = (
    ["1", "0", "0", "0", "1", "0"],
    ["0.7", "0.7", "0", "0", "0.5", "0.8"],
    ["1", "0", "0", "0", "0", "-1"],
)
ABDOMEN = "SCT:818981001"


def ct(description: str, **more: Any) -> dict[str, Any]:
    plain = {"Modality": "CT", "SliceThickness": "1", "ImageOrientationPatient": AXIAL, "instances": 100}
    return {**plain, "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"], "SeriesDescription": description, **more}


def mr(description: str, **more: Any) -> dict[str, Any]:
    return ct(description, Modality="MR", SliceThickness="6", ImageOrientationPatient=OBLIQUE, **more)


def film(description: str, **more: Any) -> dict[str, Any]:
    kind = ["DERIVED", "PRIMARY"]
    return {"Modality": "DX", "instances": 1, "ImageType": kind, "SeriesDescription": description, **more}


def asked(
    protocols: Sequence[ReadingProtocol], name: str, study: str | Mapping[str, Any], *series: Mapping[str, Any]
) -> list[str]:
    """The descriptions of the series that a protocol asks. `study`: its description, or its attributes."""
    of_study = {"StudyDescription": study} if isinstance(study, str) else study
    written = [
        {
            "attributes": {
                **of_study, "SeriesInstanceUID": f"2.25.{number}", "SeriesNumber": number,
                **{key: value for key, value in one.items() if key != "instances"},
            },
            "instances": one.get("instances", 1),
        }
        for number, one in enumerate(series, start=1)
    ]  # fmt: skip
    header = study_header(KeptStudy.from_json({"series": written}))
    described = {one.series_uid: one.series_description for one in header.series}
    plan = match(header, [replace(one, off_because="") for one in protocols])
    return [described[found.series_uid] for found in plan.matches if found.protocol.name == name]


@pytest.fixture(scope="module")
def shipped(checkout: Path) -> tuple[ReadingProtocol, ...]:
    return load_directory(checkout / "deploy" / "protocols")


def named(name: str, where: Condition = ALWAYS) -> ReadingProtocol:
    return protocol(where, name=name)


SCOUTS = ("Topo", "loc", "Survey", "PreMonitoring", "Bolus tracking", "SmartPrep", "Locator")


@pytest.mark.parametrize(
    ("name", "study", "series", "wanted"),
    [
        # A code of the study is no code of each series.
        ("abdominal-ct", {"ProcedureCodeSequence": ABDOMEN}, [ct("Kopf 5mm"), ct("LWS 2mm"), ct("Knie li")], []),
        ("abdominal-ct", {"ProcedureCodeSequence": ABDOMEN}, [ct("Kopf 5mm"), ct("5.0 B30")], ["5.0 B30"]),
        ("abdominal-ct", {"StudyDescription": "CT Head", "ProcedureCodeSequence": ABDOMEN}, [ct("axial")], []),
        # What was not done, and what was done years ago.
        ("abdominal-ct", "CT Thorax ohne Abdomen", [ct("axial")], []),
        ("abdominal-ct", "CT head s/p pancreas transplant", [ct("axial")], []),
        ("abdominal-ct", "CT Thorax, Z.n. Leber-TX", [ct("axial")], []),
        ("cardiac-mr", "MRI knee - cardiac pacemaker", [mr("pd fs")], []),
        ("cardiac-mr", "MR Kopf bei Herzschrittmacher", [mr("t2 tra")], []),
        ("cardiac-mr", "MR heart and liver iron", [mr("Liver T2*"), mr("SA cine")], ["SA cine"]),
        # The head of somebody who was hurt all over is no contradiction.
        ("ct-head", "CT Polytrauma", [ct("CCT nativ"), ct("CAP venous")], ["CCT nativ"]),
        # Of several parts in one study each series shows its own.
        (
            "chest-radiograph",
            "XR chest and abdomen",
            [film("Chest AP"), film("Abdomen"), film("KUB")],
            ["Chest AP"],
        ),
        (
            "chest-radiograph",
            "Rö Thorax und Knie",
            [film("Thorax p.a."), film("Thorax seitl."), film("Knie a.p."), film("Clavicula"), film("Becken")],
            ["Thorax p.a."],
        ),
        ("radiograph-lower-limb", "Rö Thorax und Knie", [film("Thorax p.a."), film("Knie")], ["Knie"]),
        ("chest-radiograph", "XR shoulder, chest pain", [film("AP")], []),
        ("chest-radiograph", "Chest PA and LAT", [film("PA"), film("lateral")], ["PA"]),
        ("chest-radiograph", "Chest", [film("PA"), film("Bone suppression")], ["PA"]),
        # What looks otherwise than what the weights learned.
        ("abdominal-ct", "CT Abdomen", [ct(one) for one in SCOUTS], []),
        ("abdominal-ct", "CT Abdomen", [ct("Iodine map"), ct("VNC"), ct("3.0 B30")], ["3.0 B30"]),
        ("abdominal-ct", "CT Thorax/Abdomen", [ct("1.0 Br60"), ct("3.0 B30", SliceThickness="3")], ["3.0 B30"]),
        ("abdominal-ct", "CT Abdomen", [ct("MIP 10/2", ImageType=["DERIVED", "SECONDARY", "AXIAL"])], []),
        # Everyday primary series.
        ("abdominal-ct", "CT Abdomen", [ct("pv", ImageType=["DERIVED", "PRIMARY", "AXIAL"])], ["pv"]),
        ("abdominal-ct", "CT Abdomen", [ct("pv", instances=1, NumberOfFrames="120")], ["pv"]),
        ("abdominal-ct", "CT LIVER WITHOUT CONTRAST", [ct("3.0 B30")], ["3.0 B30"]),
    ],
)  # fmt: skip
def test_each_protocol_asks_what_shows_it_and_nothing_else(
    shipped: tuple[ReadingProtocol, ...],
    name: str,
    study: str | dict[str, Any],
    series: list[dict[str, Any]],
    wanted: list[str],
) -> None:
    assert asked(shipped, name, study, *series) == wanted


def test_a_contradiction_is_not_known_whichever_condition_holds() -> None:
    """A protocol that takes what is not known still asks it, and the verdict says what to look at."""
    codes = Test("procedure", (Coded((parse_code(ABDOMEN),)),))
    asking = named("abdomen", AnyOf((codes, pattern("description", "abd"))))
    study = study_header(
        KeptStudy.from_json(
            {
                "series": [
                    {"attributes": {"Modality": "CT", "SeriesDescription": "Kopf", "ProcedureCodeSequence": ABDOMEN}}
                ]
            }
        )
    )
    told = "codes and words name regions that exclude each other: abdomen, head"
    plan = match(study, [asking])
    assert (plan.matches, plan.verdicts[0].reason) == ((), f"not known (unknown: refuse): {told}")
    taken = match(study, [replace(asking, unknown=True)])
    assert (len(taken.matches), taken.verdicts[0].flags) == (1, (told,))


def test_of_one_rank_what_is_urgent_comes_first() -> None:
    urgent = replace(named("z"), limits=Limits(priority=Priority.STAT))
    plan = match(STUDY, [named("a"), urgent], at_most=1)
    assert {found.protocol.name for found in plan.matches} == {"z"}
    assert {found.protocol.name for found in match(STUDY, [replace(named("a"), rank=51), urgent], 1).matches} == {"a"}


@pytest.mark.parametrize(
    "change", [{"results": Results(archives=("research",))}, {"limits": Limits(useful_for_minutes=60)}]
)
def test_an_answer_that_goes_elsewhere_or_is_soon_of_no_use_takes_no_others_place(change: dict[str, Any]) -> None:
    first = replace(named("a"), rank=90)
    both = match(STUDY, [replace(first, **change), named("b")])
    assert {found.protocol.name for found in both.matches} == {"a", "b"}
    alike = match(STUDY, [first, named("b")])
    assert {found.protocol.name for found in alike.matches} == {"a"}


def test_an_age_without_end_stops_no_plan() -> None:
    kept = KeptStudy.from_json({"series": [{"attributes": {"Modality": "CT", "PatientAge": "9" * 400 + "Y"}}]})
    assert study_header(kept).patient_age_years is None
