"""The worklist's page: its rows and what stands beside tabs and filters, in a fixed number of queries."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, case, false, func, or_, select
from sqlalchemy.orm import Session

from workflows.state.openings import OPEN_FOR
from workflows.state.records import Priority
from workflows.state.review_tables import OpeningRow
from workflows.state.reviewing import Opening, ReviewState
from workflows.state.transactions import Transactions
from workflows.state.worklist_records import (
    Counts,
    Filters,
    Received,
    ShownState,
    Tab,
    WorklistPage,
    WorklistRow,
    WorklistTab,
)
from workflows.state.worklist_tables import WorklistEntry, joined, split
from workflows.state.worklist_text import contains_pattern, search_words

__all__ = ["PAGE", "Worklist"]

PAGE = 50
_ROW = WorklistEntry
_STARTED = (ReviewState.DRAFT.value, ReviewState.FAILED.value)
_UNREAD = case((_ROW.tab == Tab.READING, 1), else_=0)
_FIRST = (_ROW.routine, _ROW.unchanged, _ROW.first_received_at, _ROW.study_uid)


class Worklist(Transactions):
    """What the worklist shows. The search's words are parameters, never part of a statement."""

    def worklist(self, filters: Filters, limit: int = PAGE) -> WorklistPage:
        """One page of rows, and the counts. Rows come by STAT, change and age; those reviewed, the latest first.

        To review are first those that can be, then those that are being read.
        """
        now = self._clock()
        with self._reading() as session:
            cells = _cells(session, filters, now)
            chosen = [cell for cell in cells if cell.is_in(filters)]
            rows, place = _rows(session, filters, now, limit)
            openings = _openings(session, [row.study_uid for row in rows], now)
        total = sum(cell.count for cell in chosen)
        reading = sum(cell.count for cell in chosen if cell.tab is Tab.READING)
        return WorklistPage(tuple(rows), _counts(cells, filters), total, place, now, openings, reading)

    def worklist_row(self, study_uid: str) -> WorklistRow | None:
        """The row of one study; None where it has none."""
        with self._reading() as session:
            entry = session.get(WorklistEntry, study_uid)
            return None if entry is None else entry.record()


# --- Counts -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Cell:
    """How many studies are the same in all that counts; `oldest`: when the first of them came.

    `owner`: whose review of it is begun and not written, or "".
    """

    tab: Tab
    attention: bool
    unmatched: bool
    owner: str
    priority: Priority
    changed: bool
    modalities: tuple[str, ...]
    protocols: tuple[str, ...]
    received: Received
    count: int
    oldest: datetime

    def is_on(self, tab: WorklistTab, account: str) -> bool:
        match tab:
            case WorklistTab.REVIEW:
                return self.tab in (Tab.REVIEW, Tab.READING)
            case WorklistTab.MINE:
                return bool(account) and self.owner == account
            case WorklistTab.REVIEWED:
                return self.tab is Tab.REVIEWED
            case WorklistTab.ATTENTION:
                return self.attention
            case WorklistTab.UNMATCHED:
                return self.unmatched

    def passes(self, filters: Filters) -> bool:
        return (
            (not filters.modality or any(one in self.modalities for one in filters.modality))
            and (not filters.protocol or any(one in self.protocols for one in filters.protocol))
            and (not filters.priority or self.priority in filters.priority)
            and _came_within(self.received, filters.received)
            and (self.changed or not filters.change)
        )

    def is_in(self, filters: Filters) -> bool:
        return self.is_on(filters.tab, filters.account) and self.passes(filters)


def _came_within(came: Received, wanted: Received) -> bool:
    order = (Received.TODAY, Received.WEEK, Received.ANY)
    return order.index(came) <= order.index(wanted)


def _cells(session: Session, filters: Filters, now: datetime) -> list[_Cell]:
    """Every study that the search finds, by all that tabs and filters ask."""
    attention = case((_needs_attention(now), 1), else_=0)
    unmatched = case((_ROW.state == ShownState.UNMATCHED, 1), else_=0)
    owner = case((_ROW.review_state.in_(_STARTED), _ROW.reviewer), else_="")
    today, week = _starts(now)
    received = case((_ROW.first_received_at >= today, 0), (_ROW.first_received_at >= week, 1), else_=2)
    what: tuple[Any, ...] = (
        _ROW.tab, attention, unmatched, owner, _ROW.routine, _ROW.unchanged, _ROW.modalities, _ROW.protocols, received
    )  # fmt: skip
    inner = select(*(one.label(f"c{place}") for place, one in enumerate(what)), _ROW.first_received_at.label("at"))
    found = inner.where(*_search(filters.query)).subquery()
    keys = [found.c[f"c{place}"] for place in range(len(what))]
    grouped = select(*keys, func.count(), func.min(found.c.at)).group_by(*keys)
    kinds = (Received.TODAY, Received.WEEK, Received.ANY)
    counted = session.execute(grouped)
    return [
        _Cell(
            tab, bool(attends), bool(nothing), own or "", Priority.ROUTINE if routine else Priority.STAT, not unchanged,
            split(modalities), split(protocols), kinds[came], count, oldest,
        )
        for tab, attends, nothing, own, routine, unchanged, modalities, protocols, came, count, oldest in counted
    ]  # fmt: skip


