"""ReadingProtocol: which series it is for, and the clinical questions it asks of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from enum import Enum
from typing import Any

from dicom_node.headers.attributes import KeptStudy
from dicom_node.results.finding import Code, SegmentedConcept
from dicom_node.volumes.frames import MIDDLE_FRAME, FrameChoice
from workflows.protocols.conditions import ALWAYS, Condition

__all__ = [
    "Example", "ImageKind", "Limits", "OnlyIf", "Order", "Preference", "Priority", "ProtocolQuestion",
    "ReadingProtocol", "Results", "SeriesSelector", "Turn",
]  # fmt: skip


class Priority(Enum):
    """How soon what a protocol asks is to be answered."""

    STAT = "stat"
    ROUTINE = "routine"


class ImageKind(Enum):
    """Kinds of images that are not asked unless a protocol includes them (hygiene.py)."""

    REFORMATS = "reformats"
    CAPTURES = "captures"
    LOCALIZERS = "localizers"
    OWN_RESULTS = "own results"


class Order(Enum):
    """What a protocol prefers by name; `prefer` also takes conditions."""

    ORIGINAL = "original"  # before derived, by Image Type value 1
    AXIAL = "axial"  # before coronal, sagittal and oblique
    THIN = "thin"
    THICK = "thick"
    MOST_IMAGES = "most images"
    LATEST = "latest"  # by Series Date and Time, else Series Number


Preference = Order | Condition


@dataclass(frozen=True)
class SeriesSelector:
    """Which series of a study that fits, the preferred ones first, and at most how many of them (None: all)."""

    where: Condition = ALWAYS
    prefer: tuple[Preference, ...] = ()
    take: int | None = None
    include: frozenset[ImageKind] = frozenset()


@dataclass(frozen=True)
class Results:
    """Where results go instead of where the settings say: names of archives, a profile; empty: as the settings say."""

    archives: tuple[str, ...] = ()
    profile: str = ""


@dataclass(frozen=True)
class Limits:
    """`useful_for_minutes`: how long after a study's last instance an answer is of use; None: at any time.
    `largest_study`: instances; a larger one is not asked. `prior_deadline_s`: how long archives are asked for earlier
    results; None: as planning has it."""

    priority: Priority = Priority.ROUTINE
    useful_for_minutes: float | None = None
    largest_study: int | None = None
    prior_deadline_s: float | None = None


@dataclass(frozen=True)
class Example:
    """Headers that a protocol must or must not match. `asks`: Series Descriptions, or numbers from 1, of those series
    that it must ask, no others; None: any. `line`: where it stands in the file."""

    title: str
    study: KeptStudy
    matches: bool
    asks: tuple[str, ...] | None = None
    line: int = 0


@dataclass(frozen=True)
class OnlyIf:
    """A follow-up is asked only if its conversation has marked this finding, and one larger than a size.

    `finding`: a label, a side or part of it is one, too; "" for any finding. `larger_than_mm`: its long axis;
    `larger_than_ml`: its volume; with both one finding is larger than both. When in doubt it is asked: what has a low
    confidence was seen, and a size that is not measured, or is a lower bound only, stops nothing.
    """

    finding: str = ""
    larger_than_mm: float | None = None
    larger_than_ml: float | None = None


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
    only_if: OnlyIf | None = None

    def follow_ups(self, asked: Sequence[str | tuple[str, OnlyIf]]) -> tuple[ProtocolQuestion, ...]:
        """The questions that go on from this one: texts, or texts with a condition.

        A text goes on from the question before it, and is asked only where that is. One with a condition goes on from
        the last question before it that is always asked: conditions do not hang on each other.
        """
        always = before = self
        made: list[ProtocolQuestion] = []
        for number, one in enumerate(asked, start=1):
            text, only_if = (one, None) if isinstance(one, str) else one
            follows = before if only_if is None else always
            before = replace(
                self, id=f"{self.id}, follow-up {number}", text=text, follows=follows.id, earlier=(), only_if=only_if
            )
            made.append(before)
            if only_if is None and follows is always:
                always = before
        return tuple(made)

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
        if self.only_if is not None:
            entry["only_if"] = {key: value for key, value in asdict(self.only_if).items() if value not in ("", None)}
        if self.earlier:
            entry["earlier"] = [[turn.question, turn.answer, list(turn.phrases)] for turn in self.earlier]
        return entry

    @staticmethod
    def from_json(entry: dict[str, Any]) -> ProtocolQuestion:
        """The inverse of `as_json`."""
        findings = tuple(_concept(concept) for concept in entry["findings"])
        earlier = tuple(Turn(said, answer, tuple(named)) for said, answer, named in entry.get("earlier", ()))
        only_if = OnlyIf(**entry["only_if"]) if "only_if" in entry else None
        return ProtocolQuestion(
            entry["id"], entry["text"], findings, entry.get("follows", ""), earlier, only_if=only_if
        )


@dataclass(frozen=True)
class ReadingProtocol:
    """A named and versioned set of questions for the series that it selects.

    `when`: which studies. `series`: which of their series. `unknown`: whether it asks where headers do not say enough.
    `rank` (`priority` in a file): protocols of a higher one come first, where a cap or a question asked twice decides.
    `frames`: which frames are read of a cine, or of another instance whose frames have no places in the patient.
    `off_because`: why it is off; "" where it is in service. `digest`: SHA-256 of its file, as it was loaded.
    """

    name: str
    version: str
    title: str
    questions: tuple[ProtocolQuestion, ...]
    when: Condition = ALWAYS
    series: SeriesSelector = SeriesSelector()
    unknown: bool = False
    rank: int = 50
    frames: FrameChoice = MIDDLE_FRAME
    results: Results = Results()
    limits: Limits = Limits()
    examples: tuple[Example, ...] = ()
    off_because: str = ""
    digest: str = ""

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
        return ReadingProtocol("commissioning", "1", "Commissioning: geometry end to end", (question,))


def _concept_json(concept: SegmentedConcept) -> dict[str, Any]:
    codes = {"category": concept.category, "type": concept.type, "laterality": concept.laterality, "site": concept.site}
    return {
        "label": concept.label,
        **{key: list(code)[:3] if code is not None else None for key, code in codes.items()},
    }


def _concept(entry: dict[str, Any]) -> SegmentedConcept:
    laterality, site = (Code(*entry[key]) if entry[key] else None for key in ("laterality", "site"))
    return SegmentedConcept(entry["label"], Code(*entry["category"]), Code(*entry["type"]), laterality, site)
