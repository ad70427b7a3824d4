"""Reread: studies planned again with today's protocols, weights and software, because a person asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from workflows.state.repository import Repository
from workflows.state.states import StudyState
from workflows.state.views import Selection

__all__ = ["Candidate", "candidates", "reopen"]

_REASON = "a person wants it read again"


@dataclass(frozen=True)
class Candidate:
    """A study that was selected, whether it can be read again now, and what became of it."""

    study_uid: str
    state: str
    ready: bool
    outcome: str


def candidates(repository: Repository, selection: Selection) -> list[Candidate]:
    """The studies of a selection, and which of them can be read again."""
    return [_candidate(view.study.study_uid, view.study.state) for view in repository.study_views(selection)]


def _candidate(study_uid: str, state: StudyState) -> Candidate:
    ready = state not in (StudyState.RECEIVING, StudyState.COMPLETE)
    waits = f"{state.value}: it is planned in any case, soon"
    return Candidate(study_uid, state.value, ready, "would be read again" if ready else waits)


def reopen(repository: Repository, chosen: Sequence[Candidate]) -> list[Candidate]:
    """Let the scheduler plan those that can be read again; a study that lacks instances cannot be."""
    done = []
    for candidate in chosen:
        if candidate.ready:
            opened = repository.reopen(candidate.study_uid, _REASON)
            outcome = "will be read again" if opened else "not read again: instances are missing, send the study again"
            done.append(replace(candidate, outcome=outcome))
        else:
            done.append(candidate)
    return done
