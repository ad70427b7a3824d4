"""The committed knowledge covers the public labels with enough wordings, kept apart for training and test."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from inference.medseg_qa.knowledge import folded, load_knowledge
from inference.medseg_qa.records import QuestionKind

ASKED_KINDS = list(QuestionKind)[:7]
LABELS = sorted(load_knowledge().labels)


@pytest.mark.parametrize("name", LABELS)
def test_every_label_has_sixty_wordings_and_eight_of_each_kind(name: str) -> None:
    label = load_knowledge().labels[name]
    distinct = {(wording.kind, folded(wording.text)) for wording in label.wordings}
    counts = Counter(kind for kind, _ in distinct)
    assert len({text for _, text in distinct}) >= 60
    assert all(counts[kind] >= 8 for kind in ASKED_KINDS)


@pytest.mark.parametrize("name", LABELS)
def test_wordings_for_test_are_not_those_for_training(name: str) -> None:
    wordings = load_knowledge().labels[name].wordings
    sides = {split: {folded(w.text) for w in wordings if w.split == split} for split in ("train", "test")}
    assert sides["train"] and sides["test"]
    assert not sides["train"] & sides["test"]


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
    assert public <= set(LABELS)


def test_every_label_has_a_code_and_says_how_it_looks() -> None:
    for label in load_knowledge().labels.values():
        assert label.code[0].isdigit() and label.code[1]
        assert len(label.appearance) >= 2 and label.confused_with


def stems(text: str) -> set[str]:
    return {word[:6] for word in re.findall(r"[a-z]+", text.lower()) if len(word) > 3}


@pytest.mark.parametrize("name", LABELS)
def test_a_clue_for_training_is_not_a_kept_one_in_other_words(name: str) -> None:
    label = load_knowledge().labels[name]
    kept = [stems(cues[-1]) for cues in label.cues.values()]
    near = [
        cue
        for cues in label.training_cues.values()
        for cue in cues
        for words in kept
        if len(words & stems(cue)) >= 0.5 * len(words | stems(cue))
    ]
    assert not near


def test_no_clue_states_a_measure_that_could_contradict_a_mask() -> None:
    measures = re.compile(r"\d\s*(?:%|per ?cent|mm\b)")
    labels = load_knowledge().labels.values()
    assert not [cue for one in labels for cues in one.training_cues.values() for cue in cues if measures.search(cue)]
