"""What a question is that a person asks of a study: its text, what was decided, how it stands. Pure."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from workflows.errors import QuestionRefused
from workflows.state.records import Job
from workflows.state.states import JobState, QuestionState

__all__ = ["LONGEST_QUESTION", "QUESTION_PROTOCOL", "AskedQuestion", "QuestionStage", "question_text"]

QUESTION_PROTOCOL = "question"
"""What stands where a protocol's name does in the objects of an answer that was kept."""
LONGEST_QUESTION = 300
"""Characters: a sentence or two."""


class QuestionStage(Enum):
    """How far the answer to a question is, as a page shows it."""

    WAITING = "waiting"
    READING = "reading"
    ANSWERED = "answered"
    FAILED = "failed"


@dataclass(frozen=True)
class AskedQuestion:
    """A question with its job. `part`: the part of the series that was shown when it was asked.

    `asked_by`, `decided_by`: accounts. `current`: it was asked of the images that the study has now.
    """

    job: Job
    state: QuestionState
    part: int
    asked_by: str
    asked_at: datetime
    decided_by: str
    decided_at: datetime | None
    current: bool

    @property
    def text(self) -> str:
        """What was asked."""
        return self.job.questions[0].text

    @property
    def preliminary(self) -> bool:
        """Whether nobody has kept the answer: nothing of it goes to an archive."""
        return self.state is not QuestionState.KEPT

    @property
    def stage(self) -> QuestionStage:
        """How far the answer is."""
        if self.job.answers:
            return QuestionStage.ANSWERED
        match self.job.state:
            case JobState.PLANNED:
                return QuestionStage.WAITING
            case JobState.PREDICTING:
                return QuestionStage.READING
            case _:
                return QuestionStage.FAILED

    @property
    def told(self) -> str:
        """A sentence on how it stands: what it waits for, why it failed, what became of its results."""
        job = self.job
        match self.stage:
            case QuestionStage.WAITING:
                return f"Waits: {job.reason}" if job.reason else "Waits for a worker; it goes ahead of routine work."
            case QuestionStage.READING:
                return "Is being read."
            case QuestionStage.FAILED:
                return f"Not answered: {job.reason or 'no reason was kept; ask again'}"
            case QuestionStage.ANSWERED:
                return self._of_answer()

    def _of_answer(self) -> str:
        if self.state is not QuestionState.KEPT:
            earlier = "" if self.current else " It was asked of the earlier images: ask again to keep an answer."
            return f"Preliminary: nothing was sent.{earlier}"
        match self.job.state:
            case JobState.DELIVERED:
                return "Kept and sent."
            case JobState.DELIVERING:
                return "Kept, on the way to the archive" + (f": {self.job.reason}" if self.job.reason else ".")
            case _:
                return f"Kept, but not all of it was sent: {self.job.reason}"


def question_text(typed: str) -> str:
    """What is asked, as it is kept: in Unicode's composed form, with single spaces. Raises QuestionRefused.

    Questions are understood in English and German. Other scripts would be read as unknown words, so they are refused,
    with control and direction characters, which would make a report show another text than was asked.
    """
    if any(unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Co", "Cn") and sign not in "\t\r\n" for sign in typed):
        raise QuestionRefused("the question has characters that cannot be seen: type it again, in plain letters")
    text = re.sub(r"\s+", " ", unicodedata.normalize("NFC", typed)).strip()
    if not text:
        raise QuestionRefused("the question is empty: ask something, such as 'Which kidney is larger?'")
    if len(text) > LONGEST_QUESTION:
        raise QuestionRefused(f"the question has {len(text)} characters; ask in {LONGEST_QUESTION} or fewer")
    letters = [sign for sign in text if sign.isalpha()]
    if len(letters) < 2:
        raise QuestionRefused("the question has no word: ask in a sentence, such as 'Where is the liver?'")
    if any(not unicodedata.name(sign, "").startswith(("LATIN", "GREEK SMALL", "MICRO")) for sign in letters):
        raise QuestionRefused("the question is not in Latin letters: questions are understood in English and German")
    return text
