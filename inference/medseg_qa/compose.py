"""Questions and answers of one image from wordings, knowledge and measured masks."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from inference.medseg_qa.knowledge import IMPLICIT_KINDS, Knowledge, LabelKnowledge, Wording, WordingSplit
from inference.medseg_qa.measure import percent_text, side_text, zone_text
from inference.medseg_qa.phrasing import articled, fill, grounded, joined, label_slots
from inference.medseg_qa.records import QuestionKind, Record, Split, Target, Turn

__all__ = ["ImageFacts", "TurnComposer", "wording_split"]

DETAIL_KINDS = (
    QuestionKind.LOCATION,
    QuestionKind.SIZE,
    QuestionKind.SIDE,
    QuestionKind.MEANING,
    QuestionKind.APPEARANCE,
)
_DISTINCTIVE_KINDS = (QuestionKind.ANATOMICAL, QuestionKind.FUNCTIONAL, QuestionKind.COMPARATIVE)

# computed radiography looks like digital radiography
_LOOKS_LIKE = {"CR": "DX"}


@dataclass(frozen=True)
class ImageFacts:
    """What questions and answers may rely on: measured targets and labels known to be absent.

    `size` and `spacing_mm`: rows, columns.
    """

    id: str
    split: Split
    dataset: str
    modality: str
    size: tuple[int, int]
    spacing_mm: tuple[float, float] | None
    orientation: str
    context: str
    targets: tuple[Target, ...]
    absent: tuple[str, ...]

    @classmethod
    def of(cls, record: Record, absent: tuple[str, ...], split: Split | None = None) -> ImageFacts:
        """Return what may be said of a record; `split`: instead of its own."""
        return cls(
            record.id, split or record.split, record.dataset, record.modality, record.size, record.spacing_mm,
            record.orientation, record.context, record.targets, absent,
        )  # fmt: skip


def wording_split(split: Split) -> WordingSplit:
    """Everything that is tested on uses the kept wordings; validation has clues of its own and shares the rest."""
    sides: dict[Split, WordingSplit] = {Split.TRAIN: "train", Split.VAL: "val"}
    return sides.get(split, "test")


class TurnComposer:
    """Makes single turns about one image; the same seed gives the same turns."""

    def __init__(
        self, facts: ImageFacts, knowledge: Knowledge, labels: Mapping[str, LabelKnowledge], seed: int
    ) -> None:
        self.facts = facts
        self.random = random.Random(f"{seed}/{facts.id}")
        self._knowledge = knowledge
        self._labels = labels
        self._split = wording_split(facts.split)
        self._used: set[str] = set()
        dataset = knowledge.datasets.get(facts.dataset, {})
        by_modality = knowledge.images.get(facts.modality, knowledge.images["other"])
        self._images: tuple[str, ...] = tuple(dataset.get("images", by_modality))
        self._image = self._images[0]

    def named(self, index: int, kind: QuestionKind) -> Turn:
        """A question that names or implies target `index`, answered with its mask."""
        target = self.facts.targets[index]
        label = self._labels[target.label]
        self._image = self.random.choice(self._images)
        wording, question = self._question(label, kind)
        key = f"{kind.value}_{label.group}"
        frames = self._knowledge.answers.get(key) or self._knowledge.answers[kind.value]
        if not label.cues:
            frames = self._knowledge.answers["explicit"]
        slots = {**self._slots(label), **self._target_slots(target, label), "cue": wording.cue}
        answer = fill(self.random.choice(frames), slots)
        return Turn(question, answer, kind, (target.label,), (index,), (), wording.id)

    def missing(self, name: str, kind: QuestionKind) -> Turn:
        """A question about a label that is not in the image, answered honestly."""
        label = self._labels[name]
        self._image = self.random.choice(self._images)
        wording, question = self._question(label, kind)
        frames = self._knowledge.answers["absent_implicit" if kind in IMPLICIT_KINDS else "absent"]
        answer = fill(self.random.choice(frames), self._slots(label, label.phrase))
        return Turn(question, answer, kind, (name,), (), (name,), wording.id)

    def implicit_kind(self, name: str, *, absent: bool = False) -> QuestionKind:
        """An implicit kind that can be answered without doubt for this label; explicit where nothing is known."""
        label = self._labels[name]
        if not label.cues:
            return QuestionKind.EXPLICIT
        groups = [self._labels[target.label].group for target in self.facts.targets if target.label != name]
        rivals = label.group != "structure" and label.group in groups
        # a disease or a setting would fit several findings or devices alike; place, role and looks tell them apart
        doubtful = rivals or (absent and label.group == "device")
        return self.random.choice(_DISTINCTIVE_KINDS if doubtful else IMPLICIT_KINDS)

    def detail(self, index: int, kinds: tuple[QuestionKind, ...] = DETAIL_KINDS) -> Turn:
        """A follow-up on target `index`: where, how large, which side, what it may mean, how it looks."""
        target = self.facts.targets[index]
        label = self._labels[target.label]
        fitting = [kind for kind in kinds if self._can_detail(target, label, kind)]
        kind = self.random.choice(fitting or [QuestionKind.LOCATION])
        self._image = self.random.choice(self._images)
        name = self.random.choice(label.names)
        wording, frame = self.random.choice(self._knowledge.detail(kind, self._split))
        slots = {**self._slots(label, name), **self._target_slots(target, label), "target": f"the {name}"}
        key = kind.value
        if kind is QuestionKind.SIZE:
            key = "size_mm" if self.facts.spacing_mm else "size_px"
        frames = self._knowledge.answers[key]
        if kind is QuestionKind.LOCATION and not label.cues:
            frames = frames[:1]
        question = fill(frame, slots)
        answer = fill(self.random.choice(frames), slots)
        return Turn(question, answer, kind, (target.label,), (index,), (), wording)

    def overview(self) -> Turn:
        """What is seen: every target, or honestly nothing."""
        wording, frame = self.random.choice(self._knowledge.detail(QuestionKind.OVERVIEW, self._split))
        self._image = self.random.choice(self._images)
        image = {"image": self._image}
        targets = self.facts.targets
        key = "overview" if targets else "nothing"
        slots = {**image, "list": joined([self._listed(t) for t in targets]) if targets else "", "are": self._are()}
        answer = fill(self.random.choice(self._knowledge.answers[key]), slots)
        asked = tuple(target.label for target in targets) or self.facts.absent
        indices = tuple(range(len(targets)))
        missing = () if targets else self.facts.absent
        return Turn(fill(frame, image), answer, QuestionKind.OVERVIEW, asked, indices, missing, wording)

    def multi(self, indices: tuple[int, ...], absent: str | None) -> Turn:
        """One question about several things at once, one of which may be missing."""
        chosen = [self.facts.targets[index] for index in indices]
        labels = [self._labels[target.label] for target in chosen]
        names = [self._slots(label)["target"] for label in labels]
        wording, frame = self.random.choice(self._knowledge.detail(QuestionKind.MULTI, self._split))
        image = self._image = self.random.choice(self._images)
        slots = {"image": image, "list": joined([self._listed(target) for target in chosen]), "are": "are"}
        answer = fill(self.random.choice(self._knowledge.answers["multi"]), slots)
        missing: tuple[str, ...] = ()
        if absent is not None:
            label, missing = self._labels[absent], (absent,)
            names.insert(self.random.randrange(len(names) + 1), self._slots(label)["target"])
            denied = {**self._slots(label), "image": image, "absent": articled(label, label.phrase)}
            answer = f"{answer} {fill(self.random.choice(self._knowledge.answers['multi_absent']), denied)}"
        question = fill(frame, {"targets": joined(names), "image": image})
        asked = (*(target.label for target in chosen), *missing)
        return Turn(question, answer, QuestionKind.MULTI, asked, indices, missing, wording)

    def _question(self, label: LabelKnowledge, kind: QuestionKind) -> tuple[Wording, str]:
        choices = label.of_kind(kind, self._split)
        fresh = [wording for wording in choices if wording.id not in self._used]
        wording = self.random.choice(fresh or choices)
        self._used.add(wording.id)
        slots = self._slots(label, label.phrase if kind in IMPLICIT_KINDS else None)
        text = fill(wording.text, slots)
        if kind in IMPLICIT_KINDS:
            opening = self.random.choice(self._knowledge.openings) if "{image}" not in wording.text else ""
            request = fill(self.random.choice(self._knowledge.requests), slots)
            if opening:
                text = f"{fill(opening, slots)} {text[0].lower()}{text[1:]}"
            text = f"{text} {request}".strip()
        if self.facts.context and self.random.random() < 0.5:
            text = f"{self.facts.context} {text}"
        return wording, text

    def _slots(self, label: LabelKnowledge, name: str | None = None) -> dict[str, str]:
        return {**label_slots(label, name or self.random.choice(label.names)), "image": self._image}

    def _target_slots(self, target: Target, label: LabelKnowledge) -> dict[str, str]:
        """Slots of answers about a target; the grounded phrase decides number and article."""
        row0, column0, row1, column1 = target.bbox
        spacing = self.facts.spacing_mm or (0.0, 0.0)
        words: Mapping[str, str] = self._knowledge.datasets["modality_words"]
        diseases = label.cues.get(QuestionKind.PATHOLOGICAL, ("", ""))
        first, second = self.random.sample(diseases, 2)
        mimic = self.random.choice(label.confused_with or ("",))
        return {
            **label_slots(label, label.phrase),
            "g": grounded(target.phrase),
            "share": percent_text(target, self.facts.size),
            "zone": zone_text(target, self.facts.size),
            "side": side_text(target, self.facts.orientation) or "",
            "width_px": str(column1 - column0),
            "height_px": str(row1 - row0),
            "width_mm": f"{(column1 - column0) * spacing[1]:.0f}",
            "height_mm": f"{(row1 - row0) * spacing[0]:.0f}",
            "area_mm2": f"{target.area_mm2 or 0:.0f}",
            "location": (label.cues.get(QuestionKind.ANATOMICAL) or ("",))[0],
            "disease1": first,
            "disease2": second,
            "modality": words.get(self.facts.modality, "this modality"),
            "appearance": self._appearance(label),
            "confusion": self._labels[mimic].phrase if mimic in self._labels else mimic,
        }

    def _can_detail(self, target: Target, label: LabelKnowledge, kind: QuestionKind) -> bool:
        if kind is QuestionKind.SIDE:
            # "on which side is the right kidney?" would answer itself
            return target.side is not None and not label.side
        if kind is QuestionKind.APPEARANCE:
            return self._appearance(label) != ""
        return kind is not QuestionKind.MEANING or (bool(label.cues) and label.group != "device")

    def _appearance(self, label: LabelKnowledge) -> str:
        modality = _LOOKS_LIKE.get(self.facts.modality, self.facts.modality)
        return label.appearance.get(modality, "")

    def _listed(self, target: Target) -> str:
        article = articled(self._labels[target.label], target.phrase).removesuffix(target.phrase)
        return f"{article}{grounded(target.phrase)}"

    def _are(self) -> str:
        targets = self.facts.targets
        plural = len(targets) > 1 or any(self._labels[target.label].plural for target in targets)
        return "are" if plural else "is"
