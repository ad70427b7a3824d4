"""Reread: studies planned again with today's protocols, weights and software, because a person asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import structlog

from workflows.state.records import Study
from workflows.state.repository import Repository
from workflows.state.states import StudyState
from workflows.state.views import Selection
from workflows.steps.identity import disagreement
from workflows.steps.inputs import images_of

__all__ = ["Candidate", "candidates", "candidates_as_is", "reopen", "reopen_as_is"]

_REASON = "a person wants it read again"

log = structlog.get_logger()


@dataclass(frozen=True)
class Candidate:
    """A study that was selected, whether it can be read again now, and what became of it."""

    study_uid: str
    generation: int
    state: str
    ready: bool
    outcome: str


def candidates(repository: Repository, selection: Selection) -> list[Candidate]:
    """The studies of a selection, and which of them can be read again."""
    return [_candidate(view.study, repository) for view in repository.study_views(selection)]


def _candidate(study: Study, repository: Repository) -> Candidate:
    waits = study.state in (StudyState.RECEIVING, StudyState.COMPLETE)
    refused = f"{study.state.value}: it is planned in any case, soon" if waits else _removed(study, repository)
    refused = refused or _held_again(study, repository)
    return _judged(study, refused, "would be read again")


def _held_again(study: Study, repository: Repository) -> str:
    """Why a study that is held would only be held again, or ""."""
    if study.state is not StudyState.HELD:
        return ""
    found = disagreement(images_of(repository.instances(study.study_uid)))
    if found is None:
        return ""
    if found.within:
        return _never_read(found.within)
    return (
        "refused: its series still name several patients, so it would be held again; send the corrected images, or "
        "have it read with --as-is (on the page: each series under its own patient)"
    )


def _never_read(series_uids: Sequence[str]) -> str:
    return (
        f"refused: series {', '.join(series_uids)} names two patients in itself and is never read; send the corrected "
        "images, or a rejection note for those that are wrong"
    )


def _removed(study: Study, repository: Repository) -> str:
    """Why a study cannot be read whose images retention removed, or ""."""
    removed_at = repository.inputs_removed_at(study.study_uid)
    if removed_at is None:
        return ""
    day = removed_at.date().isoformat()
    return f"refused: its images were removed on {day} by retention; send the study again, then have it read again"


def _judged(study: Study, refused: str, would: str) -> Candidate:
    return Candidate(study.study_uid, study.generation, study.state.value, not refused, refused or would)


def candidates_as_is(repository: Repository, selection: Selection) -> list[Candidate]:
    """The studies of a selection, and which of them are held and can be read with each series under its own patient."""
    return [
        _judged(view.study, _refused_as_is(view.study, repository), "would be read as it is")
        for view in repository.study_views(selection)
    ]


def _refused_as_is(study: Study, repository: Repository) -> str:
    """Why a study cannot be read as it is, or ""."""
    if study.state is not StudyState.HELD:
        return f"{study.state.value}: --as-is is for a study that is HELD because its series name several patients"
    if removed := _removed(study, repository):
        return removed
    found = disagreement(images_of(repository.instances(study.study_uid)))
    if found is None or not found.within:
        return ""
    return _never_read(found.within)


def reopen(repository: Repository, chosen: Sequence[Candidate], by: str = "") -> list[Candidate]:
    """Let the scheduler plan those that can be read again; a study that lacks instances cannot be."""
    done = []
    for candidate in chosen:
        if candidate.ready:
            opened = repository.reopen(candidate.study_uid, _REASON, by)
            outcome = "will be read again" if opened else "not read again: instances are missing, send the study again"
            done.append(replace(candidate, outcome=outcome))
        else:
            done.append(candidate)
    return done


def reopen_as_is(repository: Repository, chosen: Sequence[Candidate], by: str) -> list[Candidate]:
    """Let the scheduler plan those that can be read as they are, and keep who wanted that, in database and log."""
    done = []
    for candidate in chosen:
        if candidate.ready:
            opened = repository.reopen_as_is(candidate.study_uid, candidate.generation, by)
            if opened:
                log.warning(
                    "reread_as_is", study_uid=candidate.study_uid, generation=candidate.generation + 1, wanted_by=by
                )
            outcome = "will be read as it is" if opened else "not read: it has changed or lacks instances; look again"
            done.append(replace(candidate, outcome=outcome))
        else:
            done.append(candidate)
    return done
