"""Clinical knowledge of labels and the wordings made from it, read from the YAML files of this package."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Literal

import yaml

from inference.medseg_qa.errors import KnowledgeError
from inference.medseg_qa.records import QuestionKind

__all__ = [
    "IMPLICIT_KINDS",
    "AnyLabel",
    "Knowledge",
    "LabelKnowledge",
    "Wording",
    "WordingSplit",
    "folded",
    "load_knowledge",
    "split_of",
    "unknown_label",
]

IMPLICIT_KINDS = (
    QuestionKind.ANATOMICAL,
    QuestionKind.FUNCTIONAL,
    QuestionKind.PATHOLOGICAL,
    QuestionKind.SYMPTOM,
    QuestionKind.COMPARATIVE,
)
OPEN_KINDS = (QuestionKind.EXPLICIT, QuestionKind.REPORT)
TEST_EVERY = 4
WordingSplit = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Wording:
    """A question before its slots are filled; `cue` is the label's clause that stands in it, or empty."""

    id: str
    kind: QuestionKind
    text: str
    cue: str
    split: WordingSplit


@dataclass(frozen=True)
class LabelKnowledge:
    """What is known of one label. `cues` hold four clauses per implicit kind; `side`: left, right or empty.

    `training_cues` are more of them that only ever stand in training wordings, `validation_cues` in validation ones.
    """

    label: str
    group: Literal["structure", "finding", "device"]
    thing: str
    names: tuple[str, ...]
    code: tuple[str, str]
    site: tuple[str, str] | None
    side: str
    plural: bool
    article: str
    cues: Mapping[QuestionKind, tuple[str, ...]]
    appearance: Mapping[str, str]
    confused_with: tuple[str, ...]
    training_cues: Mapping[QuestionKind, tuple[str, ...]] = field(default_factory=dict)
    validation_cues: Mapping[QuestionKind, tuple[str, ...]] = field(default_factory=dict)
    frames: Mapping[str, Any] = field(default_factory=dict, repr=False)
    training_frames: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def wordings(self) -> tuple[Wording, ...]:
        """All its questions, made when they are asked for: there are thousands, and an answer needs none."""
        return tuple(wording for kind in (*OPEN_KINDS, *IMPLICIT_KINDS) for wording in self._of_kind[kind])

    @cached_property
    def _of_kind(self) -> Mapping[QuestionKind, tuple[Wording, ...]]:
        return _OfKind(self)

    @property
    def phrase(self) -> str:
        """What stands between <p> and </p>."""
        return self.names[0]

    def of_kind(self, kind: QuestionKind, split: WordingSplit) -> tuple[Wording, ...]:
        """Wordings of one kind and split; training ones stand in where there are none for validation."""
        found = tuple(wording for wording in self._of_kind[kind] if wording.split == split)
        return found if found or split != "val" else self.of_kind(kind, "train")


class _OfKind(dict[QuestionKind, tuple[Wording, ...]]):
    """The wordings of a label by kind, each kind made once."""

    def __init__(self, label: LabelKnowledge) -> None:
        self._label = label

    def __missing__(self, kind: QuestionKind) -> tuple[Wording, ...]:
        self[kind] = _wordings(self._label, kind) if self._label.frames else ()
        return self[kind]


@dataclass(frozen=True)
class Knowledge:
    """All labels, the frames of follow-up questions and answers, and what is known of the public sets."""

    labels: Mapping[str, LabelKnowledge]
    details: Mapping[QuestionKind, tuple[str, ...]]
    answers: Mapping[str, tuple[str, ...]]
    requests: tuple[str, ...]
    openings: tuple[str, ...]
    images: Mapping[str, tuple[str, ...]]
    datasets: Mapping[str, Mapping[str, Any]]
    frames: Mapping[str, Mapping[str, Sequence[str]]]
    training_details: Mapping[QuestionKind, tuple[str, ...]] = field(default_factory=dict)

    def outside(self, dataset: str, modality: str) -> tuple[str, ...]:
        """Labels that certainly lie outside the field of a set's images, else outside that of their modality."""
        known = self.datasets.get(dataset, {})
        return tuple(known.get("outside") or self.datasets["out_of_field"].get(modality, ()))

    def detail(self, kind: QuestionKind, split: WordingSplit) -> tuple[tuple[str, str], ...]:
        """Pairs of wording id and frame of a follow-up kind in one split; validation has those of training."""
        side = "test" if split == "test" else "train"
        numbered = enumerate(self.details[kind])
        found = [(f"{kind.value}:{i}", text) for i, text in numbered if split_of(i) == side]
        if side == "train":
            found += [(f"{kind.value}:t{i}", text) for i, text in enumerate(self.training_details.get(kind, ()))]
        return tuple(found)