def _counts(cells: Sequence[_Cell], filters: Filters) -> Counts:
    def where(without: str) -> list[_Cell]:
        others = filters.without(without)
        return [cell for cell in cells if cell.is_in(others)]

    modality: Counter[str] = Counter()
    protocol: Counter[str] = Counter()
    received: Counter[Received] = Counter()
    mine: Counter[str] = Counter()
    for cell in cells:
        mine[cell.owner] += cell.count
    for cell in where("modality"):
        modality.update(dict.fromkeys(cell.modalities, cell.count))
    for cell in where("protocol"):
        protocol.update(dict.fromkeys(cell.protocols, cell.count))
    for cell in where("received"):
        received.update({one: cell.count for one in Received if _came_within(cell.received, one)})
    priority = where("priority")
    ready = [cell for cell in cells if cell.tab is Tab.REVIEW]
    return Counts(
        tabs={
            tab: sum(
                one.count for one in (ready if tab is WorklistTab.REVIEW else cells) if one.is_on(tab, filters.account)
            )
            for tab in WorklistTab
        },
        mine=dict(mine),
        modality=dict(modality),
        protocol=dict(protocol),
        priority={one: sum(cell.count for cell in priority if cell.priority is one) for one in Priority},
        received=dict(received),
        change=sum(cell.count for cell in where("change") if cell.changed),
        waiting=sum(cell.count for cell in ready),
        reading=sum(cell.count for cell in cells if cell.tab is Tab.READING),
        oldest=min((cell.oldest for cell in ready), default=None),
    )


# --- Rows -------------------------------------------------------------------------------------------------------------


def _rows(session: Session, filters: Filters, now: datetime, limit: int) -> tuple[list[WorklistRow], int]:
    """The page's rows, and the place of the first among all."""
    criteria = [*_on_tab(filters, now), *_filtered(filters, now)]
    keys: tuple[Any, ...] = (_UNREAD, *_FIRST) if filters.tab is WorklistTab.REVIEW else _FIRST
    descending = filters.tab is WorklistTab.REVIEWED
    if descending:
        keys = (_ROW.reviewed_at, _ROW.study_uid)
    at = filters.after or filters.before
    start = session.execute(select(*keys).where(_ROW.study_uid == at)).first() if at else None
    backwards = start is not None and not filters.after
    if start is not None and None in tuple(start):
        start, backwards = None, False
    beyond = [] if start is None else [_beyond(keys, tuple(start), down=descending != backwards)]
    down = descending != backwards
    order = [key.desc() if down else key.asc() for key in keys]
    entries = session.scalars(select(_ROW).where(*criteria, *beyond).order_by(*order).limit(limit)).all()
    if backwards:
        entries = list(reversed(entries))
    if not entries:
        return [], 1
    first = session.execute(select(*keys).where(_ROW.study_uid == entries[0].study_uid)).one() if start else ()
    ahead = [_beyond(keys, tuple(first), down=not descending)] if first else []
    before = session.scalar(select(func.count(_ROW.study_uid)).where(*criteria, *ahead)) if ahead else 0
    return [entry.record() for entry in entries], (before or 0) + 1


def _beyond(keys: Sequence[Any], values: Sequence[Any], *, down: bool) -> ColumnElement[bool]:
    """What comes behind these values in the order of the keys."""
    steps = []
    for place, (key, value) in enumerate(zip(keys, values, strict=True)):
        same = [keys[n] == values[n] for n in range(place)]
        steps.append(and_(*same, key < value if down else key > value))
    return or_(*steps)


def _on_tab(filters: Filters, now: datetime) -> Iterable[ColumnElement[bool]]:
    match filters.tab:
        case WorklistTab.REVIEW:
            yield _ROW.tab.in_((Tab.REVIEW, Tab.READING))
        case WorklistTab.MINE:
            yield _is_mine(filters.account)
        case WorklistTab.REVIEWED:
            yield _ROW.tab == Tab.REVIEWED
        case WorklistTab.ATTENTION:
            yield _needs_attention(now)
        case WorklistTab.UNMATCHED:
            yield _ROW.state == ShownState.UNMATCHED


def _filtered(filters: Filters, now: datetime) -> Iterable[ColumnElement[bool]]:
    for column, values in ((_ROW.modalities, filters.modality), (_ROW.protocols, filters.protocol)):
        if values:
            yield or_(*(column.like(contains_pattern(joined((value,))), escape="\\") for value in values))
    if filters.priority:
        yield _ROW.routine.in_([int(one is Priority.ROUTINE) for one in filters.priority])
    if filters.received is not Received.ANY:
        yield _ROW.first_received_at >= _starts(now)[filters.received is Received.WEEK]
    if filters.change:
        yield _ROW.unchanged == 0
    yield from _search(filters.query)


def _search(query: str) -> Iterable[ColumnElement[bool]]:
    words = search_words(query)
    if query.strip() and not words:
        yield false()  # nothing that is written so can be found
    for word in words:
        yield _ROW.search.like(contains_pattern(word), escape="\\")


def _needs_attention(now: datetime) -> ColumnElement[bool]:
    return or_(_ROW.needs_attention.is_(True), _ROW.overdue_at <= now)


def _is_mine(account: str) -> ColumnElement[bool]:
    """A review of one's own that is begun and not written."""
    if not account:
        return false()
    return and_(_ROW.reviewer == account, _ROW.review_state.in_(_STARTED))


def _starts(now: datetime) -> tuple[datetime, datetime]:
    """When today began where this host stands, and seven days ago."""
    today = now.astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
    return today, now - timedelta(days=7)


def _openings(session: Session, study_uids: Sequence[str], now: datetime) -> dict[str, tuple[Opening, ...]]:
    chosen = (OpeningRow.study_uid.in_(study_uids), OpeningRow.seen_at > now - OPEN_FOR)
    openings: dict[str, list[Opening]] = defaultdict(list)
    for row in session.scalars(select(OpeningRow).where(*chosen).order_by(OpeningRow.seen_at)):
        openings[row.study_uid].append(row.record())
    return {uid: tuple(found) for uid, found in openings.items()}
