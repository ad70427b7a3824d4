"""The labels that the shipped weights know are those of the data set's knowledge."""

from __future__ import annotations

from inference.medseg_qa.knowledge import load_knowledge
from inference.medseg_qa.labels import DATASETS, LABELS, MIRRORED, canonical


def test_every_trained_label_and_set_is_one_that_the_knowledge_has() -> None:
    knowledge = load_knowledge()
    assert set(LABELS) <= {canonical(label) for label in knowledge.labels}
    assert set(DATASETS) <= set(knowledge.datasets)
    assert set(DATASETS) >= MIRRORED


def test_a_set_without_sides_has_no_label_with_a_side() -> None:
    sides = {canonical(label): known.side for label, known in load_knowledge().labels.items()}
    assert not [label for name in MIRRORED for label in DATASETS[name] if sides[label]]
