"""Changes: what becomes of series when one set of protocols takes the place of another. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from typing import Any

from dicom_node.headers.study import SeriesHeader, StudyHeader
from workflows.protocols.schema import ProtocolQuestion, ReadingProtocol
from workflows.protocols.verdicts import Verdict

__all__ = [
    "NOT_THERE", "Changed", "KnownStudy", "OtherQuestions", "ProtocolChange", "StudyChanges", "by_study", "lean",
    "other_questions",
]  # fmt: skip

NOT_THERE = "no protocol of this name"
"""Why a set of protocols does not ask what another of its protocols would."""


@dataclass(frozen=True)
class KnownStudy:
    """A study of the node's history (or of a folder): its header, and how a person finds it."""

    header: StudyHeader
    accession_number: str = ""
    received_at: datetime | None = None

    @property
    def modalities(self) -> str:
        """Those of its series, each once: `CT, MR`."""
        return ", ".join(sorted({series.modality for series in self.header.series} - {""}))

    def series(self, series_uid: str) -> SeriesHeader | None:
        """One of its series."""
        return next((series for series in self.header.series if series.series_uid == series_uid), None)


@dataclass(frozen=True)
class OtherQuestions:
    """Of a series that both sets ask: texts of questions that came and that went, and what else is otherwise."""

    came: tuple[str, ...] = ()
    went: tuple[str, ...] = ()
    otherwise: tuple[str, ...] = ()

    @property
    def told(self) -> tuple[str, ...]:
        """A clause each, with a sign."""
        signed = (*(f"- {text}" for text in self.went), *(f"+ {text}" for text in self.came))
        return signed + self.otherwise or ("the same questions in another order",)


def other_questions(before: ReadingProtocol, after: ReadingProtocol) -> OtherQuestions:
    """What a series is asked otherwise. Either as it is asked: filled, and without what another asks already."""
    went = [one for one in before.questions if one not in after.questions]
    came, otherwise = [], []
    for new in after.questions:
        if new in before.questions:
            continue
        old = next((one for one in went if one.text == new.text), None)
        if old is None:
            came.append(new.text)
        else:
            went.remove(old)
            otherwise.append(f"{new.text}: other {_apart(old, new)}")
    if before.frames != after.frames:
        otherwise.append(f"frames {before.frames.text} before, {after.frames.text} after")
    return OtherQuestions(tuple(came), tuple(one.text for one in went), tuple(otherwise))


def _apart(old: ProtocolQuestion, new: ProtocolQuestion) -> str:
    """In which of its parts a question is another one."""
    parts = [one.name for one in fields(old) if getattr(old, one.name) != getattr(new, one.name)]
    return ", ".join(_PARTS.get(part, part) for part in parts)


_PARTS = {"follows": "question before it", "earlier": "earlier turns", "only_if": "condition"}


@dataclass(frozen=True)
class Changed:
    """A series that is asked by one set of protocols and not by the other, and why each says so.

    None for a verdict: that set has no protocol of this name. `questions`: both ask it, and how the questions differ.
    """

    study: KnownStudy
    series_uid: str
    protocol: str
    before: Verdict | None
    after: Verdict | None
    questions: OtherQuestions | None = None

    @property
    def added(self) -> bool:
        """Whether it is asked now and was not."""
        return self.questions is None and self.after is not None and self.after.asked

    @property
    def missing(self) -> tuple[str, ...]:
        """Attributes that were not there and on which either verdict turned."""
        verdicts = [verdict for verdict in (self.before, self.after) if verdict is not None]
        return tuple(dict.fromkeys(name for verdict in verdicts for name in verdict.missing))

    @property
    def flags(self) -> tuple[str, ...]:
        """What a person should look at, of either verdict."""
        verdicts = [verdict for verdict in (self.before, self.after) if verdict is not None]
        return tuple(dict.fromkeys(flag for verdict in verdicts for flag in verdict.flags))

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        series = self.study.series(self.series_uid)
        received = self.study.received_at
        return {
            "change": "other questions" if self.questions else "added" if self.added else "removed",
            "study_uid": self.study.header.study_uid,
            "accession_number": self.study.accession_number,
            "received_at": None if received is None else received.isoformat(),
            "series_uid": self.series_uid,
            "modality": "" if series is None else series.modality,
            "series_description": "" if series is None else series.series_description,
            "protocol": self.protocol,
            "before": None if self.before is None else self.before.as_json(),
            "after": None if self.after is None else self.after.as_json(),
            "questions": None if self.questions is None else asdict(self.questions),
        }


@dataclass(frozen=True)
class ProtocolChange:
    """What becomes of one protocol. `before`, `after`: its versions; None: that set has none of this name.

    `added`, `removed`, `same`: series. `otherwise`: how many of `same` are asked other questions. Minutes: the model's.
    """

    name: str
    before: str | None
    after: str | None
    added: int
    removed: int
    same: int
    otherwise: int = 0
    minutes_before: float | None = None
    minutes_after: float | None = None

    @property
    def is_idle(self) -> bool:
        """Whether it asks nothing, as it is and as it was: off, or of studies that did not come."""
        return self.before == self.after and not (self.added or self.removed or self.same or self.otherwise)


@dataclass(frozen=True)
class StudyChanges:
    """A study of which something changes."""

    study: KnownStudy
    changes: tuple[Changed, ...]

    @property
    def are_questions_alone(self) -> bool:
        """Whether the same series are asked, other things."""
        return all(change.questions is not None for change in self.changes)


def by_study(changes: Iterable[Changed]) -> tuple[StudyChanges, ...]:
    """The studies that change, with their changes in order of series and protocol: first those of which other series
    are asked, then those that are asked other things; of each those that came last first."""
    found: dict[str, list[Changed]] = {}
    for one in changes:
        found.setdefault(one.study.header.study_uid, []).append(one)
    several = [
        StudyChanges(some[0].study, tuple(sorted(some, key=lambda one: (one.series_uid, one.protocol))))
        for some in found.values()
    ]
    return tuple(sorted(several, key=lambda one: (one.are_questions_alone, *_latest_first(one.study))))


def lean(study: KnownStudy) -> KnownStudy:
    """The study without the attributes that only conditions ask: what is kept of one that is told of."""
    series = tuple(replace(series, attributes={}) for series in study.header.series)
    return replace(study, header=replace(study.header, series=series))


def _latest_first(study: KnownStudy) -> tuple[float, str]:
    received = study.received_at
    return (0.0 if received is None else -received.timestamp(), study.header.study_uid)
