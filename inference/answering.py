"""A predictor that knows its limits, made of a model that does not.

understand     what does the question ask for?           inference/understanding
name           what a description means: the model's own  Model.free_answer
               naming and the clues decide together
gate           has the model learned it, on such images?  inference/gate.py
locate         the model draws what passed                Model.locate
facts          what the masks measure                    inference/reasoning
words          sentences from facts, checked

All questions about a stack share one call of `Model.locate`, with every label once, and one of `Model.likeness`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from inference.card import ModelCard, learned_modality
from inference.errors import AnswerMalformed, QuestionRefused
from inference.gate import ANYTHING, likeness_factor, modality_words, not_assessed, unlearned
from inference.interface import (
    Alike,
    Answer,
    Model,
    NotAssessed,
    NotAssessedReason,
    PredictorDescription,
    Progress,
    Question,
    SeenTarget,
    SliceStack,
)
from inference.medseg_qa.labels import canonical
from inference.medseg_qa.matching import canonical_phrase
from inference.notices import with_notices
from inference.reasoning.claims import agreeing_sentences
from inference.reasoning.facts import facts_of
from inference.reasoning.names import joined, knowledge_of, name_of
from inference.reasoning.sentences import answer_text
from inference.sampling import evenly_spaced
from inference.understanding.clues import decided_label, in_english
from inference.understanding.question import ABNORMALITIES, Concept, Intent, Language, UnderstoodQuestion
from inference.understanding.refusals import example_of
from inference.understanding.understand import understand

__all__ = ["AnsweringPredictor"]

_UNSURE_FROM = 0.5  # of a label's least confidence; below it the target counts as not seen
_MOST_FOR_COMPLAINTS = 3
_NAMED_ON = 4  # slices


@dataclass(frozen=True)
class _Plan:
    """What is to be done for a question. `labels`: to be located. `reported`: those that are told if not seen.

    `refused`: what was asked for and may not be looked for. `free`: the question goes to the model as it is, so that
    it names what is meant. `own_text`: what the model said then.
    """

    question: Question
    understood: UnderstoodQuestion
    labels: tuple[str, ...] = ()
    reported: frozenset[str] = frozenset()
    refused: tuple[NotAssessed, ...] = ()
    free: bool = False
    own_text: str = ""


class AnsweringPredictor:
    """Answers questions about a stack with a model, within what the model's card says that it has learned.

    `notices`: said in the terms and in every answer.
    """

    def __init__(self, model: Model, *, notices: Sequence[str] = ()) -> None:
        self._model, self._notices = model, tuple(notices)

    @property
    def model(self) -> Model:
        """The model behind it."""
        return self._model

    @property
    def description(self) -> PredictorDescription:
        """Which model answers, and under which terms."""
        return with_notices(self._model.description, self._notices)

    def answer(
        self, stack: SliceStack, questions: Sequence[Question], *, progress: Progress | None = None
    ) -> tuple[Answer, ...]:
        """Answer each question about the stack. Raises `QuestionRefused` and what the model raises."""
        if not questions:
            return ()
        card = self._model.card
        likeness = self._model.likeness(stack)
        planning = [_Planning(question, stack, card, likeness) for question in questions]
        plans = [one.plan() for one in planning]
        given = iter(self._free_answers(stack, [plan.question for plan in plans if plan.free]))
        plans = [one.named(plan, next(given)) if plan.free else plan for one, plan in zip(planning, plans, strict=True)]
        wanted = list(dict.fromkeys(label for plan in plans for label in plan.labels))
        located: dict[str, SeenTarget | None] = {}
        if wanted:
            located = dict(zip(wanted, self._model.locate(stack, wanted, progress=progress), strict=True))
        elif progress is not None:
            progress(len(stack.values), len(stack.values))
        finishing = _Finishing(stack, card, likeness, self._notices)
        return tuple(finishing.answer(plan, located) for plan in plans)

    def _free_answers(self, stack: SliceStack, questions: Sequence[Question]) -> tuple[Answer, ...]:
        """Let the model name what questions mean, on a few slices: what it draws for them is not used."""
        if not questions:
            return ()
        some = [int(index) for index in evenly_spaced(range(len(stack.values)), _NAMED_ON)]
        try:
            return self._model.free_answer(replace(stack, values=stack.values[some]), questions)
        except AnswerMalformed:  # one of them: the clues of that one decide alone
            if len(questions) > 1:
                return tuple(answer for question in questions for answer in self._free_answers(stack, [question]))
        except NotImplementedError:  # it can only look for labels
            pass
        return tuple(Answer(question, "", (), ()) for question in questions)


@dataclass(frozen=True)
class _Planning:
    """Decides for one question what is looked for."""

    question: Question
    stack: SliceStack
    card: ModelCard
    likeness: Alike

    def plan(self) -> _Plan:
        """Return what is to be done. Raises `QuestionRefused`."""
        understood = self._understood()
        if self.question.labels:
            return self._named(understood, [(label, (label,)) for label in self.question.labels])
        if understood.everything:
            return self._everything(understood)
        if understood.targets:
            named = [(concept.name, concept.labels) for concept in understood.targets]
            plan = self._named(understood, [*named, *self._unknown(understood)])
            hints = {concept.name: self._hint(concept) for concept in understood.targets if not concept.labels}
            refused = [replace(item, reason=f"{item.reason}{hints.get(item.phrase, '')}") for item in plan.refused]
            return replace(plan, refused=tuple(refused))
        if understood.earlier:
            return self._earlier(understood)
        if understood.complaints:
            return self._for_complaints(understood)
        if understood.unknown:
            return self._named(understood, self._unknown(understood))
        if (nothing := self._nothing_passes(understood)) is not None:
            return nothing
        if understood.pointed_at or understood.described:
            return _Plan(self.question, understood, free=True)
        return self._not_understood(understood)

    def named(self, plan: _Plan, given: Answer) -> _Plan:
        """Return the plan of a question after the model has named what it means, by that and by its clues."""
        understood, here = plan.understood, self._labels_here()
        if not here:
            excepted = {label for concept in understood.excepted for label in (concept.name, *concept.labels)}
            named = [target.phrase for target in given.targets if target.phrase not in excepted]
            phrases = [phrase for phrase in named if self._gate(phrase) is None]
            return replace(plan, labels=tuple(dict.fromkeys(phrases)), own_text=given.text)
        labels = [self._label_of(target.phrase, here) for target in given.targets]
        own = next((label for label in labels if label and self._gate(label) is None), "")
        clue = in_english(understood.text) if understood.language is Language.GERMAN else understood.text
        decided = decided_label(clue, here, own) or next(iter(understood.pointed_at), "")
        if not decided:
            return self._not_understood(understood)
        meant = replace(understood, pointed_at=(decided,))
        return replace(self._named(meant, [(decided, (decided,))]), own_text=given.text if own == decided else "")

    @staticmethod
    def _label_of(phrase: str, labels: Sequence[str]) -> str:
        """Return the label that a phrase of the model names: "benign breast tumour" names the breast tumour."""
        names = [phrase, canonical_phrase(phrase), *(canonical(known.label) for known in knowledge_of(phrase))]
        return next((name for name in names if name in labels), "")

    def _for_complaints(self, understood: UnderstoodQuestion) -> _Plan:
        """Plan for what may explain a complaint: the answer lists all of it, and so tells what of it is not seen."""
        passed = [label for label in understood.pointed_at if self._gate(label) is None][:_MOST_FOR_COMPLAINTS]
        if passed:
            return _Plan(self.question, replace(understood, pointed_at=tuple(passed)), tuple(passed), frozenset(passed))
        name = f"cause of {joined(understood.complaints)}"
        if understood.pointed_at:
            return _Plan(self.question, understood, refused=(self._refusal(name, understood.pointed_at),))
        here = modality_words(self.stack.modality)
        reason = f"nothing that this model has learned on {here} is known to go with it"
        return _Plan(self.question, understood, refused=(NotAssessed(name, NotAssessedReason.LABEL, reason),))

    def _not_understood(self, understood: UnderstoodQuestion) -> _Plan:
        reason = f"it was not understood; ask, for example: {example_of(self._examples())}"
        return _Plan(self.question, understood, refused=(NotAssessed("question", NotAssessedReason.LABEL, reason),))

    def _hint(self, concept: Concept) -> str:
        """Return what may be asked for instead of something that was never learned."""
        if concept.name == ABNORMALITIES:
            findings = [name_of(label).text for label in self._labels_here() if _is_finding(label)]
            only = f" in general; of such images it has learned to find only {joined(findings)}" if findings else ""
            return only or " on such images, only structures"
        passed = [label for label in concept.concerns if self._gate(label) is None]
        if not passed:
            return ""
        names = joined(name_of(label).definite for label in passed)
        return f"; it has learned {names}, which this concerns"

    def _unknown(self, understood: UnderstoodQuestion) -> list[tuple[str, tuple[str, ...]]]:
        """Return what stands in no table: a model that takes any label is asked for it by its name."""
        return [(name, (name,) if self.card.open_set else ()) for name in understood.unknown]

    def _understood(self) -> UnderstoodQuestion:
        try:
            labels = self._labels_here() or self.card.known_labels
            return understand(self.question, labels, examples=self._examples())
        except QuestionRefused:
            if not self.question.labels or not self.question.text.strip():
                raise
            return UnderstoodQuestion(self.question.text, Language.ENGLISH, Intent.LOCATE)  # its labels say enough

    def _named(self, understood: UnderstoodQuestion, things: Sequence[tuple[str, Sequence[str]]]) -> _Plan:
        """Plan for things by name, each with the labels that stand for it.

        Of a thing with several labels those that pass are looked for; it is refused as one where none does.
        """
        labels: list[str] = []
        refused: list[NotAssessed] = []
        for name, standing_for in things:
            passed = [label for label in self._of_side(standing_for, understood.side) if self._gate(label) is None]
            labels += passed
            if not passed:
                refused.append(self._refusal(name, standing_for))
        unique = tuple(dict.fromkeys(labels))
        return _Plan(self.question, understood, unique, frozenset(unique), tuple(refused))

    def _everything(self, understood: UnderstoodQuestion) -> _Plan:
        """Plan for all that the model knows on such images. What of it is not seen was not asked for by name."""
        if not self.card.labels:
            return _Plan(self.question, understood, free=True)
        excepted = {label for concept in understood.excepted for label in concept.labels}
        here = [label for label in self._labels_here() if label not in excepted]
        passed = [label for label in self._of_side(here, understood.side) if self._gate(label) is None]
        if passed:
            return _Plan(self.question, understood, tuple(passed))
        return _Plan(self.question, understood, refused=(self._refusal(ANYTHING, here or self.card.known_labels),))

    def _earlier(self, understood: UnderstoodQuestion) -> _Plan:
        """Plan for the finding at hand: what the last answer that named something named."""
        phrases = next((earlier.phrases for earlier in reversed(self.question.earlier) if earlier.phrases), ())
        if not phrases:
            raise QuestionRefused(
                "the question goes on about a finding, and no earlier answer named one; name it, for example: "
                "How big is the liver?"
            )
        return self._named(understood, [(phrase, (phrase,)) for phrase in phrases])

    def _nothing_passes(self, understood: UnderstoodQuestion) -> _Plan | None:
        """Return the plan of a question that names nothing, where nothing that the model could say would pass."""
        here = self._labels_here()
        if here and all(self._gate(label) is not None for label in here):
            return _Plan(self.question, understood, refused=(self._refusal(ANYTHING, here),))
        if not here and self.card.labels:
            return _Plan(self.question, understood, refused=(self._refusal(ANYTHING, self.card.known_labels),))
        return None

    def _gate(self, label: str) -> NotAssessed | None:
        return not_assessed(label, self.stack, self.card, self.likeness)

    def _refusal(self, name: str, labels: Sequence[str]) -> NotAssessed:
        """Return why a thing may not be looked for under any of its labels."""
        refused = not_assessed(name, self.stack, self.card, self.likeness, labels=labels) if labels else None
        return refused or NotAssessed(name, NotAssessedReason.LABEL, unlearned(name))

    def _examples(self) -> list[str]:
        """Return what can be asked of these images."""
        return [label for label in self._labels_here() if self._gate(label) is None]

    def _labels_here(self) -> tuple[str, ...]:
        """Return the labels that the card lists for images of this modality, those of most images first."""
        modality = learned_modality(self.stack.modality)
        here = [entry for entry in self.card.labels if learned_modality(entry.modality) == modality]
        return tuple(dict.fromkeys(entry.label for entry in sorted(here, key=lambda entry: -(entry.images or 0))))

    @staticmethod
    def _of_side(labels: Sequence[str], side: str) -> list[str]:
        """Leave out labels of the other side, where the question names one."""
        other = {"left": "right", "right": "left"}.get(side)
        return [label for label in labels if other is None or other not in label.split() or side in label.split()]


@dataclass(frozen=True)
class _Finishing:
    """Makes answers of what the model gave."""

    stack: SliceStack
    card: ModelCard
    likeness: Alike
    notices: tuple[str, ...]

    def answer(self, plan: _Plan, located: Mapping[str, SeenTarget | None]) -> Answer:
        """Answer with what was seen of the labels that were looked for."""
        seen, not_seen, refused = [], [], list(plan.refused)
        for label in plan.labels:
            target = located[label]
            claimed = None if target is None else self._claimed(label, target)
            if isinstance(claimed, SeenTarget):
                seen.append(claimed)
            elif label in plan.reported:
                if claimed is None:
                    not_seen.append(label)
                else:
                    refused.append(claimed)
        return self._answer(plan, seen, tuple(not_seen), tuple(refused))

    def _claimed(self, label: str, target: SeenTarget) -> SeenTarget | NotAssessed | None:
        """Return a target as it may be claimed; None: it counts as not seen."""
        least = self._least_confidence(label)
        if target.confidence < _UNSURE_FROM * least:
            return None
        if target.confidence < least:
            reason = f"this model is too unsure of {label}: its confidence is {target.confidence:.2f}, of {least:.2f}"
            return NotAssessed(label, NotAssessedReason.UNSURE, f"{reason} that are needed")
        # Sums in another order, as with other questions beside it, differ from the eighth digit on.
        confidence = round(target.confidence * likeness_factor(self.card, self.likeness, label), 6)
        return replace(target, phrase=label, confidence=confidence, code=target.code or self.card.codes.get(label))

    def _least_confidence(self, label: str) -> float:
        """Return below what a label is not claimed on such images; 0 where the card states nothing."""
        entries = self.card.learned(label, self.stack.modality)
        return max((entry.least_confidence or 0.0 for entry in entries), default=0.0)

    def _answer(
        self, plan: _Plan, seen: Sequence[SeenTarget], not_seen: tuple[str, ...], refused: tuple[NotAssessed, ...]
    ) -> Answer:
        facts = facts_of(self.stack, seen)
        text = answer_text(plan.understood, self.stack, facts, not_seen, refused)
        if plan.own_text:
            own = agreeing_sentences(plan.own_text, self.stack, facts, not_seen, refused)
            text = " ".join(filter(None, (text, own)))
        slices = tuple(range(len(self.stack.values)))
        return Answer(plan.question, self._noticed(text), tuple(seen), slices, not_seen, refused)

    def _noticed(self, text: str) -> str:
        notices = "; ".join(self.notices)
        return f"{text} ({notices[0].upper()}{notices[1:]}.)" if notices else text


def _is_finding(label: str) -> bool:
    return any(known.group == "finding" for known in knowledge_of(label))
