"""Selectors: which studies a person means, as options of a command or fields of a page."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from workflows.errors import CallError
from workflows.state.states import StudyState
from workflows.state.views import Selection

__all__ = ["moment_of", "selection_of"]

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
        since=None if since is None else moment_of(since, "--since"),
        until=None if until is None else moment_of(until, "--until"),
    )


def _state(text: str) -> StudyState:
    try:
        return StudyState(text.upper())
    except ValueError as error:
        raise CallError(
            f"--state {text!r} is no state; there are {', '.join(state.value for state in StudyState)}"
        ) from error


def moment_of(text: str | None, option: str) -> datetime | None:
    """A date and time of this host's zone, or a time ago; None where the option was not given."""
    if text is None:
        return None
    if ago := re.fullmatch(r"(\d+)([mhdw])", text):
        return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError as error:
        raise CallError(
            f"{option} {text!r} is no time: write 30m, 12h, 2d, 1w, 2026-11-01 or 2026-11-01T08:00"
        ) from error
