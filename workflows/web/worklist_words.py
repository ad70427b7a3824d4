"""The worklist in words: states, ages, dates."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime

from workflows.state.worklist_records import ShownState, WorklistRow, WorklistTab
from workflows.web.dates import day, moment

__all__ = [
    "age",
    "being_read",
    "moment",
    "notices_when_empty",
    "order_for",
    "shown_day",
    "state_words",
    "verdict_words",
]

_STATES: dict[ShownState, tuple[str, str]] = {
    ShownState.RECEIVING: ("receiving", "run"),
    ShownState.WAITING: ("waits to be read", "run"),
    ShownState.READING: ("being read", "run"),
    ShownState.TO_REVIEW: ("to review", "new"),
    ShownState.IN_REVIEW: ("in review", "new"),
    ShownState.NOT_WRITTEN: ("not written", "fail"),
    ShownState.ACCEPTED: ("accepted", "done"),
    ShownState.CORRECTED: ("corrected", "done"),
    ShownState.REJECTED: ("rejected", "done"),
    ShownState.MIXED: ("partly accepted", "done"),
    ShownState.UNMATCHED: ("not asked", "calm"),
    ShownState.HELD: ("held", "fail"),
    ShownState.FAILED: ("failed", "fail"),
}
_ORDERS = {
    ShownState.HELD: "reread-as-is",
    ShownState.UNMATCHED: "reread",
    ShownState.FAILED: "requeue",
}
_VERDICTS = {"accept": "accepted", "outline": "outline wrong", "name": "renamed", "not-there": "not there"}


def state_words(state: ShownState) -> tuple[str, str]:
    """A state's word, and the class that gives its dot a colour."""
    return _STATES[state]


def order_for(state: ShownState) -> str:
    """The operator's order that a study in this state most likely waits for, "" for none."""
    return _ORDERS.get(state, "")


def verdict_words(verdicts: Mapping[str, int]) -> str:
    """Such as "2 accepted, 1 not there"."""
    return ", ".join(f"{count} {_VERDICTS.get(kind, kind)}" for kind, count in sorted(verdicts.items()) if count)


def age(since: datetime, now: datetime) -> str:
    """How long ago: "4 min", "3 h", "2 d"."""
    minutes = max(0, int((now - since).total_seconds() // 60))
    if minutes < 1:
        return "now"
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // (24 * 60)} d"


def shown_day(row: WorklistRow, now: datetime) -> str:
    """When a study was taken, as the hospital's clock had it: "29 Nov 08:12"; of another year "29 Nov 2025"."""
    try:
        taken = date.fromisoformat(row.study_date)
    except ValueError:
        return ""
    if taken.year != now.astimezone().year:
        return day(taken)
    return " ".join(filter(None, (day(taken)[:-5], row.study_time)))


def notices_when_empty(tab: WorklistTab, reading: int, *, restricted: bool) -> tuple[str, str]:
    """What stands where there is no row: what is so, and what to do or expect."""
    if restricted:
        return "No study matches.", "Remove a filter, or search for less."
    match tab:
        case WorklistTab.REVIEW:
            return "Nothing to review.", being_read(reading) or "Studies stand here once they are read."
        case WorklistTab.MINE:
            return "Nothing of yours is open.", "A review that you begin stands here until it is written."
        case WorklistTab.REVIEWED:
            return "Nothing is reviewed yet.", ""
        case WorklistTab.ATTENTION:
            return "Nothing needs attention.", ""
        case WorklistTab.UNMATCHED:
            return "Every study is asked.", "A study of which no protocol asks anything stands here."


def being_read(count: int) -> str:
    """How many studies are being read, as a sentence; "" for none."""
    if not count:
        return ""
    return "1 study is being read." if count == 1 else f"{count} studies are being read."
