"""Filling: what a header says, put into a question's text. Pure.

`{age}`, `{sex}`, `{side}` and `{reason}` stand for what the header says; `{reason|no reason given}` has words for when
it says nothing, or none: `{side|}`. A question whose header says nothing and that has no such words is not asked, and
the verdict says so. `{{` and `}}` are braces.

          in an English text              in a German one
{age}     54-year-old, 14-month-old       54 Jahre alt, 14 Monate alt      months under two years
          newborn                         neugeboren                       under a month
{sex}     woman, man, patient             Frau, Mann, Person               `patient` where it is neither (O)
{side}    left, right, left and right     links, rechts, beidseits         of what the series shows
{reason}  as it was typed, without line ends, control characters and braces, at most 200 characters

Only the text is filled. A question's id stays what it is: it says which question an earlier result answered, though the
patient is older now, and it is logged, which a reason for study must never be.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from dicom_node.headers.study import SeriesHeader, StudyHeader
from workflows.protocols.schema import ProtocolQuestion

__all__ = ["filled", "filled_questions", "needed_in", "placeholders", "why_not_asked"]

_LONGEST_REASON = 200
_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


def placeholders(text: str) -> tuple[str, ...]:
    """Names that stand in braces, each once, without their words for when the header says nothing.

    Raises ValueError for a brace that is not closed or a name that is not known, with a remedy.
    """
    return tuple(dict.fromkeys(name for name, _words in _parsed(text)))


def needed_in(text: str) -> tuple[str, ...]:
    """Names that a header must say, since they have no words for when it does not. Raises as `placeholders` does."""
    return tuple(dict.fromkeys(name for name, words in _parsed(text) if words is None))


def why_not_asked(attribute: str) -> str:
    """Why a question is not asked whose header lacks an attribute, and the remedy."""
    name = next((name for name, filling in _FILLINGS.items() if filling.attribute == attribute), "")
    return f"no {attribute}{f' (write {{{name}|}} to ask it without)' if name else ''}"


def filled(question: ProtocolQuestion, study: StudyHeader, series: SeriesHeader) -> ProtocolQuestion | str:
    """The question as it is asked of a series; or the attribute that is missing, `Patient's Age (0010,1010)`.

    Raises ValueError for a text that `placeholders` refuses.
    """
    names = placeholders(question.text)
    if not names:
        return replace(question, text=_TOKEN.sub(_brace, question.text)) if _is_marked(question.text) else question
    german = _is_german(_TOKEN.sub(" ", question.text))
    said = {name: _FILLINGS[name].of(study, series, german) for name in names}
    for name, words in _parsed(question.text):
        if not said[name] and words is None:
            return _FILLINGS[name].attribute

    def text_of(token: re.Match[str]) -> str:
        if token[1] is None:
            return _brace(token)
        name, words = _name_and_words(token[1])
        return said[name] or words or ""

    return replace(question, text=re.sub(" {2,}", " ", _TOKEN.sub(text_of, question.text)).strip())


def filled_questions(
    questions: Sequence[ProtocolQuestion], study: StudyHeader, series: SeriesHeader
) -> tuple[tuple[ProtocolQuestion, ...], dict[str, str]]:
    """The questions that are asked of a series, filled, and of others, by id, the attribute that is missing.

    What goes on from a question that is not asked is not asked either.
    """
    asked: list[ProtocolQuestion] = []
    missing: dict[str, str] = {}
    for question in questions:
        found = filled(question, study, series)
        if isinstance(found, str):
            missing[question.id] = found
        elif question.follows in missing:
            missing[question.id] = missing[question.follows]
        else:
            asked.append(found)
    return tuple(asked), missing


# --- Texts ------------------------------------------------------------------------------------------------------------


def _parsed(text: str) -> Iterator[tuple[str, str | None]]:
    """Each placeholder with its words; None: it has none."""
    for token in _TOKEN.finditer(text):
        if token[0] in ("{", "}"):
            where = text[token.start() :][:40]
            raise ValueError(f"a brace stands alone at {where!r}: close it, or write {token[0] * 2}")
        if token[1] is not None:
            name, words = _name_and_words(token[1])
            if name not in _FILLINGS:
                known = ", ".join(f"{{{one}}}" for one in _FILLINGS)
                raise ValueError(f"{{{name[:40]}}} is no placeholder: there are {known}; a brace itself is {{{{")
            yield name, words


def _name_and_words(inside: str) -> tuple[str, str | None]:
    name, bar, words = inside.partition("|")
    return name.strip(), words.strip() if bar else None


def _is_marked(text: str) -> bool:
    return "{" in text or "}" in text


def _brace(token: re.Match[str]) -> str:
    return token[0][0]


@lru_cache(maxsize=1024)
def _is_german(text: str) -> bool:
    from inference.understanding.folding import fold
    from inference.understanding.intents import language_of  # its tables take a moment to read
    from inference.understanding.mentions import Text
    from inference.understanding.question import Language

    return language_of(Text((), (), fold(text))) is Language.GERMAN


# --- What headers say -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Filling:
    """A placeholder: the attribute that it needs, and what that says, "" for nothing."""

    attribute: str
    of: Callable[[StudyHeader, SeriesHeader, bool], str]


def _age(study: StudyHeader, _series: SeriesHeader, german: bool) -> str:
    years = study.patient_age_years
    if years is None or not 0 <= years < 200:
        return ""
    months = int(years * 12 + 1e-6)
    if months >= 24:
        return f"{months // 12} Jahre alt" if german else f"{months // 12}-year-old"
    if not months:
        return "neugeboren" if german else "newborn"
    if german:
        return f"{months} Monat{'e' if months > 1 else ''} alt"
    return f"{months}-month-old"


def _sex(study: StudyHeader, _series: SeriesHeader, german: bool) -> str:
    english, other = _SEXES.get(study.patient_sex.strip().upper(), ("", ""))
    return other if german else english


def _side(_study: StudyHeader, series: SeriesHeader, german: bool) -> str:
    english, other = _SIDES.get(series.laterality.strip().upper(), ("", ""))
    return other if german else english


def _reason(study: StudyHeader, _series: SeriesHeader, _german: bool) -> str:
    """In a line, without what is not shown (Unicode categories C) and without braces."""
    start = study.reason[: 20 * _LONGEST_REASON]
    shown = "".join(" " if unicodedata.category(one)[0] in "CZ" or one in "{}" else one for one in start)
    return " ".join(shown.split())[:_LONGEST_REASON].rstrip()


_SEXES = {"F": ("woman", "Frau"), "M": ("man", "Mann"), "O": ("patient", "Person")}
_SIDES = {"L": ("left", "links"), "R": ("right", "rechts"), "B": ("left and right", "beidseits")}
_FILLINGS = {
    "age": _Filling("Patient's Age (0010,1010)", _age),
    "sex": _Filling("Patient's Sex (0010,0040)", _sex),
    "side": _Filling("Laterality (0020,0060)", _side),
    "reason": _Filling("Reason for the Requested Procedure (0040,1002)", _reason),
}
