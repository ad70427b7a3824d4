"""Understand a question: the only way from a text to what it asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from inference.errors import QuestionRefused
from inference.interface import Question
from inference.understanding.clues import in_english, of_asked_sort, pointed_labels
from inference.understanding.complaints import Complaint, find_complaints, labels_for
from inference.understanding.folding import words_of
from inference.understanding.follow_up import (
    asks_which,
    beside_what_is_at_hand,
    finding_at_hand,
    goes_on,
    other_side,
    same_of_another,
)  # fmt: skip
from inference.understanding.implicit import (
    content_words,
    could_be_clue,
    describes,
    is_all_plain,
    named_unknown,
    unknown_of,
)  # fmt: skip
from inference.understanding.intents import (
    asks_for_all,
    begins_exception,
    has_intent,
    has_phrase,
    intent_of,
    is_absent,
    is_no_question,
    language_of,
    other_than_side,
    phrases_in,
)  # fmt: skip
from inference.understanding.judgements import judged_words
from inference.understanding.mentions import Mention, Text, find_mentions, read_text
from inference.understanding.question import ABNORMALITIES, Concept, ConceptKind, Intent, Language, UnderstoodQuestion
from inference.understanding.refusals import asks_nothing, refusal
from inference.understanding.table import load_words
from inference.understanding.vocabulary import Vocabulary, vocabulary_of

__all__ = ["understand"]

_WHOLE = frozenset({"organs", "organ", "structures", "anatomy", "normal", "organe", "strukturen", "anatomie"})
_IS_IT = ("is it", "are they", "ist sie", "ist es", "ist er", "sind sie")
_FEWEST_OF_OVERVIEW = 3
_OPENING_WORDS = 3
_WHYS = frozenset({"where", "why", "wo", "warum", "wieso", "weshalb", "woher", "could", "koennte"})
_NO_PRONOUNS = frozenset({"this", "that", "these", "those", "one", "ones", "es", "dieser", "diese", "dieses", "der"})


def understand(
    question: Question, labels: Sequence[str], *, examples: Sequence[str] | None = None
) -> UnderstoodQuestion:
    """Return what a question asks for. `labels`: those that the model has learned on images of this modality, those
    first that it knows best. `examples`: those of them that may be told as examples, where that is not all.

    Raises `QuestionRefused`, with an example of what can be asked, for what is no question. What asks in words that
    nobody understands is returned without anything to look for.
    """
    vocabulary = vocabulary_of(labels)
    text = read_text(words_of(question.text), vocabulary)
    read = _read(text, question.text, vocabulary)
    if question.labels:
        asked = tuple(vocabulary.of_label(label) for label in question.labels)
        return replace(read, targets=asked, everything=False, pointed_at=(), unknown=())
    if question.earlier:
        read = _going_on(read, text, question, vocabulary)
    greeting = len(text.words) == 1 and is_no_question(text)
    if not greeting and (read.targets or read.everything or read.pointed_at or read.unknown or read.complaints):
        return read
    if asks_nothing(text, question.text) and not read.described:
        raise QuestionRefused(refusal(question.text, labels if examples is None else examples))
    return read


def _read(text: Text, raw: str, vocabulary: Vocabulary) -> UnderstoodQuestion:
    """Return what a text asks for by itself, without what came before."""
    found = find_mentions(text, vocabulary)
    intent = intent_of(text)
    if intent is Intent.DISTANCE:  # what stands behind "between" is asked for, too
        found = [replace(mention, landmark=False) for mention in found]
    everything = asks_for_all(text)
    asked, excepted = _split(text, [mention for mention in found if not mention.picture], everything)
    made = UnderstoodQuestion(raw, language_of(text), intent or Intent.LOCATE)
    if has_phrase("wellbeing", text.plain) and all(mention.entry.region for mention in asked):
        return replace(made, intent=Intent.PRESENCE, targets=_abnormalities(vocabulary))
    complaints = _complaints(text, found, intent)
    named = intent is Intent.DESCRIBE and any(mention.entry.all_labels and not mention.landmark for mention in asked)
    if describes(text, found) and not named and not everything and not (intent is Intent.DISTANCE and len(asked) > 1):
        return _described(made, text, found, complaints, vocabulary)
    if complaints:
        asked = _beside(asked, complaints)
        if not asked and not everything:
            return _of_complaints(made, text, complaints, vocabulary)
        if intent is Intent.CAUSE:
            made = replace(made, complaints=tuple(complaint.name for complaint in complaints))
    outside = _concepts(excepted, vocabulary)
    whole = any(word.word in _WHOLE for word in text.words)
    if whole and asked and all(mention.members or not mention.entry.all_labels for mention in asked):
        groups = [mention for mention in asked if mention.members and mention.entry.name == "devices"]
        asked = [] if groups or any(mention.entry.name == "lesion" for mention in asked) else asked
        everything = everything or not asked
    if not asked and not whole and not everything and has_phrase("abnormalities", text.plain):
        targets = _abnormalities(vocabulary)
        return replace(made, intent=intent or Intent.PRESENCE, targets=_without(targets, outside), excepted=outside)
    if asked:
        asked, of_unknown = unknown_of(text, asked, found)
        kept = other_than_side(text)
        if kept:
            asked = [replace(mention, side=mention.side or kept) for mention in asked]
        concepts = _without(_concepts(asked, vocabulary), outside)
        sides = {mention.side for mention in asked}
        following = [mention for mention in found if mention not in asked]
        negated = any(is_absent(text, mention, [*asked, *following]) for mention in asked)
        negated = negated and intent is not Intent.DISTANCE  # "wie weit entfernt"
        structures = all(mention.entry.kind is ConceptKind.STRUCTURE for mention in asked)
        if intent in (None, Intent.PRESENCE) and structures and not negated and has_phrase("identity", text.plain):
            intent = Intent.LOCATE
        if intent is None or (negated and intent is Intent.LOCATE and not has_intent(Intent.LOCATE, text)):
            which = any(word.word in load_words().sets["asking"] for word in text.words[:_OPENING_WORDS])
            intent = Intent.PRESENCE if negated or (raw.strip().endswith("?") and not which) else Intent.LOCATE
        if negated and intent is Intent.LOCATE:
            intent = Intent.PRESENCE
        unknown = of_unknown or named_unknown(text, found, beside_names=True)
        return replace(
            made, intent=intent, targets=concepts, excepted=outside, negated=negated,
            side=sides.pop() if len(sides) == 1 else "", unknown=unknown,
            judged=judged_words(text, found) if not unknown and _is_judging(text, intent) else (),
        )  # fmt: skip
    if everything or _is_overview(text, found):
        return replace(
            made,
            intent=Intent.OVERVIEW if intent is not Intent.COUNT else intent,
            everything=True,
            excepted=outside,
            judged=phrases_in("judgements", text.plain),
        )
    if unknown := named_unknown(text, found):
        return replace(made, complaints=unknown) if intent is Intent.CAUSE else replace(made, unknown=unknown)
    if could_be_clue(text, found) and not asks_nothing(text, raw):
        pointed = pointed_labels(_clue(raw, made.language), vocabulary.labels)
        return replace(made, pointed_at=pointed)
    return made


def _is_judging(text: Text, intent: Intent) -> bool:
    """Whether a text asks how a thing is, be it after where it is: "where is the liver, and is it normal?"."""
    return intent is Intent.PRESENCE or any(f" {words} " in text.plain for words in _IS_IT)


def _clue(raw: str, language: Language) -> str:
    return in_english(raw) if language is Language.GERMAN else raw


def _described(
    made: UnderstoodQuestion,
    text: Text,
    found: Sequence[Mention],
    complaints: Sequence[Complaint],
    vocabulary: Vocabulary,
) -> UnderstoodQuestion:
    """Return what a description points at: by its clues, else by the complaint that it would explain."""
    another = _asked_for_another(text, found, vocabulary)
    if another is not None:
        return replace(made, targets=(another,))
    clue = _clue(made.text, made.language)
    if pointed := pointed_labels(clue, vocabulary.labels):
        return replace(made, pointed_at=pointed, described=True)
    may = [label for label in labels_for(complaints, vocabulary.labels) if of_asked_sort(clue, label)]
    if not may:
        return replace(made, described=True)
    names = tuple(complaint.name for complaint in complaints)
    return replace(made, intent=Intent.CAUSE, pointed_at=tuple(may), complaints=names, described=True)


def _complaints(text: Text, found: Sequence[Mention], intent: Intent | None) -> list[Complaint]:
    """Return the complaints of a text that are no part of a longer name, as the pressure of portal hypertension is.

    A disease that is a complaint, too (dementia), is one where its cause is asked for.
    """
    longest = {place: mention for mention in found for place in range(mention.start, mention.end)}
    kept = []
    for complaint in find_complaints(text, found):
        mention = longest.get(complaint.start)
        length = complaint.end - complaint.start
        covered = mention is not None and complaint.end <= mention.end and mention.entry.kind is ConceptKind.FINDING
        if not covered or (intent is Intent.CAUSE and mention is not None and mention.end - mention.start <= length):
            kept.append(complaint)
    return kept


def _beside(asked: Sequence[Mention], complaints: Sequence[Complaint]) -> list[Mention]:
    """Return what is named beside complaints and the part of the body where they are."""
    spans = {place for one in complaints for place in range(one.start, one.end + one.reach)}
    named = [mention for mention in asked if not mention.entry.region]
    return [mention for mention in named if spans.isdisjoint(range(mention.start, mention.end))]


def _of_complaints(
    made: UnderstoodQuestion, text: Text, complaints: Sequence[Complaint], vocabulary: Vocabulary
) -> UnderstoodQuestion:
    """Return a question for what may explain complaints; whether they are there no image tells."""
    names = tuple(complaint.name for complaint in complaints)
    asks = any(word.word in load_words().sets["asking"] | _WHYS for word in text.words)
    if made.intent is Intent.PRESENCE and not asks:
        return replace(made, unknown=names)
    pointed = labels_for(complaints, vocabulary.labels)
    return replace(made, intent=Intent.CAUSE, complaints=names, pointed_at=pointed)


def _asked_for_another(text: Text, found: Sequence[Mention], vocabulary: Vocabulary) -> Concept | None:
    """Return what is described, where it is called something that the model has not learned: "which bone ...?"."""
    sets = load_words().sets
    for mention in found:
        if mention.picture or mention.members or mention.entry.region:
            continue
        before = text.words[mention.start - 1].word if mention.start else ""
        last = text.words[mention.end - 1].word
        if before in sets["asking"] and last not in sets["things"] | sets["weak_things"] | {"lobe"}:
            concept = vocabulary.concept(mention.entry)
            return None if concept.labels else concept
    return None


def _split(text: Text, found: Sequence[Mention], everything: bool) -> tuple[list[Mention], list[Mention]]:
    """Return what is asked for and what is excepted; landmarks and history count only where nothing else stands."""
    asked: list[Mention] = []
    excepted: list[Mention] = []
    for mention in found:
        goes_on_excepting = bool(excepted) and _joins(text, excepted[-1], mention)
        if goes_on_excepting or begins_exception(text, mention, bool(asked), everything):
            excepted.append(mention)
        else:
            asked.append(mention)
    plain = [mention for mention in asked if not mention.landmark and not mention.background]
    plain = [mention for mention in plain if not mention.entry.region] or plain
    return plain or [mention for mention in asked if not mention.landmark] or [], excepted


def _joins(text: Text, first: Mention, second: Mention) -> bool:
    between = [word.word for word in text.words[first.end : second.start]]
    return all(word in ("and", "or", "und", "oder", "nor", "sowie") for word in between)


def _concepts(mentions: Sequence[Mention], vocabulary: Vocabulary) -> tuple[Concept, ...]:
    found: dict[str, Concept] = {}
    for mention in mentions:
        if mention.members:
            members = [vocabulary.concept(entry, mention.side) for entry in mention.members]
            learned = [member for member in members if set(member.labels) & set(vocabulary.labels)]
            made = learned or [Concept(mention.entry.name, mention.entry.kind, ())]
        else:
            made = [vocabulary.concept(mention.entry, mention.side)]
        for concept in made:
            found.setdefault(concept.name, concept)
    return tuple(found.values())


def _abnormalities(vocabulary: Vocabulary) -> tuple[Concept, ...]:
    concepts = [vocabulary.of_label(label) for label in vocabulary.labels]
    found = {concept.name: concept for concept in concepts if concept.kind is ConceptKind.FINDING}
    return (*found.values(), Concept(ABNORMALITIES, ConceptKind.FINDING, ()))


def _without(concepts: Sequence[Concept], outside: Sequence[Concept]) -> tuple[Concept, ...]:
    """Return the concepts without what is excepted; one of two sides goes alone."""
    gone = {label for concept in outside for label in concept.labels}
    names = {concept.name for concept in outside}
    kept: list[Concept] = []
    for concept in concepts:
        labels = tuple(label for label in concept.labels if label not in gone)
        if concept.name not in names and (labels or not concept.labels):
            kept.append(replace(concept, labels=labels))
    return tuple(kept)


def _is_overview(text: Text, found: Sequence[Mention]) -> bool:
    if is_no_question(text):
        return False
    pictured = any(word.word in load_words().sets["image"] for word in text.words)
    plain = is_all_plain(text, found)
    if (
        has_phrase("overview", text.plain)
        and not named_unknown(text, found)
        and (pictured or plain or len(text.words) == 1)
    ):
        return True
    pronoun = any(word in load_words().sets["pronouns"] - _NO_PRONOUNS for word in text.plain.split())
    measured = intent_of(text) in (Intent.SIZE, Intent.SIDE, Intent.COUNT, Intent.COMPARE, Intent.CAUSE, None)
    return plain and (pictured or not (pronoun or measured))


def _going_on(read: UnderstoodQuestion, text: Text, question: Question, vocabulary: Vocabulary) -> UnderstoodQuestion:
    """Return what a question asks for after earlier ones: "how big is it?", "and the left one?", "and the spleen?"."""
    at_hand = finding_at_hand(question, vocabulary, lambda earlier: understand(earlier, vocabulary.labels).targets)
    before = intent_of(read_text(words_of(question.earlier[-1].question), vocabulary), Intent.LOCATE)
    found = find_mentions(text, vocabulary)
    said, content = intent_of(text), len(content_words(text, found))
    several = len(at_hand) > 1 and any(word.word in load_words().sets["superlatives"] for word in text.words)
    said = Intent.COMPARE if several or asks_which(text) else said
    if read.targets and at_hand and beside_what_is_at_hand(text, len(read.targets)):
        both = tuple({concept.name: concept for concept in (*at_hand, *read.targets)}.values())
        return replace(read, targets=both, side="", earlier=True)
    if read.targets:
        another = same_of_another(text, content) and read.targets[-1].name != ABNORMALITIES
        return replace(read, intent=before or read.intent) if another else read
    complaints = [one.start for one in find_complaints(text, found)]
    whole = read.everything and len(text.words) >= _FEWEST_OF_OVERVIEW
    if whole and said in (None, Intent.PRESENCE, Intent.OVERVIEW, Intent.DESCRIBE):
        content += 1  # "what do you see?"
    goes = goes_on(text, content, min(complaints, default=None))
    if not at_hand or not goes or describes(text, found):
        return read
    if has_phrase("else", text.plain):
        return replace(read, targets=(), everything=True, excepted=at_hand, earlier=True, intent=Intent.OVERVIEW)
    landmarks = [mention for mention in found if mention.landmark and not mention.picture]
    if landmarks and said in (None, Intent.PRESENCE):  # "is it next to the spleen?"
        at_hand = tuple(dict.fromkeys((*at_hand, *_concepts(landmarks, vocabulary))))
        said = Intent.LOCATE
    if said is Intent.PRESENCE and text.words[0].word in load_words().sets["asking"] | {"how", "wie"}:
        said = Intent.LOCATE
    side, targets = other_side(text, at_hand), at_hand
    if side:
        entries = [entry for entry in vocabulary.entries.values() if {entry.left, entry.right} & set(at_hand[0].labels)]
        targets = (vocabulary.concept(entries[0], side),) if entries else at_hand
    if said is Intent.COMPARE:
        side, targets = "", tuple({concept.name: concept for concept in (*at_hand, *targets)}.values())
    judged = judged_words(text, found) if said in (None, Intent.PRESENCE, Intent.DESCRIBE) else ()
    judged = judged or (content_words(text, found) if said is Intent.PRESENCE else ())
    return replace(
        read, targets=targets, side=side, earlier=True, everything=False, pointed_at=(), unknown=(),
        intent=said or before or read.intent, judged=judged,
    )  # fmt: skip
