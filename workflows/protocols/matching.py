"""Matching: a study's headers against the reading protocols, with a reason for every yes and no. Pure and total."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dicom_node.headers.study import SeriesHeader, StudyHeader
from workflows.protocols.deciding import Deciding
from workflows.protocols.evaluating import NO_CONDITION
from workflows.protocols.filling import filled_questions, why_not_asked
from workflows.protocols.grounds import Grounds, grounds
from workflows.protocols.hygiene import is_image_series
from workflows.protocols.judging import age_flags, anatomy_flags
from workflows.protocols.outcome import ABOUT_AGE_ZERO, ABOUT_ANATOMY, Outcome
from workflows.protocols.preferring import Preferring
from workflows.protocols.repeating import AskedAlready, Numbered
from workflows.protocols.schema import Priority, ReadingProtocol
from workflows.protocols.telling import a_few
from workflows.protocols.truth import Truth
from workflows.protocols.verdicts import Verdict, off

__all__ = ["Grounds", "Plan", "SeriesMatch", "grounds", "is_image_series", "match"]


@dataclass(frozen=True)
class SeriesMatch:
    """A series that a protocol asks, with the questions that are asked of it: filled, and without those that a protocol
    of a higher rank asks already."""

    series_uid: str
    protocol: ReadingProtocol


@dataclass(frozen=True)
class Plan:
    """What is asked, the highest rank first, and a verdict for each protocol and series, those that are asked first.

    A protocol whose `when` does not hold, or that a cap leaves out, has one verdict that speaks of the whole study.
    """

    matches: tuple[SeriesMatch, ...]
    verdicts: tuple[Verdict, ...]


def match(
    study: StudyHeader,
    protocols: Sequence[ReadingProtocol],
    at_most: int | None = None,
    *,
    deciding: Deciding | None = None,
) -> Plan:
    """Every protocol against the study and its series. Total: it raises nothing, whatever the headers hold.

    `at_most`: protocols that may ask one study, by rank; None: all. Protocols that are off have a verdict that says so.
    `deciding`: about this study, where several sets are tried on it: what they ask alike is decided once.
    """
    matching = _Matching(study, deciding or Deciding(study))
    for protocol in sorted(protocols, key=_turn):
        matching.add(protocol, at_most)
    return Plan(tuple(matching.matches), (*matching.asked, *matching.not_asked))


def _turn(protocol: ReadingProtocol) -> tuple[int, bool, str]:
    """The higher rank first; of one rank what is urgent, so that neither a cap nor a question asked twice delays it."""
    return -protocol.rank, protocol.limits.priority is not Priority.STAT, protocol.name


class _Matching:
    """The plan of a study while protocol after protocol, the highest rank first, adds to it."""

    def __init__(self, study: StudyHeader, deciding: Deciding) -> None:
        self.matches: list[SeriesMatch] = []
        self.asked: list[Verdict] = []
        self.not_asked: list[Verdict] = []
        self._study = study
        self._deciding = deciding
        self._preferring = Preferring(self._deciding.evaluation)
        self._already = AskedAlready()
        self._asking: list[str] = []
        self._flags: dict[int, tuple[str, ...]] = {}

    def add(self, protocol: ReadingProtocol, at_most: int | None) -> None:
        """What one protocol asks, and its verdicts."""
        if protocol.off_because:
            self.not_asked.append(off(protocol.name, protocol.version, protocol.off_because))
            return
        if not self._deciding.series:
            self._refuse(protocol, "the study has no series")
            return
        when = self._deciding.of_study(protocol)
        largest = protocol.limits.largest_study
        if not _holds(when, protocol):
            flags = self._flags_of_study(when)
            self._refuse(protocol, _told(when, protocol), when.missing, flags)
        elif largest is not None and self._study.instances > largest:
            instances = f"{self._study.instances:,} instances"
            self._refuse(protocol, f"the study has {instances}, the largest that is asked {largest:,}")
        else:
            self._add(protocol, when, at_most)

    def _refuse(
        self, protocol: ReadingProtocol, reason: str, missing: tuple[str, ...] = (), flags: tuple[str, ...] = ()
    ) -> None:
        """Of the whole study."""
        self.not_asked.append(Verdict(False, protocol.name, None, reason, protocol.version, missing, flags))

    def _add(self, protocol: ReadingProtocol, when: Outcome, at_most: int | None) -> None:
        fits, unfit = self._fitting(protocol, when)
        taken, left = self._preferred(protocol, list(fits))
        asking = _Asking(protocol, self._study, self._already)
        matches, asked = [], []
        for index in taken:
            found, verdict = self._ask(asking, index, _both(when, fits[index]))
            if found is None:
                unfit.append(verdict)
            else:
                matches.append(found)
                asked.append(verdict)
        if matches and at_most is not None and len(self._asking) >= at_most:
            asking_already = a_few(self._asking) or "none"
            self._refuse(
                protocol, f"at most {at_most} protocols ask a study, and those of a higher rank do: {asking_already}"
            )
            return
        asking.remember()
        if matches:
            self._asking.append(protocol.name)
        self.matches += matches
        self.asked += asked
        self.not_asked += unfit
        self.not_asked += left

    # --- Its series ---

    def _fitting(self, protocol: ReadingProtocol, when: Outcome) -> tuple[dict[int, Outcome], list[Verdict]]:
        """What each series that fits is told by, by its index; verdicts of the others."""
        fits: dict[int, Outcome] = {}
        unfit: list[Verdict] = []
        name, version = protocol.name, protocol.version
        outcomes = self._deciding.of_series(protocol, when)
        for index, (series, outcome) in enumerate(zip(self._deciding.series, outcomes, strict=True)):
            if outcome.truth is Truth.YES or (outcome.truth is Truth.UNKNOWN and protocol.unknown):
                fits[index] = outcome
            else:
                flags = self._flags_of(index, outcome)
                told = _told(outcome, protocol)
                unfit.append(Verdict(False, name, series.series_uid, told, version, outcome.missing, flags))
        return fits, unfit

    def _preferred(self, protocol: ReadingProtocol, fits: list[int]) -> tuple[list[int], list[Verdict]]:
        """The series that are taken, the preferred ones first; verdicts of those left behind."""
        prefer, take = protocol.series.prefer, protocol.series.take
        if not fits or (not prefer and (take is None or len(fits) <= take)):
            return fits, []
        ordered = self._preferring.in_order(fits, prefer)
        taken = ordered if take is None else ordered[: max(0, take)]
        others = ordered[len(taken) :]
        if not others:
            return taken, []
        if taken:
            reasons = self._preferring.why_before(taken[-1], others, fits, prefer)
        else:
            reasons = ["no series is taken"] * len(others)
        series = self._deciding.series
        return taken, [
            Verdict(False, protocol.name, series[index].series_uid, reason, protocol.version)
            for index, reason in zip(others, reasons, strict=True)
        ]

    def _ask(self, asking: _Asking, index: int, outcome: Outcome) -> tuple[SeriesMatch | None, Verdict]:
        """A series that is taken: its questions filled, without those that are asked already."""
        series, protocol = self._deciding.series[index], asking.protocol
        asks, without, missing = asking.of(series)
        flags = self._flags_of(index, outcome)
        missing = (*outcome.missing, *missing) if missing else outcome.missing
        reasons = without if asks is None else [_told(outcome, protocol), *without]
        verdict = Verdict(
            asks is not None, protocol.name, series.series_uid, "; ".join(reasons), protocol.version, missing, flags
        )
        return None if asks is None else SeriesMatch(series.series_uid, asks), verdict

    def _flags_of(self, index: int, outcome: Outcome) -> tuple[str, ...]:
        """What a person should look at of a series, as far as it decided."""
        flags = self._anatomy_of(index) if outcome.marks & ABOUT_ANATOMY else ()
        return flags + age_flags(self._deciding.series) if outcome.marks & ABOUT_AGE_ZERO else flags

    def _flags_of_study(self, when: Outcome) -> tuple[str, ...]:
        indices = range(len(self._deciding.series)) if when.marks & ABOUT_ANATOMY else ()
        age = age_flags(self._deciding.series) if when.marks & ABOUT_AGE_ZERO else ()
        return tuple(dict.fromkeys((*(flag for index in indices for flag in self._anatomy_of(index)), *age)))

    def _anatomy_of(self, index: int) -> tuple[str, ...]:
        flags = self._flags.get(index)
        if flags is None:
            flags = self._flags[index] = anatomy_flags(self._deciding.series[index])
        return flags


class _Asking:
    """The questions of one protocol, as they are asked of each series."""

    def __init__(self, protocol: ReadingProtocol, study: StudyHeader, already: AskedAlready) -> None:
        self.protocol = protocol
        self._study, self._already = study, already
        self._has_words_to_fill = any("{" in one.text or "}" in one.text for one in protocol.questions)
        self._numbers: Numbered | None = None
        self._to_remember: list[tuple[str, Numbered]] = []

    def of(self, series: SeriesHeader) -> tuple[ReadingProtocol | None, list[str], tuple[str, ...]]:
        """The protocol with the questions that are asked of a series (None: with none), why others are not, and which
        attributes are missing for them."""
        protocol, uid = self.protocol, series.series_uid
        questions = protocol.questions
        without: list[str] = []
        missing: tuple[str, ...] = ()
        if self._has_words_to_fill:
            questions, unfilled = filled_questions(questions, self._study, series)
            without = [
                f"question {name} is not asked: {why_not_asked(attribute)}" for name, attribute in unfilled.items()
            ]
            missing = tuple(dict.fromkeys(unfilled.values()))
            numbers = self._already.numbered(protocol, questions)
        else:
            numbers = self._numbers = self._numbers or self._already.numbered(protocol, questions)
        already = self._already.by(uid, questions, numbers)
        if already:
            questions = tuple(one for one in questions if one.id not in already)
            numbers = {name: number for name, number in numbers.items() if name not in already}
            without += [f"question {name} is asked by {whose} already" for name, whose in already.items()]
        if not questions and protocol.questions:
            return None, without, missing
        self._to_remember.append((uid, numbers))
        return protocol if questions == protocol.questions else replace(protocol, questions=questions), without, missing

    def remember(self) -> None:
        """Nobody asks these again."""
        for uid, numbers in self._to_remember:
            self._already.add(uid, self.protocol.name, numbers)


def _holds(outcome: Outcome, protocol: ReadingProtocol) -> bool:
    return outcome.truth is Truth.YES or (outcome.truth is Truth.UNKNOWN and protocol.unknown)


def _told(outcome: Outcome, protocol: ReadingProtocol) -> str:
    """The clause that decided; of what is not known also what the protocol makes of it."""
    if outcome.truth is not Truth.UNKNOWN:
        return outcome.told
    return f"{'as unknown: accept' if protocol.unknown else 'not known (unknown: refuse)'}: {outcome.told}"


def _both(when: Outcome, where: Outcome) -> Outcome:
    """What a match is told by: what is not known, else the clause that shows the part of the body, else the series'."""
    if where.truth is Truth.UNKNOWN or when.truth is Truth.UNKNOWN:
        told = where if where.truth is Truth.UNKNOWN else when
    else:
        told = when if (when.shown and not where.shown) or where is NO_CONDITION else where
    if told is NO_CONDITION:
        told = _EVERY_SERIES
    other = where if told is when else when
    if not other.missing and told.marks | other.marks == told.marks:
        return told
    missing = tuple(dict.fromkeys((*when.missing, *where.missing)))
    return Outcome(told.truth, told.told, missing, when.marks | where.marks)


_EVERY_SERIES = Outcome(Truth.YES, "every series is wanted")