def folded(question: str) -> str:
    """A question without case, digits and punctuation, as distinct questions are counted."""
    return " ".join(re.sub(r"[\W\d_]+", " ", question.lower()).split())


def split_of(index: int) -> WordingSplit:
    """Return the split of a frame or a cue by its place in its list: the last of four is kept for test."""
    return "test" if index % TEST_EVERY == TEST_EVERY - 1 else "train"


def _read(name: str) -> Any:
    return _parsed(files("inference.medseg_qa") / name)


def _parsed(path: Traversable) -> Any:
    # libyaml's parser, where PyYAML has it, reads the knowledge in a tenth of the time.
    return yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


@cache
def load_knowledge() -> Knowledge:
    """The committed knowledge, checked; raises KnowledgeError naming label and field."""
    frames, more = _read("wordings.yaml"), _read("training_wordings.yaml")
    folder = files("inference.medseg_qa") / "knowledge"
    clues, validation = _read("training_clues.yaml"), _read("validation_clues.yaml")
    labels: dict[str, LabelKnowledge] = {}
    for path in sorted(folder.iterdir(), key=lambda item: item.name):
        for entry in _parsed(path)["labels"]:
            name = entry.get("label") or entry["pair"]["right"]
            entry = {**entry, "training": clues.get(name, {}), "validation": validation.get(name, {})}
            for label in _expanded(entry, frames["frames"], more["frames"]):
                if label.label in labels:
                    raise KnowledgeError(f"{path.name}: label {label.label!r} is there twice")
                labels[label.label] = label
    return Knowledge(
        labels=labels,
        details={QuestionKind(kind): tuple(texts) for kind, texts in frames["details"].items()},
        answers={kind: tuple(texts) for kind, texts in _read("answers.yaml").items()},
        requests=tuple(frames["requests"]),
        openings=tuple(frames["openings"]),
        images={modality: tuple(texts) for modality, texts in frames["images"].items()},
        datasets=_read("datasets.yaml"),
        frames=frames["frames"],
        training_details={QuestionKind(kind): tuple(texts) for kind, texts in more["details"].items()},
    )


def _expanded(entry: Mapping[str, Any], frames: Mapping[str, Any], more: Mapping[str, Any]) -> list[LabelKnowledge]:
    if "pair" not in entry:
        return [_label(entry, entry["label"], "", frames, more)]
    found = []
    for side, label in entry["pair"].items():
        slots = {"side": side, "other": "left" if side == "right" else "right", **entry["side_terms"][side]}
        found.append(_label(_filled(entry, slots), label, side, frames, more))
    return found


