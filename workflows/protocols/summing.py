"""Summing up: what one set of protocols would ask of a whole history, and what of it nothing matches, and why. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from workflows.protocols.costing import Cost, minutes_of, work_of
from workflows.protocols.matching import Plan, match
from workflows.protocols.replaying import KnownStudy
from workflows.protocols.schema import ReadingProtocol

__all__ = ["ProtocolCount", "Reason", "Summary", "UnmatchedKind", "joined_summaries", "summary"]

_MOST_TEXTS = 5_000
"""How many different texts are counted at once: a header can make each reason a new one."""


@dataclass(frozen=True)
class ProtocolCount:
    """What one protocol would ask. `unknown`: series of which the header does not say enough to decide."""

    name: str
    version: str
    title: str
    studies: int
    series: int
    questions: int
    unknown: int = 0
    off_because: str = ""
    minutes: float | None = None


@dataclass(frozen=True)
class UnmatchedKind:
    """Studies of one kind that nothing matches, and one of them."""

    modalities: str
    study_description: str
    studies: int
    study_uid: str
    accession_number: str


@dataclass(frozen=True)
class Reason:
    """Why protocols do not ask studies that nothing matches. `studies`: how many have this reason at least once."""

    reason: str
    protocols: tuple[str, ...]
    studies: int


@dataclass(frozen=True)
class Summary:
    """A history against one set of protocols. `series`: asked, each once for each protocol. Minutes: of the model.

    `missing`: attributes on which verdicts turned and that were not there, with how many studies lacked them.
    `flagged`: studies of which a verdict says that a person should look.
    """

    studies: int
    matched: int
    series: int
    protocols: tuple[ProtocolCount, ...]
    kinds: tuple[UnmatchedKind, ...]
    reasons: tuple[Reason, ...]
    missing: tuple[tuple[str, int], ...] = ()
    flagged: int = 0
    minutes: float | None = None

    @property
    def unmatched(self) -> int:
        """Studies of which nothing is asked."""
        return self.studies - self.matched

    def as_json(self, limit: int | None = None) -> dict[str, Any]:
        """For `--json`. `limit`: kinds and reasons at most; None: all."""
        return {
            "studies": self.studies,
            "matched": self.matched,
            "unmatched": self.unmatched,
            "series": self.series,
            "flagged": self.flagged,
            "minutes": self.minutes,
            "protocols": [asdict(protocol) for protocol in self.protocols],
            "nothing_matches": [asdict(kind) for kind in self.kinds[:limit]],
            "reasons": [asdict(reason) for reason in self.reasons[:limit]],
            "missing": [{"attribute": name, "studies": studies} for name, studies in self.missing],
        }


def summary(
    studies: Iterable[KnownStudy],
    protocols: Sequence[ReadingProtocol],
    at_most: int | None = None,
    cost: Cost | None = None,
) -> Summary:
    """What `protocols` would ask of a history, studies taken one by one."""
    tally = _Tally()
    for study in studies:
        tally.add(study, match(study.header, protocols, at_most))
    return tally.summary(protocols, cost)


def joined_summaries(parts: Sequence[Summary]) -> Summary:
    """Those of parts of a history, by the same protocols, as one. `parts`: at least one."""
    tally = _Tally()
    for part in parts:
        tally.join(part)
    minutes = [part.minutes for part in parts if part.minutes is not None]
    protocols = [_joined(several) for several in zip(*(part.protocols for part in parts), strict=True)]
    return replace(tally.told(protocols), minutes=sum(minutes) if minutes else None)


class _Tally:
    """Counts while studies pass by."""

    def __init__(self) -> None:
        self.studies = self.matched = self.flagged = 0
        self.of_studies: Counter[str] = Counter()
        self.series: Counter[str] = Counter()
        self.questions: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()
        self.work: Counter[str] = Counter()
        self.kinds: Counter[tuple[str, str]] = Counter()
        self.one_of: dict[tuple[str, str], tuple[str, str]] = {}
        self.reasons: Counter[str] = Counter()
        self.said_by: dict[str, set[str]] = {}
        self.missing: Counter[str] = Counter()

    def add(self, study: KnownStudy, plan: Plan) -> None:
        """Count one study."""
        self.studies += 1
        series = {one.series_uid: one for one in study.header.series}
        for one in plan.matches:
            name = one.protocol.name
            self.series[name] += 1
            self.questions[name] += len(one.protocol.questions)
            self.work[name] += work_of(series[one.series_uid], one.protocol)
        self.of_studies.update({one.protocol.name for one in plan.matches})
        self.unknown.update(verdict.protocol for verdict in plan.verdicts if verdict.missing and not verdict.asked)
        self.missing.update({name for verdict in plan.verdicts for name in verdict.missing})
        self.flagged += any(verdict.flags for verdict in plan.verdicts)
        if plan.matches:
            self.matched += 1
        else:
            self._note(study, plan)

    def _note(self, study: KnownStudy, plan: Plan) -> None:
        kind = (study.modalities, study.header.study_description)
        self.kinds[kind] += 1
        self.one_of.setdefault(kind, (study.header.study_uid, study.accession_number))
        said = [verdict for verdict in plan.verdicts if not verdict.is_off]
        for verdict in said:
            self.said_by.setdefault(verdict.reason, set()).add(verdict.protocol)
        self.reasons.update({verdict.reason for verdict in said})
        self._forget()

    def _forget(self) -> None:
        """Let go of what is rare, so that texts of headers cannot fill the memory."""
        if len(self.reasons) > 2 * _MOST_TEXTS:
            self.reasons = Counter(dict(self.reasons.most_common(_MOST_TEXTS)))
            self.said_by = {reason: self.said_by[reason] for reason in self.reasons}
        if len(self.kinds) > 2 * _MOST_TEXTS:
            self.kinds = Counter(dict(self.kinds.most_common(_MOST_TEXTS)))
            self.one_of = {kind: self.one_of[kind] for kind in self.kinds}

    def join(self, part: Summary) -> None:
        """Add what another process has counted."""
        self.studies, self.matched = self.studies + part.studies, self.matched + part.matched
        self.flagged += part.flagged
        for kind in part.kinds:
            key = (kind.modalities, kind.study_description)
            self.kinds[key] += kind.studies
            self.one_of.setdefault(key, (kind.study_uid, kind.accession_number))
        for reason in part.reasons:
            self.reasons[reason.reason] += reason.studies
            self.said_by.setdefault(reason.reason, set()).update(reason.protocols)
        self.missing.update(dict(part.missing))
        self._forget()

    def summary(self, protocols: Sequence[ReadingProtocol], cost: Cost | None) -> Summary:
        """All that was counted."""
        counts = [
            ProtocolCount(
                protocol.name,
                protocol.version,
                protocol.title,
                self.of_studies[protocol.name],
                self.series[protocol.name],
                self.questions[protocol.name],
                self.unknown[protocol.name],
                protocol.off_because,
                minutes_of(self.work[protocol.name], cost),
            )
            for protocol in sorted(protocols, key=lambda one: one.name)
        ]
        return replace(self.told(counts), minutes=minutes_of(self.work.total(), cost))

    def told(self, counts: Sequence[ProtocolCount]) -> Summary:
        """All that was counted; the most frequent first."""
        return Summary(
            studies=self.studies,
            matched=self.matched,
            series=sum(count.series for count in counts),
            protocols=tuple(counts),
            kinds=tuple(_kind(kind, self.one_of[kind], count) for kind, count in _ordered(self.kinds)),
            reasons=tuple(
                Reason(reason, tuple(sorted(self.said_by[reason])), count) for reason, count in _ordered(self.reasons)
            ),
            missing=tuple(_ordered(self.missing)),
            flagged=self.flagged,
        )


def _kind(kind: tuple[str, str], study: tuple[str, str], count: int) -> UnmatchedKind:
    return UnmatchedKind(kind[0], kind[1], count, study_uid=study[0], accession_number=study[1])


def _ordered(counter: Counter[Any]) -> list[tuple[Any, int]]:
    return sorted(counter.items(), key=lambda one: (-one[1], one[0]))


def _joined(several: Sequence[ProtocolCount]) -> ProtocolCount:
    minutes = [one.minutes for one in several if one.minutes is not None]
    return replace(
        several[0],
        studies=sum(one.studies for one in several),
        series=sum(one.series for one in several),
        questions=sum(one.questions for one in several),
        unknown=sum(one.unknown for one in several),
        minutes=sum(minutes) if minutes else None,
    )
