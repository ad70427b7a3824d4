"""Whether a text is a question at all, and whether it goes on from an earlier one, as the model side understands it."""

from __future__ import annotations

from collections.abc import Sequence

from inference.errors import QuestionRefused as NotAQuestion
from inference.interface import Exchange, Question
from workflows.errors import QuestionRefused
from workflows.protocols.schema import Turn

__all__ = ["goes_on", "require_question"]


def require_question(text: str, earlier: Sequence[Turn] = ()) -> None:
    """Raise QuestionRefused, with an example of what can be asked, for a text that asks for nothing.

    `earlier`: what it goes on from, oldest first. What the weights have learned does not matter here: a question about
    something else is a question, and is answered with "not assessed".
    """
    _understood(text, earlier)


def goes_on(text: str, earlier: Sequence[Turn]) -> bool:
    """Whether a question means the findings of an earlier one, as "how big is it?" does. Raises QuestionRefused."""
    return _understood(text, earlier) and bool(earlier)


def _understood(text: str, earlier: Sequence[Turn]) -> bool:
    from inference.medseg_qa.labels import LABELS
    from inference.understanding.understand import understand  # its tables take a moment to read

    exchanges = tuple(Exchange(turn.question, turn.answer, turn.phrases) for turn in earlier)
    try:
        # Which images it will be asked of is not known here: no label of one modality is an example.
        return understand(Question(text, earlier=exchanges), LABELS, examples=()).earlier
    except NotAQuestion as error:
        raise QuestionRefused(str(error)) from error
