"""Ask a predictor the frozen questions, image by image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inference.errors import AnswerMalformed, InputRefused
from inference.evaluation.clinic.questions import (
    ClinicImage,
    ClinicQuestion,
    LoadedImage,
    Loader,
    digest,
    read_images,
    read_questions,
)
from inference.evaluation.clinic.scoring import LOW_CONFIDENCE, Judgement, Verdict, judge
from inference.interface import Answer, Predictor, Progress

__all__ = ["Asked", "ask_clinic", "result_of"]

_NO_QUESTION = "no question"


@dataclass(frozen=True)
class Asked:
    """A question, its answer (None: refused, with `refusal`), and what that is worth."""

    question: ClinicQuestion
    answer: Answer | None
    refusal: str
    judgement: Judgement

    def to_json(self) -> dict[str, Any]:
        """Return plain values, without masks."""
        answer = self.answer
        return {
            "id": self.question.id,
            "image": self.question.image,
            "kind": self.question.kind,
            "question": self.question.question.text,
            "verdict": self.judgement.verdict.name.lower(),
            "reasons": list(self.judgement.reasons),
            "text": self.refusal if answer is None else answer.text,
            "targets": [] if answer is None else [[one.phrase, round(one.confidence, 3)] for one in answer.targets],
            "not_seen": [] if answer is None else list(answer.not_seen),
            "not_assessed": [] if answer is None else [[one.phrase, one.why.value] for one in answer.not_assessed],
        }


def ask_clinic(
    predictor: Predictor, load: Loader, *, low_confidence: float = LOW_CONFIDENCE, progress: Progress | None = None
) -> Iterator[tuple[Asked, LoadedImage]]:
    """Ask every question, all of an image at once, and judge the answers; in the order of the images.

    Raises what `load` raises, and what a predictor raises but for a question that it refuses.
    """
    images, questions, done = read_images(), read_questions(), 0
    for name, image in images.items():
        about = [question for question in questions if question.image == name]
        loaded = load(image)
        for question, (answer, refusal) in zip(about, _answers(predictor, loaded, about), strict=True):
            yield _judged(question, image, loaded, answer, refusal, low_confidence), loaded
        done += len(about)
        if progress is not None:
            progress(done, len(questions))


def result_of(all_asked: Sequence[Asked], predictor: Predictor, seconds: float) -> dict[str, Any]:
    """Return counts by group and kind, shares, and every answer, as plain values.

    `right_of_answerable`: share of the answerable that are right. `dangerous`: share of all that are dangerous.
    """
    described = predictor.description
    counts = {
        group: _counts([one for one in all_asked if one.question.answerable == answerable])
        for group, answerable in (("answerable", True), ("not answerable", False))
    }
    kinds: dict[str, Mapping[str, int]] = {}
    for kind in dict.fromkeys(one.question.kind for one in _in_order(all_asked)):
        kinds[kind] = _counts([one for one in all_asked if one.question.kind == kind])
    verdicts = Counter(one.judgement.verdict for one in all_asked)
    answerable = max(1, sum(counts["answerable"].values()))
    return {
        "checkpoint": {"name": described.name, "version": described.version, "digest": described.digest,
                       "terms": described.terms},
        "questions_digest": digest(),
        "questions": len(all_asked),
        "right_of_answerable": round(counts["answerable"]["right"] / answerable, 4),
        "dangerous": round(verdicts[Verdict.DANGEROUS] / max(1, len(all_asked)), 4),
        "groups": counts,
        "kinds": kinds,
        "seconds": round(seconds, 1),
        "answers": [one.to_json() for one in _in_order(all_asked)],
    }  # fmt: skip


def _in_order(all_asked: Sequence[Asked]) -> list[Asked]:
    return sorted(all_asked, key=lambda one: one.question.id)


def _counts(some: Sequence[Asked]) -> dict[str, int]:
    verdicts = Counter(one.judgement.verdict for one in some)
    return {verdict.name.lower(): verdicts[verdict] for verdict in Verdict}


def _judged(
    question: ClinicQuestion,
    image: ClinicImage,
    loaded: LoadedImage,
    answer: Answer | None,
    refusal: str,
    low_confidence: float,
) -> Asked:
    return Asked(question, answer, refusal, judge(question, image, loaded, answer, low_confidence))


def _answers(
    predictor: Predictor, loaded: LoadedImage, about: Sequence[ClinicQuestion]
) -> list[tuple[Answer | None, str]]:
    """Answers in order. What is no question is asked alone: refused, it would cost all that are asked with it."""
    apart = [question for question in about if question.kind == _NO_QUESTION]
    together = [question for question in about if question.kind != _NO_QUESTION]
    given = dict(zip(together, _together(predictor, loaded, together), strict=True))
    for question in apart:
        [given[question]] = _together(predictor, loaded, [question])
    return [given[question] for question in about]


def _together(
    predictor: Predictor, loaded: LoadedImage, about: Sequence[ClinicQuestion]
) -> list[tuple[Answer | None, str]]:
    """Ask all at once; where one of them is refused, each half by itself, down to the one."""
    if not about:
        return []
    try:
        return [(one, "") for one in predictor.answer(loaded.stack, [question.question for question in about])]
    except (InputRefused, AnswerMalformed) as error:
        if len(about) == 1:
            return [(None, str(error))]
    half = len(about) // 2
    return [*_together(predictor, loaded, about[:half]), *_together(predictor, loaded, about[half:])]
