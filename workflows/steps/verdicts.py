"""What a review says of one job, and the words in which an answer is told once a person has judged it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from dicom_node.errors import ResultRefused
from workflows.state.answers import AnswerRecord, FindingRecord, NotAssessedRecord
from workflows.state.review_writing import ReviewedJob
from workflows.state.reviewing import FindingPlace, FindingVerdict, Missed, Review, VerdictKind, WrongWords

__all__ = ["Verdicts", "because"]

_IS_QUOTED = 'Nothing is marked. The model said: "'
"""So begins the text of an answer that has its words as a quotation already."""


@dataclass(frozen=True)
class Verdicts:
    """What a review says of one job. Raises ResultRefused where a finding has no verdict."""

    review: Review
    reviewed: ReviewedJob

    def on(self, answer: int, finding: int) -> FindingVerdict:
        """The verdict on a finding, `answer` among the job's, both from 0."""
        place = FindingPlace(self.reviewed.job.job_key, answer, finding)
        verdict = self.review.verdict_on(place)
        if verdict is None:
            label = self.reviewed.job.answers[answer].findings[finding].label
            raise ResultRefused(f"{label} has no verdict: open the review and give one, then sign it again")
        return verdict

    @cached_property
    def all(self) -> tuple[FindingVerdict, ...]:
        """Those on every finding of the job, in order."""
        answers = self.reviewed.job.answers
        return tuple(
            self.on(number, place) for number, answer in enumerate(answers) for place in range(len(answer.findings))
        )

    def missed(self, answer: int | None = None) -> tuple[Missed, ...]:
        """What was missed, of one answer or of all."""
        own = [one for one in self.review.missed if one.job_key == self.reviewed.job.job_key]
        return tuple(one for one in own if answer in (None, one.answer))

    def rejected_words(self, answer: int) -> WrongWords | None:
        """What is said of an answer's words, where they are wrong; those of a question that was not asked are ours."""
        if self.reviewed.job.answers[answer].not_asked:
            return None
        own = (one for one in self.review.words if (one.job_key, one.answer) == (self.reviewed.job.job_key, answer))
        return next(own, None)

    @property
    def accepts_all(self) -> bool:
        """Whether everything is right as it is, also that nothing was marked."""
        wrong = any(self.rejected_words(number) for number in range(len(self.reviewed.job.answers)))
        return not wrong and not self.missed() and all(_is_right(verdict) for verdict in self.all)

    @property
    def rejects_all(self) -> bool:
        """Whether something was marked, and nothing of it is there."""
        return bool(self.all) and not self.missed() and all(one.kind is VerdictKind.NOT_THERE for one in self.all)

    def text_of(self, number: int) -> str:
        """An answer's text: the model's words as a quotation, what the reviewer says otherwise, and what is verified.

        A person has judged what was marked, never a sentence of the model: its words do not stand as the person's.
        """
        answer = self.reviewed.job.answers[number]
        told = [
            remark
            for place, finding in enumerate(answer.findings)
            if (remark := _remark(finding, self.on(number, place)))
        ]
        told += [f"{one.label} was missed{because(one.reason)}" for one in self.missed(number)]
        reviewer = f"The reviewer: {'; '.join(told)}." if told else ""
        verified = self._verified(number)
        rejected = self.rejected_words(number)
        said = answer.text if answer.not_asked else _quoted(answer.text)
        if rejected is not None:
            said = f"The reviewer has rejected the answer's words{because(rejected.reason)}."
        return " ".join(filter(None, [said, reviewer, f"Verified: {'; '.join(verified)}." if verified else ""]))

    def _verified(self, number: int) -> list[str]:
        """What a reviewer agrees with of an answer, in words: what is as marked, and what was not seen."""
        answer = self.reviewed.job.answers[number]
        right = [one.label for place, one in enumerate(answer.findings) if _is_right(self.on(number, place))]
        not_seen = self.not_seen(number)
        marked = [] if answer.findings or self.missed(number) or answer.goes_on else ["nothing is marked"]
        marked += [f"{_listed(right)}, as marked"] if right else []
        return [*marked, *([f"{_listed(not_seen)}, looked for and not seen"] if not_seen else [])]

    def not_seen(self, number: int) -> tuple[str, ...]:
        """Labels that were looked for and that neither model nor reviewer has seen; none where the words are wrong."""
        if self.rejected_words(number) is not None:
            return ()
        seen = self._seen(number)
        return tuple(label for label in self.reviewed.job.answers[number].not_seen or () if label not in seen)

    def not_assessed(self, number: int) -> tuple[NotAssessedRecord, ...]:
        """What the model could not look for, and the reviewer has not seen either: nobody says that it is not there."""
        seen = self._seen(number)
        return tuple(one for one in self.reviewed.job.answers[number].not_assessed if one.label not in seen)

    def _seen(self, number: int) -> set[str]:
        """Labels that model or reviewer have seen."""
        seen = {one.label for one in self.missed(number)}
        for place, finding in enumerate(self.reviewed.job.answers[number].findings):
            verdict = self.on(number, place)
            if verdict.kind is not VerdictKind.NOT_THERE:
                seen.add(verdict.label or finding.label)
        return seen

    def texts(self) -> tuple[str, ...]:
        """The text of every answer, in the order in which a report has them: part by part."""
        answers = self.reviewed.job.answers
        return tuple(self.text_of(number) for number in sorted(range(len(answers)), key=lambda one: answers[one].part))

    def accepted_answers(self) -> tuple[AnswerRecord, ...]:
        """The answers where all of them is right."""
        answers = self.reviewed.job.answers
        return tuple(replace(one, text=self.text_of(number)) for number, one in enumerate(answers))

    def rejected_answers(self) -> tuple[AnswerRecord, ...]:
        """The answers where nothing of them is there."""
        answers = self.reviewed.job.answers
        return tuple(self._rejected(one, number) for number, one in enumerate(answers))

    def _rejected(self, answer: AnswerRecord, number: int) -> AnswerRecord:
        not_seen = () if self.rejected_words(number) is not None else answer.not_seen
        return replace(answer, findings=(), text=self.text_of(number), not_seen=not_seen)


