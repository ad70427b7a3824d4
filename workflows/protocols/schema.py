"""ReadingProtocol: which series it is for, and the clinical questions it asks of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from dicom_node.results.finding import Code, SegmentedConcept

__all__ = ["NumberRange", "ProtocolQuestion", "ReadingProtocol", "Selector", "TextPattern"]


@dataclass(frozen=True)
class TextPattern:
    """A regular expression over a header text; case does not matter, a match anywhere counts."""

    expression: str

    def matches(self, text: str) -> bool:
        return re.search(self.expression, text, re.IGNORECASE) is not None


@dataclass(frozen=True)
class NumberRange:
    """A closed range; None is open."""

    minimum: float | None = None
    maximum: float | None = None

    def contains(self, value: float) -> bool:
        above = self.minimum is None or value >= self.minimum
        return above and (self.maximum is None or value <= self.maximum)


@dataclass(frozen=True)
class Selector:
    """Which series of which studies: every criterion that is given must hold.

    `modality`: DICOM modality codes. `texts`: one of them must match the study, series or protocol description.
    `codes`: `SCHEME:VALUE`; one must stand among procedure, protocol or anatomic region codes. Where both `texts` and
    `codes` are given one of the two suffices: codes are better, and often missing. `body_part` is only checked when
    nothing else says what the series shows, because it is often wrong. `exclude`: texts that rule a series out.
    """

    modality: tuple[str, ...]
    texts: tuple[TextPattern, ...] = ()
    codes: tuple[str, ...] = ()
    body_part: tuple[str, ...] = ()
    exclude: tuple[TextPattern, ...] = ()
    instances: NumberRange = NumberRange()
    slice_thickness_mm: NumberRange = NumberRange()


@dataclass(frozen=True)
class ProtocolQuestion:
    """A clinical question with the coded findings that its answer may name."""

    id: str
    text: str
    findings: tuple[SegmentedConcept, ...]

    def as_json(self) -> dict[str, Any]:
        """The question as a job row keeps it."""
        return {"id": self.id, "text": self.text, "findings": [_concept_json(concept) for concept in self.findings]}

    @staticmethod
    def from_json(entry: dict[str, Any]) -> ProtocolQuestion:
        """The inverse of `as_json`."""
        findings = tuple(
            SegmentedConcept(
                label=concept["label"],
                **{key: Code(*concept[key][:3]) for key in ("category", "type")},
                **{key: Code(*concept[key][:3]) if concept[key] else None for key in ("laterality", "site")},
            )
            for concept in entry["findings"]
        )
        return ProtocolQuestion(entry["id"], entry["text"], findings)


@dataclass(frozen=True)
class ReadingProtocol:
    """A named and versioned set of questions for the series that its selector finds."""

    name: str
    version: str
    title: str
    selector: Selector
    questions: tuple[ProtocolQuestion, ...]

    @staticmethod
    def commissioning(question: ProtocolQuestion) -> ReadingProtocol:
        """The protocol of a commissioning node: every series, one question."""
        return ReadingProtocol("commissioning", "1", "Commissioning: geometry end to end", Selector(()), (question,))


def _concept_json(concept: SegmentedConcept) -> dict[str, Any]:
    codes = {"category": concept.category, "type": concept.type, "laterality": concept.laterality, "site": concept.site}
    return {
        "label": concept.label,
        **{key: list(code)[:3] if code is not None else None for key, code in codes.items()},
    }
