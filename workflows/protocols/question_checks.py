"""Question checks: what is wrong between questions, and texts that ask for nothing; of what is half right, too."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from pydantic_core import InitErrorDetails

from dicom_node.results.codes import concept_for
from inference.suggestions import similar_name
from workflows.errors import QuestionRefused
from workflows.protocols.conversation import require_question
from workflows.protocols.document import MOST_FOLLOW_UPS, MOST_QUESTIONS
from workflows.protocols.filling import placeholders
from workflows.protocols.nodes import Loc, Written
from workflows.protocols.schema import Turn
from workflows.protocols.values import fault

__all__ = ["question_faults"]

_LONGEST_NAME = 64


def question_faults(written: Written, predictors: Collection[str] | None) -> Iterator[InitErrorDetails]:
    """Mistakes of a file's questions that no key alone shows. `predictors`: names that they may have; None: any."""
    values = written.values if isinstance(written.values, dict) else {}
    questions = values.get("questions")
    firsts: dict[tuple[str, str], Loc] = {}
    name = _text(values.get("name"))
    for index, question in enumerate(questions[:MOST_QUESTIONS] if isinstance(questions, list) else []):
        loc: Loc = ("questions", index)
        if not isinstance(question, dict):
            continue
        for key in ("id", "text"):
            said = _text(question.get(key))
            first = firsts.setdefault((key, said), (*loc, key))
            if said and first != (*loc, key):
                other = f"stands on line {written.line(first)} too"
                yield fault((*loc, key), f"{key} {said!r} {other}: give each question its own")
        yield from _predictor_faults(question.get("predictor"), (*loc, "predictor"), name, predictors)
        yield from _text_faults(question, loc)


def _text_faults(question: dict[str, Any], loc: Loc) -> Iterator[InitErrorDetails]:
    """A text that asks for nothing is a mistake here, not in the night when a study comes."""
    text, labels = _text(question.get("text")), _labels(question.get("findings"))
    yield from _asks(text, (), (*loc, "text"))
    earlier = [Turn(text, "", labels)]
    follow_ups = question.get("follow_ups", [])
    for index, entry in enumerate(follow_ups[:MOST_FOLLOW_UPS] if isinstance(follow_ups, list) else [follow_ups]):
        place = (*loc, "follow_ups", index) if isinstance(follow_ups, list) else (*loc, "follow_ups")
        if isinstance(entry, dict):
            yield from _if_seen_faults(_text(entry.get("if_seen")), labels, (*place, "if_seen"))
            place = (*place, "ask")
        said = _text(entry.get("ask") if isinstance(entry, dict) else entry)
        if said and said in [turn.question for turn in earlier]:
            yield fault(place, f"follow_ups: {said!r} was asked in this conversation already; remove one")
        yield from _asks(said, earlier, place)
        earlier.append(Turn(said, "", labels))


def _asks(text: str, earlier: Sequence[Turn], loc: Loc) -> Iterator[InitErrorDetails]:
    if not text:
        return
    try:
        require_question(as_asked(text), earlier)
    except ValueError as error:
        yield fault(loc, f"{text!r}: {error}")
    except QuestionRefused as error:
        yield fault(loc, f"{text!r}: {error}")


def _if_seen_faults(label: str, labels: Sequence[str], loc: Loc) -> Iterator[InitErrorDetails]:
    if not label or label.lower() in ("true", "yes") or not labels:
        return
    concept = concept_for(label)
    unread = [one for one in labels if concept_for(one) is None]  # told already, or with codes of its own
    if concept is not None and label not in labels and similar_name(label.casefold(), unread):
        return  # the finding itself is mistyped
    if label not in labels and (concept is None or concept.label not in labels):
        near = similar_name(label.casefold(), labels)
        hint = f"did you mean {near!r}?" if near else f"write one of {', '.join(labels)}, or true for any"
        yield fault(loc, f"if_seen {label!r} is no finding of this question; {hint}")


def _predictor_faults(
    value: Any, loc: Loc, name: str, predictors: Collection[str] | None
) -> Iterator[InitErrorDetails]:
    """Who answers a question: a name of `[[predictors]]`."""
    predictor = _text(value)
    if len(predictor) > _LONGEST_NAME - len(name) - 1:
        yield fault(loc, f"predictor {predictor!r} and the protocol's name are longer together than 64 characters")
    if predictor and predictors is not None and predictor not in predictors:
        near = similar_name(predictor, predictors)
        known = f"did you mean {near!r}?" if near else f"there are {', '.join(predictors) or 'none'}"
        number = int(loc[1]) + 1
        yield fault(loc, f"predictor {predictor!r} of question {number} stands in no [[predictors]] name; {known}")


def as_asked(text: str) -> str:
    """A question as it may be asked of some patient. Raises ValueError for a placeholder that is not known."""
    for name in placeholders(text) if "{" in text or "}" in text else ():
        text = re.sub(r"\{" + name + r"(\|[^{}]*)?\}", _SAMPLES.get(name, name), text)
    return text


_SAMPLES = {"age": "54-year-old", "sex": "woman", "side": "left", "reason": "pain"}


def _labels(findings: Any) -> tuple[str, ...]:
    """Of what is right of them."""
    found = []
    for entry in findings if isinstance(findings, list) else [findings]:
        said = _text(entry.get("label") if isinstance(entry, dict) else entry)
        concept = concept_for(said) if said and not isinstance(entry, dict) else None
        found.append(concept.label if concept is not None else said)
    return tuple(filter(None, found))


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""
