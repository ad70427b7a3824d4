"""The committed knowledge covers the public labels with enough wordings, kept apart for training and test."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from inference.medseg_qa.knowledge import IMPLICIT_KINDS, LabelKnowledge, folded, load_knowledge
from inference.medseg_qa.records import QuestionKind

pytestmark = pytest.mark.slow  # half a million wordings
ASKED_KINDS = list(QuestionKind)[:7]


def validated() -> dict[str, LabelKnowledge]:
    return {name: label for name, label in load_knowledge().labels.items() if any(label.validation_cues.values())}


def test_every_label_has_sixty_wordings_and_eight_of_each_kind() -> None:
    for name, label in load_knowledge().labels.items():
        distinct = {(wording.kind, folded(wording.text)) for wording in label.wordings}
        counts = Counter(kind for kind, _ in distinct)
        assert len({text for _, text in distinct}) >= 60, name
        assert all(counts[kind] >= 8 for kind in ASKED_KINDS), name


def test_wordings_for_test_are_not_those_for_training() -> None:
    for name, label in load_knowledge().labels.items():
        sides = {split: {folded(w.text) for w in label.wordings if w.split == split} for split in ("train", "test")}
        assert sides["train"] and sides["test"], name
        assert not sides["train"] & sides["test"], name


def test_implicit_wordings_do_not_name_their_label() -> None:
    openly = [
        (name, wording.text)
        for name, label in load_knowledge().labels.items()
        for wording in label.wordings
        for phrase in label.names
        if wording.cue and re.search(rf"\b{re.escape(phrase)}\b", wording.text, re.IGNORECASE)
    ]
    assert not openly


def test_public_labels_are_known(shared_data: Path) -> None:
    rows = [json.loads(line) for line in (shared_data / "images" / "manifest.jsonl").open()]
    public = {name for row in rows for name in (*row.get("labels", {}).values(), *row.get("masks", {}))}
    assert public <= set(load_knowledge().labels)


def test_every_label_has_a_code_and_says_how_it_looks() -> None:
    for label in load_knowledge().labels.values():
        assert label.code[0].isdigit() and label.code[1]
        assert len(label.appearance) >= 2 and label.confused_with


def stems(text: str) -> set[str]:
    return {word[:6] for word in re.findall(r"[a-z]+", text.lower()) if len(word) > 3}


def near(cues: Iterable[str], others: Iterable[str]) -> list[str]:
    """Those of `cues` that share half of their words, or more, with one of `others`."""
    known = [stems(other) for other in others]
    return [cue for cue in cues for words in known if len(words & stems(cue)) >= 0.5 * len(words | stems(cue))]


def test_a_clue_for_training_or_validation_is_not_a_kept_one_in_other_words() -> None:
    for name, label in load_knowledge().labels.items():
        kept = [cues[-1] for cues in label.cues.values()]
        for of_kind in (label.training_cues, label.validation_cues):
            assert not [found for cues in of_kind.values() for found in near(cues, kept)], name


def test_validation_has_clues_of_its_own() -> None:
    for name, label in validated().items():
        learned = [cue for kind, cues in label.cues.items() for cue in (*cues[:-1], *label.training_cues[kind])]
        for kind in IMPLICIT_KINDS:
            clues = label.validation_cues[kind]
            assert len(clues) >= 2 and not near(clues, learned), name
            assert {wording.split for wording in label.of_kind(kind, "val")} == {"val"}, name


def test_labels_of_public_images_have_clues_for_validation(shared_data: Path) -> None:
    rows = [json.loads(line) for line in (shared_data / "images" / "manifest.jsonl").open()]
    shown = {name for row in rows for name in (*row.get("labels", {}).values(), *row.get("masks", {}))}
    assert shown <= set(validated())


def test_no_clue_states_a_measure_that_could_contradict_a_mask() -> None:
    measures = re.compile(r"\d\s*(?:%|per ?cent|mm\b)")
    labels = load_knowledge().labels.values()
    clues = [
        cue for one in labels for of in (one.training_cues, one.validation_cues) for cues in of.values() for cue in cues
    ]
    assert not [cue for cue in clues if measures.search(cue)]
