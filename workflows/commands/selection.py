"""Selectors: which studies a person means, as options of a command."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from workflows.errors import CallError
from workflows.state.states import StudyState
from workflows.state.views import Selection

__all__ = ["json_asks_nothing", "selection_of"]

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def selection_of(
    study: str | None = None,
    accession: str | None = None,
    state: str | None = None,
    protocol: str | None = None,
    since: str | None = None,
    until: str | None = None,
    patient: str | None = None,
) -> Selection:
    """The selection that the options make. Raises CallError for a state or a time that is none."""
    return Selection(
        study_uid=study,
        accession_number=accession,
        state=None if state is None else _state(state),
        protocol=protocol,
        patient_id=patient,
        since=None if since is None else _moment(since, "--since"),
        until=None if until is None else _moment(until, "--until"),
    )


def json_asks_nothing(*, as_json: bool, yes: bool, dry_run: bool) -> None:
    """Where JSON is printed nothing can be asked: raises CallError unless --yes or --dry-run says what is wanted."""
    if as_json and not (yes or dry_run):
        raise CallError("with --json nothing is asked: give --yes, or --dry-run first")


def _state(text: str) -> StudyState:
    try:
        return StudyState(text.upper())
    except ValueError as error:
        raise CallError(
            f"--state {text!r} is no state; there are {', '.join(state.value for state in StudyState)}"
        ) from error


def _moment(text: str, option: str) -> datetime:
    """A date and time of this host's zone, or a time ago."""
    if ago := re.fullmatch(r"(\d+)([mhdw])", text):
        return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError as error:
        raise CallError(
            f"{option} {text!r} is no time: write 30m, 12h, 2d, 1w, 2026-11-01 or 2026-11-01T08:00"
        ) from error
