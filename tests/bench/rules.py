"""How long 100 reading protocols take over a study of 20 series, beside rules as Python expressions.

Three sets: as a hospital has them (most are for other studies), every one for this study, and every one for each series
of any study, which is the most that can be asked; the limit is for the first. The peer does what mercure's router does:
a rule is a Python expression over a flat dictionary of tags, evaluated for each series; it gives a yes or a no and no
reason.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from rich.console import Console

from dicom_node.headers.body_regions import BodyRegions
from dicom_node.headers.coded import CodedHeader
from dicom_node.headers.study import SeriesHeader, StudyHeader
from workflows.protocols.conditions import AllOf, AnyOf, Coded, Condition, Equals, Not, NumberRange, Pattern, Test
from workflows.protocols.matching import match
from workflows.protocols.schema import Order, ProtocolQuestion, ReadingProtocol, SeriesSelector

LIMIT_MS = 5.0
_CT = "1.2.840.10008.5.1.4.1.1.2"
_PARTS = (
    "abdomen", "chest", "head", "neck", "pelvis", "spine", "knee", "shoulder", "liver", "kidney", "aorta", "heart",
    "prostate", "breast", "sinus", "orbit", "ankle", "wrist", "hip", "femur",
)  # fmt: skip
_MODALITIES = ("CT", "MR", "CR", "US", "PT")
_PLANES = ("axial", "axial", "coronal", "sagittal")


def study(series: int = 20) -> StudyHeader:
    """An abdominal CT of two localizers, plain, arterial and venous series, reformats and a dose report."""
    return StudyHeader(
        "1.2",
        study_description="CT Abdomen with contrast",
        procedure_codes=(CodedHeader("818981001", "SCT", "Abdomen"),),
        patient_sex="F",
        patient_age_years=57.0,
        referring_sources=("CT1",),
        received_at=datetime(2026, 11, 2, 8, tzinfo=UTC),
        series=tuple(map(_series, range(series))),
    )


def _series(number: int) -> SeriesHeader:
    plane = _PLANES[number % 4]
    derived = plane != "axial"
    return SeriesHeader(
        series_uid=f"1.2.{number}",
        modality="CT",
        sop_class_uids=(_CT,),
        instances=40 + number,
        body_part_examined="ABDOMEN",
        series_description=f"{('native', 'arterial', 'venous')[number % 3]} {plane} {number}",
        protocol_name="Abdomen routine",
        image_type=("DERIVED", "SECONDARY", "MPR") if derived else ("ORIGINAL", "PRIMARY", "AXIAL"),
        slice_thickness_mm=(1.0, 3.0, 5.0)[number % 3],
        regions=BodyRegions(frozenset({"abdomen"})),
        plane=plane,
        phase=("native", "arterial", "venous")[number % 3],
        attributes={"SeriesNumber": (str(number),), "Manufacturer": ("A vendor",), "Modality": ("CT",)},
    )


def protocols(count: int, kind: str) -> list[ReadingProtocol]:
    """`kind`: hospital, study or series, as above."""
    return [_protocol(number, kind) for number in range(count)]


def _protocol(number: int, kind: str) -> ReadingProtocol:
    part = "abdomen" if kind != "hospital" else _PARTS[number % len(_PARTS)]
    modality = "CT" if kind != "hospital" else _MODALITIES[number // 4 % len(_MODALITIES)]
    shown = AnyOf(
        (
            Test("procedure", (Coded((CodedHeader("818981001" if part == "abdomen" else f"{number}", "SCT"),)),)),
            Test("description", (Pattern(rf"\b{part}"), Pattern(rf"\b{part[:4]}\w*{number}\b"))),
        )
    )
    age = Test("age", (NumberRange(18 if number % 2 else 16, 90 + number),))
    when: Condition = AllOf((Test("modality", (Equals((modality,)),)), age, shown))
    where = AllOf(
        (
            Test("modality", (Equals((modality,)),)),
            Test("slice_thickness", (NumberRange(0.5, (2, 4, 10)[number % 3]),), True),
            Test("instances", (NumberRange(10),)),
            Not(Test("series_description", (Pattern(rf"\b(scout|plan{number})\b"),), False)),
        )
    )
    return ReadingProtocol(
        f"protocol-{number}",
        "1",
        "",
        (ProtocolQuestion("q", f"Where is the {part}, number {number}?", ()),),
        AllOf(()) if kind == "series" else when,
        SeriesSelector(where, (Order.ORIGINAL, Order.AXIAL, Order.THIN), None if kind == "series" else 1),
    )


def expressions(rules: list[ReadingProtocol], kind: str) -> list[str]:
    """The same rules as a person writes them for mercure; patterns are words there."""
    written = []
    for number, _ in enumerate(rules):
        part = "abdomen" if kind != "hospital" else _PARTS[number % len(_PARTS)]
        modality = "CT" if kind != "hospital" else _MODALITIES[number // 4 % len(_MODALITIES)]
        written.append(
            f"@Modality@ == '{modality}' and float(@SliceThickness@ or 1) <= {(2, 4, 10)[number % 3]}"
            f" and {16 + number % 2 * 2} <= float(@PatientAge@ or 0) and '{part}' in @StudyDescription@.lower()"
            " and 'scout' not in @SeriesDescription@.lower()"
        )
    return written


def as_mercure(study: StudyHeader, rules: list[str]) -> int:
    """Each rule over the tags of each series: names are put in as texts, then the expression is evaluated."""
    yes = 0
    for series in study.series:
        tags = {
            "Modality": series.modality, "SliceThickness": str(series.slice_thickness_mm), "PatientAge": "57",
            "StudyDescription": study.study_description, "SeriesDescription": series.series_description,
        }  # fmt: skip
        for rule in rules:
            for name in tags:
                rule = rule.replace(f"@{name}@", f"tags['{name}']")
            yes += bool(eval(rule, {"__builtins__": {"float": float}}, {"tags": tags}))
    return yes


def best_ms(run: Callable[[], object], rounds: int) -> float:
    """The best of `rounds` after one to warm up, as timeit has it: what else runs on a machine makes it only slower."""
    run()
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        run()
        times.append(1000 * (time.perf_counter() - begun))
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--protocols", type=int, default=100)
    parser.add_argument("--series", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=101)
    wanted = parser.parse_args()
    header, first = study(wanted.series), 0.0
    for kind in ("hospital", "study", "series"):
        rules = protocols(wanted.protocols, kind)
        plan = match(header, rules)
        # As after a day: no study is like the one before, so that nothing is kept from one to the next.
        fresh = [replace(header, study_uid=f"1.{number}") for number in range(wanted.rounds + 1)]
        ours = best_ms(lambda fresh=fresh, rules=rules: match(fresh.pop(), rules), wanted.rounds)  # type: ignore[misc]
        written = expressions(rules, kind)
        peer = best_ms(lambda written=written: as_mercure(header, written), max(3, wanted.rounds // 20))  # type: ignore[misc]
        pairs = wanted.protocols * wanted.series
        Console().print(
            f"{kind:8} {wanted.protocols} protocols, {wanted.series} series: {ours:.2f} ms with {len(plan.verdicts)} "
            f"reasons, {1000 * ours / pairs:.2f} us a pair; evaluated expressions {peer:.0f} ms, "
            f"{peer / ours:.0f} times as long"
        )
        if kind == "hospital":
            first = ours
    if first > LIMIT_MS:
        raise SystemExit(f"{wanted.protocols} protocols of a hospital take longer than {LIMIT_MS:g} ms")


if __name__ == "__main__":
    main()
