"""Replaying: kept studies against one set of protocols, or two, by production's own `match`; what changed. Pure.

Studies come one by one and are forgotten once they are counted, but for those that change: a year of them takes no more
memory than a day. What several processes have made of parts of a history, `joined_differences` puts together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from dicom_node.headers.study import StudyHeader
from workflows.protocols.changes import (
    Changed,
    KnownStudy,
    ProtocolChange,
    StudyChanges,
    by_study,
    lean,
    other_questions,
)
from workflows.protocols.costing import Cost, Work, minutes_of, work_of
from workflows.protocols.deciding import Deciding
from workflows.protocols.matching import Plan, match
from workflows.protocols.schema import ReadingProtocol
from workflows.protocols.verdicts import Verdict

__all__ = [
    "Changed", "Cost", "Difference", "KnownStudy", "ProtocolChange", "Replayed", "StudyChanges", "difference",
    "joined_differences", "replay",
]  # fmt: skip


@dataclass(frozen=True)
class Replayed:
    """What a set of protocols makes of one study."""

    study: KnownStudy
    verdicts: tuple[Verdict, ...]

    @property
    def asked(self) -> frozenset[tuple[str, str]]:
        """(Series Instance UID, protocol name) of what is asked."""
        return frozenset((one.series_uid or "", one.protocol) for one in self.verdicts if one.asked)


@dataclass(frozen=True)
class Difference:
    """Two sets over the same studies. `same`: asked by both. Minutes are of the model's time; None: not known.

    `protocols`: each of either set, by name. `unmatched_before`, `unmatched_after`: studies of which nothing is asked.
    `other_questions`: those of `same` that are asked others.
    """

    studies: int
    added: tuple[Changed, ...]
    removed: tuple[Changed, ...]
    same: int
    minutes_before: float | None = None
    minutes_after: float | None = None
    protocols: tuple[ProtocolChange, ...] = ()
    unmatched_before: int = 0
    unmatched_after: int = 0
    other_questions: tuple[Changed, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether anything is asked otherwise."""
        return bool(self.added or self.removed or self.otherwise)

    @property
    def otherwise(self) -> int:
        """Series that both ask, but other questions."""
        return sum(protocol.otherwise for protocol in self.protocols)

    def by_study(self) -> tuple[StudyChanges, ...]:
        """The studies that change: first those of which other series are asked."""
        return by_study((*self.added, *self.removed, *self.other_questions))

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        changes = [change for study in self.by_study() for change in study.changes]
        return {
            "studies": self.studies,
            "studies_changed": len(self.by_study()),
            "series": {
                "added": len(self.added),
                "removed": len(self.removed),
                "same": self.same,
                "other_questions": self.otherwise,
            },
            "unmatched": {"before": self.unmatched_before, "after": self.unmatched_after},
            "minutes": {"before": self.minutes_before, "after": self.minutes_after},
            "protocols": [asdict(protocol) for protocol in self.protocols],
            "changed": [change.as_json() for change in changes],
        }


def replay(
    studies: Iterable[KnownStudy], protocols: Sequence[ReadingProtocol], at_most: int | None = None
) -> tuple[Replayed, ...]:
    """What each study would be asked. `at_most`: protocols a study, as `[protocols] at_most`.

    All verdicts are kept: for a handful of studies. A history is summed up by `summing.summary`.
    """
    return tuple(Replayed(study, match(study.header, protocols, at_most).verdicts) for study in studies)


def difference(
    studies: Iterable[KnownStudy],
    before: Sequence[ReadingProtocol],
    after: Sequence[ReadingProtocol],
    at_most: int | None = None,
    cost: Cost | None = None,
) -> Difference:
    """What `after` asks otherwise than `before`."""
    tally = _Tally()
    for study in studies:
        deciding = Deciding(study.header)
        plans = (match(study.header, some, at_most, deciding=deciding) for some in (before, after))
        tally.add(study, *plans)
    return tally.difference(before, after, cost)


def joined_differences(parts: Sequence[Difference]) -> Difference:
    """Those of parts of a history, by the same sets of protocols, as one. `parts`: at least one."""
    return Difference(
        studies=sum(part.studies for part in parts),
        added=tuple(change for part in parts for change in part.added),
        removed=tuple(change for part in parts for change in part.removed),
        same=sum(part.same for part in parts),
        minutes_before=_total(part.minutes_before for part in parts),
        minutes_after=_total(part.minutes_after for part in parts),
        protocols=tuple(_joined(several) for several in zip(*(part.protocols for part in parts), strict=True)),
        unmatched_before=sum(part.unmatched_before for part in parts),
        unmatched_after=sum(part.unmatched_after for part in parts),
        other_questions=tuple(change for part in parts for change in part.other_questions),
    )


