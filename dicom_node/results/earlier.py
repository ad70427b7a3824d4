"""EarlierResult: what an earlier result of ours says, in plain values that a database keeps and a comparison needs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from dicom_node.results import codes
from dicom_node.results.concept import Code, SegmentedConcept

__all__ = [
    "EarlierAnswer", "EarlierFinding", "EarlierMeasurement", "EarlierPart", "EarlierResult", "NamedConcept",
]  # fmt: skip


@dataclass(frozen=True)
class NamedConcept:
    """What is compared of a concept: type, site, laterality. An organ is its own site, as in our reports."""

    label: str
    type: Code
    site: Code | None = None
    laterality: Code | None = None

    @staticmethod
    def of(concept: SegmentedConcept) -> NamedConcept:
        """The part of a segment's concept that is compared."""
        site = concept.site or (concept.type if concept.category == codes.ANATOMY else None)
        return NamedConcept(concept.label, concept.type, site, concept.laterality)

    def is_same(self, other: NamedConcept) -> bool:
        """Whether both mean the same, whatever they are called."""
        return self.is_same_but_for_side(other) and _same(self.laterality, other.laterality)

    def is_same_but_for_side(self, other: NamedConcept) -> bool:
        """Whether both mean the same structure, of either side."""
        return bool(self.type == other.type) and _same(self.site, other.site)

    def covers(self, other: NamedConcept) -> bool:
        """Whether who asks for this one asks for the other too: without a side it means both sides."""
        return self.is_same(other) or (self.laterality is None and self.is_same_but_for_side(other))

    def as_json(self) -> dict[str, Any]:
        """As the database keeps it."""
        named = {"type": self.type, "site": self.site, "laterality": self.laterality}
        return {
            "label": self.label,
            **{key: None if code is None else [code.value, code.scheme_designator, code.meaning]
               for key, code in named.items()},
        }  # fmt: skip

    @staticmethod
    def from_json(entry: dict[str, Any]) -> NamedConcept:
        """The inverse of `as_json`."""
        site, laterality = (Code(*entry[key]) if entry[key] else None for key in ("site", "laterality"))
        return NamedConcept(entry["label"], Code(*entry["type"]), site, laterality)


def _same(first: Code | None, second: Code | None) -> bool:
    """Code's own comparison knows SRT's codes for SCT's, and fails on None."""
    return first is second if first is None or second is None else bool(first == second)


_SMALLEST, _LARGEST = 1e-9, 1e7
"""In ml, mm2, mm or pixels: nothing that is imaged and marked is smaller or larger."""


@dataclass(frozen=True)
class EarlierMeasurement:
    """A number of an earlier finding.

    `kind`: a value of MeasurementKind. `unit`: its UCUM code. `method`: the code of how the pixel spacing was come by
    (`codes.SPACING_METHODS`), where that says what the number means.
    """

    kind: str
    value: float
    unit: str
    method: str | None = None
    at_least: bool = False

    @property
    def is_size(self) -> bool:
        """Whether the number can be the size of something marked; what an archive gives back may be anything."""
        return _SMALLEST <= self.value <= _LARGEST  # nor is NaN between them


@dataclass(frozen=True)
class EarlierFinding:
    """What an earlier result marked; one of low confidence has no measurements."""

    concept: NamedConcept
    measurements: tuple[EarlierMeasurement, ...] = ()
    low_confidence: bool = False


@dataclass(frozen=True)
class EarlierAnswer:
    """A question of an earlier result, what it asked for, and what was seen.

    `asked_in_full`: `asked` is what the question named; else only what the answer says that was seen, not seen or not
    assessed. `not_assessed`: what of it could not be looked for.
    """

    question: str
    asked: tuple[NamedConcept, ...]
    findings: tuple[EarlierFinding, ...]
    question_id: str = ""
    asked_in_full: bool = True
    not_assessed: tuple[NamedConcept, ...] = ()


@dataclass(frozen=True)
class EarlierPart:
    """A part of an earlier job. `name`: what told it from the others, empty where it was alone."""

    answers: tuple[EarlierAnswer, ...]
    name: str = ""


@dataclass(frozen=True)
class EarlierResult:
    """An earlier result of ours.

    `date`: of its study. `grid`: pixels and slices in words, `made_by`: the model with version and digest; "" where
    that is not known.
    """

    date: date
    parts: tuple[EarlierPart, ...]
    grid: str = ""
    made_by: str = ""

    @property
    def answers(self) -> tuple[EarlierAnswer, ...]:
        return tuple(answer for part in self.parts for answer in part.answers)

    def as_json(self) -> dict[str, Any]:
        """As the database keeps it."""
        return {
            "date": self.date.isoformat(),
            "grid": self.grid,
            "made_by": self.made_by,
            "parts": [
                {"name": part.name, "answers": [_answer_json(answer) for answer in part.answers]} for part in self.parts
            ],
        }

    @staticmethod
    def from_json(entry: dict[str, Any]) -> EarlierResult:
        """The inverse of `as_json`."""
        return EarlierResult(
            date=date.fromisoformat(entry["date"]),
            grid=entry["grid"],
            made_by=entry["made_by"],
            parts=tuple(
                EarlierPart(tuple(_answer(answer) for answer in part["answers"]), part["name"])
                for part in entry["parts"]
            ),
        )


def _answer_json(answer: EarlierAnswer) -> dict[str, Any]:
    return {
        "question": answer.question,
        "question_id": answer.question_id,
        "asked": [concept.as_json() for concept in answer.asked],
        "asked_in_full": answer.asked_in_full,
        "not_assessed": [concept.as_json() for concept in answer.not_assessed],
        "findings": [
            {
                "concept": finding.concept.as_json(),
                "measurements": [vars(one).copy() for one in finding.measurements],
                "low_confidence": finding.low_confidence,
            }
            for finding in answer.findings
        ],
    }


def _answer(entry: dict[str, Any]) -> EarlierAnswer:
    return EarlierAnswer(
        question=entry["question"],
        question_id=entry["question_id"],
        asked=tuple(NamedConcept.from_json(concept) for concept in entry["asked"]),
        asked_in_full=entry["asked_in_full"],
        not_assessed=tuple(NamedConcept.from_json(concept) for concept in entry.get("not_assessed", ())),
        findings=tuple(
            EarlierFinding(
                NamedConcept.from_json(finding["concept"]),
                tuple(EarlierMeasurement(**one) for one in finding["measurements"]),
                finding["low_confidence"],
            )
            for finding in entry["findings"]
        ),
    )