def _filled(value: Any, slots: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return value.format_map(slots)
    if isinstance(value, list):
        return [_filled(item, slots) for item in value]
    if isinstance(value, dict):
        return {key: item if key in ("pair", "side_terms") else _filled(item, slots) for key, item in value.items()}
    return value


def _label(
    entry: Mapping[str, Any], label: str, side: str, frames: Mapping[str, Any], more: Mapping[str, Any]
) -> LabelKnowledge:
    names = {QuestionKind.SYMPTOM: "symptoms"}
    try:
        cues = {kind: tuple(entry[names.get(kind, kind.value)]) for kind in IMPLICIT_KINDS}
        training_cues, validation_cues = (
            {kind: tuple(entry.get(side, {}).get(names.get(kind, kind.value), ())) for kind in IMPLICIT_KINDS}
            for side in ("training", "validation")
        )
        made = LabelKnowledge(
            label=label,
            group=entry["class"],
            thing=entry["thing"],
            names=tuple(entry["names"]),
            code=(entry["code"][0], entry["code"][1]),
            site=tuple(entry["site"]) if "site" in entry else None,
            side=side,
            plural=entry.get("plural", False),
            article=entry.get("article", ""),
            cues=cues,
            appearance=entry["appearance"],
            confused_with=tuple(entry["confused_with"]),
            training_cues=training_cues,
            validation_cues=validation_cues,
            frames=frames,
            training_frames=more,
        )
    except KeyError as error:
        raise KnowledgeError(f"label {label!r} lacks {error}") from error
    for kind, clauses in cues.items():
        if len(clauses) != TEST_EVERY or len(set(clauses)) != TEST_EVERY:
            raise KnowledgeError(
                f"label {label!r} has {len(clauses)} {kind.value} cues, not {TEST_EVERY} different ones"
            )
    repeated = [
        cue
        for kind in cues
        for cue in (*training_cues[kind], *validation_cues[kind])
        if cue in cues[kind] or (cue in training_cues[kind] and cue in validation_cues[kind])
    ]
    if repeated:
        raise KnowledgeError(f"label {label!r}: cues that are there already: {repeated}")
    return made


def _wordings(label: LabelKnowledge, kind: QuestionKind) -> tuple[Wording, ...]:
    """Return wordings of a kind; a `t` in the id marks a frame or cue for training only, a `v` one for validation."""
    name = f"{label.label}/{kind.value}"
    texts, extra = (
        source.get(label.group, {}).get(kind.value) or source.get("finding", {}).get(kind.value, ())
        for source in (label.frames, label.training_frames)
    )
    if kind in OPEN_KINDS:
        found = [Wording(f"{name}:{i}", kind, text, "", split_of(i)) for i, text in enumerate(texts)]
        found += [Wording(f"{name}:t{i}", kind, text, "", "train") for i, text in enumerate(extra)]
        return tuple(found)
    numbered = [(f"{i}", text) for i, text in enumerate(texts)]
    numbered_for_training = numbered + [(f"t{i}", text) for i, text in enumerate(extra)]
    cues = [(f"{c}", cue, split_of(c)) for c, cue in enumerate(label.cues.get(kind, ()))]
    cues += [(f"t{c}", cue, "train") for c, cue in enumerate(label.training_cues.get(kind, ()))]
    cues += [(f"v{c}", cue, "val") for c, cue in enumerate(label.validation_cues.get(kind, ()))]
    found = []
    for c, cue, split in cues:
        for i, text in numbered_for_training if split == "train" else numbered:
            filled = text.replace("{cue}", cue).replace("{Cue}", cue[0].upper() + cue[1:])
            found.append(Wording(f"{name}:{c}.{i}", kind, filled, cue, split))
    return tuple(found)


def unknown_label(label: str, knowledge: Knowledge) -> LabelKnowledge:
    """A label without knowledge that is only asked for openly (`--allow-unknown-labels`)."""
    frames = {"structure": {kind.value: knowledge.frames["structure"][kind.value] for kind in OPEN_KINDS}}
    return LabelKnowledge(
        label, "structure", "structure", (label,), ("", label), None, "", False, "", {}, {}, (), frames=frames
    )


class AnyLabel(dict[str, LabelKnowledge]):
    """Known labels, and for every other one a bare entry (`unknown_label`)."""

    def __init__(self, knowledge: Knowledge) -> None:
        super().__init__(knowledge.labels)
        self._knowledge = knowledge

    def get(self, key: str, default: object = None) -> LabelKnowledge:
        return self[key]

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str)

    def __missing__(self, key: str) -> LabelKnowledge:
        self[key] = unknown_label(key, self._knowledge)
        return self[key]
