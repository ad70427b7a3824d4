"""ReadingProtocol: which series it is for, and the clinical questions it asks of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from dicom_node.results.finding import Code, SegmentedConcept
from dicom_node.volumes.frames import MIDDLE_FRAME, FrameChoice

__all__ = ["NumberRange", "Priority", "ProtocolQuestion", "ReadingProtocol", "Selector", "TextPattern", "Turn"]


@dataclass(frozen=True)
class TextPattern:
    """A regular expression over a header text; case does not matter, a match anywhere counts."""

    expression: str

    def matches(self, text: str) -> bool:
        """Whether the expression occurs in `text`."""
        return re.search(self.expression, text, re.IGNORECASE) is not None


@dataclass(frozen=True)
class NumberRange:
    """A closed range; None is open."""

    minimum: float | None = None
    maximum: float | None = None

    def contains(self, value: float) -> bool:
        """Whether `value` lies in the range, ends included."""
        above = self.minimum is None or value >= self.minimum
        return above and (self.maximum is None or value <= self.maximum)

    def __str__(self) -> str:
        low, high = (None if bound is None else f"{bound:g}" for bound in (self.minimum, self.maximum))
        if low is None or high is None:
            return f"at least {low}" if low is not None else f"at most {high}" if high is not None else "any"
        return f"{low} to {high}"


@dataclass(frozen=True)
class Selector:
    """Which series of which studies.

    What must hold, where given: `modality` (DICOM modality codes), `sop_classes` (every SOP Class UID of the series is
    among them), `image_type` (each value stands in Image Type), `instances`, `slice_thickness_mm` (a series without one
    passes), and none of `exclude` matches a description or an Image Type value.

    What must show the anatomy, one of: a code of `codes` (`SCHEME:VALUE`, among procedure, protocol and anatomic region
    codes); a text of `texts` (in the study's, requested procedure's, series' or protocol's description); or a text of
    `vague_texts` together with a `body_part`. Body Part Examined is often wrong, so it never decides alone, and never
    against a text or a code. A selector without any of the three takes whatever passes the first paragraph.
    """

    modality: tuple[str, ...]
    texts: tuple[TextPattern, ...] = ()
    codes: tuple[str, ...] = ()
    vague_texts: tuple[TextPattern, ...] = ()
    body_part: tuple[str, ...] = ()
    exclude: tuple[TextPattern, ...] = ()
    image_type: tuple[str, ...] = ()
    sop_classes: tuple[str, ...] = ()
    instances: NumberRange = NumberRange()
    slice_thickness_mm: NumberRange = NumberRange()


@dataclass(frozen=True)
class Turn:
    """An earlier question about the same images, and what was answered. `phrases`: what the answer named."""

    question: str
    answer: str
    phrases: tuple[str, ...] = ()


@dataclass(frozen=True)
class ProtocolQuestion:
    """A clinical question with the coded findings that its answer may name.

    `follows`: id of the question that it goes on from, in the same conversation; "" for none. `earlier`: turns of a
    conversation that was held before, oldest first.
    `predictor`: who of `[[predictors]]` answers it; empty: the one of [model].
    """

    id: str
    text: str
    findings: tuple[SegmentedConcept, ...]
    follows: str = ""
    earlier: tuple[Turn, ...] = ()
    predictor: str = ""

    def follow_ups(self, texts: Sequence[str]) -> tuple[ProtocolQuestion, ...]:
        """The questions that go on from this one, each from the one before it."""
        chain = [self]
        for number, text in enumerate(texts, start=1):
            chain.append(
                ProtocolQuestion(
                    f"{self.id}, follow-up {number}", text, self.findings, chain[-1].id, predictor=self.predictor
                )
            )
        return tuple(chain[1:])

    def as_json(self) -> dict[str, Any]:
        """The question as a job row keeps it; who answers stands in the job.

        What a question does not have is left out, so that keys stay what they were.
        """
        entry: dict[str, Any] = {
            "id": self.id,
            "text": self.text,
            "findings": [_concept_json(concept) for concept in self.findings],
        }
        if self.follows:
            entry["follows"] = self.follows
        if self.earlier:
            entry["earlier"] = [[turn.question, turn.answer, list(turn.phrases)] for turn in self.earlier]
        return entry

    @staticmethod
    def from_json(entry: dict[str, Any]) -> ProtocolQuestion:
        """The inverse of `as_json`."""
        findings = tuple(_concept(concept) for concept in entry["findings"])
        earlier = tuple(Turn(said, answer, tuple(named)) for said, answer, named in entry.get("earlier", ()))
        return ProtocolQuestion(entry["id"], entry["text"], findings, entry.get("follows", ""), earlier)


class Priority(Enum):
    """How soon what a protocol asks is to be answered."""

    STAT = "stat"
    ROUTINE = "routine"


@dataclass(frozen=True)
class ReadingProtocol:
    """A named and versioned set of questions for the series that its selector finds.

    `frames`: which frames are read of a cine, or of another instance whose frames have no places in the patient.
    `useful_for_minutes`: how long after a study's last instance an answer is of use; None: at any time.
    """

    name: str
    version: str
    title: str
    selector: Selector
    questions: tuple[ProtocolQuestion, ...]
    frames: FrameChoice = MIDDLE_FRAME
    priority: Priority = Priority.ROUTINE
    useful_for_minutes: float | None = None

    def by_predictor(self) -> tuple[tuple[str, ReadingProtocol], ...]:
        """The protocol for each predictor that its questions name, with their questions alone; a job is made of each.

        One for another predictor than that of [model] is called `NAME@PREDICTOR`: its results replace its own.
        """
        names = dict.fromkeys(question.predictor for question in self.questions)
        return tuple(
            (name, replace(self, name=f"{self.name}@{name}" if name else self.name, questions=self._asking(name)))
            for name in names
        )

    def _asking(self, predictor: str) -> tuple[ProtocolQuestion, ...]:
        return tuple(question for question in self.questions if question.predictor == predictor)

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


def _concept(entry: dict[str, Any]) -> SegmentedConcept:
    laterality, site = (Code(*entry[key]) if entry[key] else None for key in ("laterality", "site"))
    return SegmentedConcept(entry["label"], Code(*entry["category"]), Code(*entry["type"]), laterality, site)