def _is_right(verdict: FindingVerdict) -> bool:
    return verdict.kind is VerdictKind.ACCEPT and verdict.correction is None


def _quoted(text: str) -> str:
    """The model's words, as what it said. Quotation marks in them are single: so the quotation ends where they do."""
    if text.startswith(_IS_QUOTED):
        return text
    words = text.strip().replace('"', "'")
    return f'The model said: "{words}"' if words else "The model gave no words."


def _listed(labels: Sequence[str]) -> str:
    *before, last = dict.fromkeys(labels)
    return f"{', '.join(before)} and {last}" if before else last


def _remark(finding: FindingRecord, verdict: FindingVerdict) -> str:
    """What a verdict changes, in words; "" for nothing."""
    named = f", it is {verdict.label}" if verdict.label not in (None, finding.label) else ""
    why = because(verdict.reason)
    match verdict.kind:
        case VerdictKind.NOT_THERE:
            return f"{finding.label} is not there{why}"
        case VerdictKind.NAME if named or verdict.correction is not None:
            return f"what was marked as {finding.label} is {verdict.label or finding.label}{why}"
        case VerdictKind.NAME:
            return f"what was marked as {finding.label} is something else, and is not marked here{why}"
        case VerdictKind.OUTLINE if verdict.correction is None:
            return f"{finding.label} is there{named}, its outline is wrong and was not drawn anew: not marked here{why}"
        case _ if verdict.correction is not None:
            return f"the outline of {finding.label} is corrected{named}{why}"
    return ""


def because(reason: str) -> str:
    """A reason behind what it is of; "" for none."""
    return f" ({reason})" if reason else ""
