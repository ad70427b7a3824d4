"""Days and moments on all pages, in one order that nobody can misread: 29 Nov 2026 08:12."""

from __future__ import annotations

from datetime import UTC, date, datetime

__all__ = ["day", "day_of", "moment", "moment_utc"]

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def day(value: date) -> str:
    """Such as "29 Nov 2026"."""
    return f"{value.day} {_MONTHS[value.month - 1]} {value.year:04d}"


def day_of(text: str | None) -> str:
    """The same of an ISO date; a text that is none stays as it is."""
    try:
        return day(date.fromisoformat(text or ""))
    except ValueError:
        return text or ""


def moment(at: datetime) -> str:
    """A moment where this host stands, such as "29 Nov 2026 08:12:10 +01:00"."""
    here = at.astimezone()
    offset = here.strftime("%z")
    return f"{day(here.date())} {here:%H:%M:%S} {offset[:3]}:{offset[3:]}"


def moment_utc(at: datetime) -> str:
    """A moment in UTC, such as "29 Nov 2026 07:12:10"."""
    there = at.astimezone(UTC)
    return f"{day(there.date())} {there:%H:%M:%S}"
