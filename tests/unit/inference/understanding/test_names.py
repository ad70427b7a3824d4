"""Every name of the tables is understood as itself, also misspelt, and so are those in the wordings of MedSeg-QA."""

from __future__ import annotations

import random
from collections.abc import Iterator
from importlib.resources import files

import pytest
import yaml

from inference.errors import QuestionRefused
from inference.interface import Question
from inference.medseg_qa.knowledge import LabelKnowledge, WordingSplit, load_knowledge
from inference.medseg_qa.labels import LABELS, canonical
from inference.medseg_qa.phrasing import fill, joined, label_slots
from inference.medseg_qa.records import QuestionKind
from inference.understanding.clues import match_clues, pointed_labels
from inference.understanding.question import ConceptKind
from inference.understanding.table import load_entries
from inference.understanding.understand import understand
from inference.understanding.vocabulary import vocabulary_of

FIRST_CORRECTED = 6
SHARE_OF_WORDINGS = 0.99
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def labels_of(text: str) -> list[str]:
    try:
        return sorted({label for concept in understand(Question(text), LABELS).targets for label in concept.labels})
    except QuestionRefused:
        return []


def written() -> Iterator[tuple[str, str, list[str]]]:
    """Concept, language and names as the tables write them."""
    for file in ("structures", "findings", "devices"):
        text = (files("inference.understanding") / "concepts" / f"{file}.yaml").read_text(encoding="utf-8")
        for concept, fields in yaml.safe_load(text).items():
            yield concept, "en", [concept, *fields.get("en", [])]
            yield concept, "de", fields.get("de", [])


def edited(word: str, chance: random.Random) -> str:
    """A word with one letter changed, left out, put in, or two swapped; the first stays."""
    place = chance.randrange(1, len(word) - 1)
    letter = chance.choice(LETTERS)
    return chance.choice([
        word[:place] + letter + word[place + 1 :],
        word[:place] + word[place + 1 :],
        word[:place] + letter + word[place:],
        word[:place] + word[place + 1] + word[place] + word[place + 2 :],
    ])  # fmt: skip


@pytest.mark.slow
def test_every_name_of_the_tables_is_understood_as_its_concept() -> None:
    frames = {
        "en": ["Where is the {}?", "Is there a {}?", "{}"],
        "de": ["Wo ist die {}?", "Gibt es hier einen {}?", "{}"],
    }
    entries, vocabulary = load_entries(), vocabulary_of(LABELS)
    wrong = []
    for concept, language, names in written():
        entry = entries[concept]
        if not entry.bare:
            continue
        for name in names:
            for frame in frames[language]:
                text = frame.format(name)
                found = understand(Question(text), LABELS).targets
                if [target.labels for target in found] != [vocabulary.concept(entry).labels] or found[
                    0
                ].name != concept:
                    wrong.append((text, concept, [target.name for target in found]))
    assert wrong == []


@pytest.mark.slow
def test_a_learned_name_with_one_letter_wrong_is_still_understood() -> None:
    chance = random.Random(7)
    wrong, tried = [], 0
    for label in load_knowledge().labels.values():
        for name in (*label.names, label.label.split(" (")[0]):
            words = name.split()
            for place in [place for place, word in enumerate(words) if len(word) >= FIRST_CORRECTED and word.isalpha()]:
                mended = " ".join([*words[:place], edited(words[place], chance), *words[place + 1 :]])
                tried += 1
                if labels_of(f"Where is the {mended}?") != labels_of(f"Where is the {name}?"):
                    wrong.append((mended, name))
    assert len(wrong) <= 0.02 * tried, wrong


@pytest.mark.parametrize("word", ["river", "lever", "ileum", "ilium", "renal", "adrenal", "breath", "beast", "cancel"])
def test_a_word_of_its_own_is_not_corrected_into_another(word: str) -> None:
    assert vocabulary_of(LABELS).corrected(word) == word


def test_short_words_are_taken_as_they_stand() -> None:
    assert all(vocabulary_of(LABELS).corrected(word) == word for word in ("ling", "hip", "knie", "milk", "lun", "eya"))


def test_the_tables_cover_all_labels_and_much_that_was_never_learned() -> None:
    entries = load_entries().values()
    assert {label for entry in entries for label in entry.all_labels} >= set(LABELS)
    assert len(list(entries)) >= 250
    assert {entry.kind for entry in entries} == set(ConceptKind)


def wordings(split: WordingSplit, chance: random.Random, count: int) -> Iterator[tuple[str, set[str]]]:
    """Questions of MedSeg-QA that name their labels, filled as the builder does, and these labels."""
    knowledge = load_knowledge()
    labels = list(knowledge.labels.values())
    images = [image for group in knowledge.images.values() for image in group]

    def filled(frame: str, label: LabelKnowledge) -> str:
        name = chance.choice(label.names)
        slots = {**label_slots(label, name), "image": chance.choice(images)}
        return fill(frame, {**slots, "target": slots["target"]})

    for label in labels:
        open_ones = label.of_kind(QuestionKind.EXPLICIT, split)
        for wording in chance.sample(open_ones, count):
            yield filled(wording.text, label), {canonical(label.label)}
        for _, frame in chance.sample(knowledge.detail(QuestionKind.LOCATION, split), count):
            yield filled(frame, label), {canonical(label.label)}
    for _, frame in knowledge.detail(QuestionKind.MULTI, split):
        several = chance.sample(labels, 3)
        targets = joined([label_slots(label, chance.choice(label.names))["target"] for label in several])
        yield fill(frame, {"targets": targets, "image": chance.choice(images)}), {canonical(x.label) for x in several}


@pytest.mark.parametrize("split", ["train", "val"])
def test_the_wordings_of_the_data_set_name_their_labels(split: WordingSplit) -> None:
    asked = list(wordings(split, random.Random(3), 4))
    wrong = [(text, sorted(wanted)) for text, wanted in asked if labels_of(text) != sorted(wanted)]
    assert len(wrong) <= (1 - SHARE_OF_WORDINGS) * len(asked), wrong


def test_clues_point_among_the_labels_given_and_not_at_what_was_never_learned() -> None:
    matches = match_clues("Which organ filters old red blood cells?", ("liver", "spleen", "stomach"))
    assert matches[0].label == "spleen" and sum(match.score for match in matches) == pytest.approx(1)
    assert match_clues("anything", ("no such label",)) == ()
    for text in ("Who won the football world cup?", "Which gland surrounds the tear duct?", "Which car should I buy?"):
        assert pointed_labels(text, LABELS) == ()