class _Tally:
    """Counts while studies pass by."""

    def __init__(self) -> None:
        self.studies = 0
        self.added: list[Changed] = []
        self.removed: list[Changed] = []
        self.other_questions: list[Changed] = []
        self.same: Counter[str] = Counter()
        self.otherwise: Counter[str] = Counter()
        self.unmatched = [0, 0]
        self.work: tuple[Counter[str], Counter[str]] = (Counter(), Counter())  # slices times questions

    def add(self, study: KnownStudy, before: Plan, after: Plan) -> None:
        """Count one study."""
        self.studies += 1
        asked = tuple(_asked(plan) for plan in (before, after))
        for number, plan in enumerate((before, after)):
            self.unmatched[number] += not asked[number]
            self.work[number].update(_work(study.header, plan))
        for key in asked[0].keys() & asked[1].keys():
            self.same[key[1]] += 1
        otherwise = [key for key in asked[0].keys() & asked[1].keys() if _apart(asked[0][key], asked[1][key])]
        self.otherwise.update(key[1] for key in otherwise)
        if asked[0].keys() == asked[1].keys() and not otherwise:
            return
        kept = lean(study)
        for key in sorted(otherwise):
            said = (_verdict(before, *key), _verdict(after, *key))
            self.other_questions.append(Changed(kept, *key, *said, other_questions(asked[0][key], asked[1][key])))
        for key in sorted(asked[1].keys() - asked[0].keys()):
            self.added.append(Changed(kept, *key, _verdict(before, *key), _verdict(after, *key)))
        for key in sorted(asked[0].keys() - asked[1].keys()):
            self.removed.append(Changed(kept, *key, _verdict(before, *key), _verdict(after, *key)))

    def difference(
        self, before: Sequence[ReadingProtocol], after: Sequence[ReadingProtocol], cost: Cost | None
    ) -> Difference:
        """All that was counted."""
        versions = tuple({protocol.name: protocol.version for protocol in some} for some in (before, after))
        added, removed = (Counter(one.protocol for one in some) for some in (self.added, self.removed))
        protocols = tuple(
            ProtocolChange(
                name,
                versions[0].get(name),
                versions[1].get(name),
                added[name],
                removed[name],
                self.same[name],
                self.otherwise[name],
                minutes_of(self.work[0][name], cost),
                minutes_of(self.work[1][name], cost),
            )
            for name in sorted(versions[0].keys() | versions[1].keys())
        )
        return Difference(
            self.studies,
            tuple(self.added),
            tuple(self.removed),
            self.same.total(),
            minutes_of(self.work[0].total(), cost),
            minutes_of(self.work[1].total(), cost),
            protocols,
            unmatched_before=self.unmatched[0],
            unmatched_after=self.unmatched[1],
            other_questions=tuple(self.other_questions),
        )


_Key = tuple[str, str]


def _asked(plan: Plan) -> dict[_Key, ReadingProtocol]:
    """What is asked, by series and protocol."""
    return {(one.series_uid, one.protocol.name): one.protocol for one in plan.matches}


def _apart(before: ReadingProtocol, after: ReadingProtocol) -> bool:
    """Whether other questions are asked, or of other frames; where a file has them does not count."""
    return (before.questions, before.frames) != (after.questions, after.frames)


def _work(study: StudyHeader, plan: Plan) -> dict[str, Work]:
    """Slices times questions, by protocol."""
    series = {one.series_uid: one for one in study.series}
    work: Counter[str] = Counter()
    for one in plan.matches:
        work[one.protocol.name] += work_of(series[one.series_uid], one.protocol)
    return work


def _verdict(plan: Plan, series_uid: str, protocol: str) -> Verdict | None:
    """What a protocol says of a series, or else of its study."""
    said = [one for one in plan.verdicts if one.protocol == protocol and one.series_uid in (series_uid, None)]
    return min(said, key=lambda one: one.series_uid is None, default=None)


def _joined(several: Sequence[ProtocolChange]) -> ProtocolChange:
    return replace(
        several[0],
        added=sum(one.added for one in several),
        removed=sum(one.removed for one in several),
        same=sum(one.same for one in several),
        otherwise=sum(one.otherwise for one in several),
        minutes_before=_total(one.minutes_before for one in several),
        minutes_after=_total(one.minutes_after for one in several),
    )


def _total(minutes: Iterable[float | None]) -> float | None:
    known = [one for one in minutes if one is not None]
    return sum(known) if known else None
