"""States of studies, jobs and deliveries, and the transitions that are legal. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

__all__ = [
    "RESULTS_STAND", "DeliveryState", "IllegalTransition", "JobState", "QuestionState", "RetractionState", "StudyState",
    "check_transition", "study_state_of",
]  # fmt: skip


class StudyState(Enum):
    """Where a study stands on its way through the node. HELD: its images name patients that contradict each other."""

    RECEIVING = "RECEIVING"
    COMPLETE = "COMPLETE"
    PLANNED = "PLANNED"
    PREDICTING = "PREDICTING"
    DELIVERING = "DELIVERING"
    DELIVERED = "DELIVERED"
    UNMATCHED = "UNMATCHED"
    HELD = "HELD"
    FAILED = "FAILED"


class JobState(Enum):
    """Where one job (a series and a reading protocol) stands. CANCELLED: a person has stopped it."""

    PLANNED = "PLANNED"
    PREDICTING = "PREDICTING"
    DELIVERING = "DELIVERING"
    DELIVERED = "DELIVERED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    SUPERSEDED = "SUPERSEDED"


class DeliveryState(Enum):
    """Where one result object stands on its way to one archive.

    REJECTED: the archive answered that it will not take it. WITHHELD: not sent, since it references an object that the
    archive does not have, or is to be retracted. FAILED: the program failed twice at sending it.
    """

    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    REJECTED = "REJECTED"
    WITHHELD = "WITHHELD"
    FAILED = "FAILED"


class RetractionState(Enum):
    """Where the retraction of one result object from one archive stands.

    WANTED: it is due. NOTED: a rejection note names it and is on its way. DONE: the archive has the note, or has
    deleted the object. KEPT: it stays there, and `told` says why. FAILED: the archive does not take the note.
    """

    WANTED = "WANTED"
    NOTED = "NOTED"
    DONE = "DONE"
    KEPT = "KEPT"
    FAILED = "FAILED"


class QuestionState(Enum):
    """What a person has decided of the answer to a question: nothing yet (it is preliminary), to keep it, or not."""

    ASKED = "ASKED"
    KEPT = "KEPT"
    DROPPED = "DROPPED"


class IllegalTransition(Exception):
    """A change of state that the way through the node does not know: a defect, not an event."""


_S = StudyState
_STUDY: dict[StudyState, frozenset[StudyState]] = {
    # Any state may fall back to RECEIVING: a new instance opens a new generation; and once planned to COMPLETE: a
    # person wants the study read again. RECEIVING -> FAILED: instances were lost from the store, and a study is never
    # read without them.
    _S.RECEIVING: frozenset({_S.RECEIVING, _S.COMPLETE, _S.FAILED}),
    _S.COMPLETE: frozenset(
        {_S.RECEIVING, _S.PLANNED, _S.PREDICTING, _S.DELIVERING, _S.DELIVERED, _S.UNMATCHED, _S.HELD, _S.FAILED}
    ),
    _S.PLANNED: frozenset({_S.RECEIVING, _S.COMPLETE, _S.PREDICTING, _S.DELIVERING, _S.FAILED}),
    _S.PREDICTING: frozenset({_S.RECEIVING, _S.COMPLETE, _S.PLANNED, _S.DELIVERING, _S.DELIVERED, _S.FAILED}),
    # DELIVERING -> PLANNED: the file of a result was damaged, it is made again.
    _S.DELIVERING: frozenset({_S.RECEIVING, _S.COMPLETE, _S.PLANNED, _S.PREDICTING, _S.DELIVERED, _S.FAILED}),
    # DELIVERED, FAILED -> DELIVERING: an archive has lost what it took, and it is sent again.
    _S.DELIVERED: frozenset({_S.RECEIVING, _S.COMPLETE, _S.DELIVERING}),
    _S.UNMATCHED: frozenset({_S.RECEIVING, _S.COMPLETE}),
    _S.HELD: frozenset({_S.RECEIVING, _S.COMPLETE}),
    # FAILED is never the end: a person, or images that come again, put its jobs back, or its planning.
    _S.FAILED: frozenset({_S.RECEIVING, _S.COMPLETE, _S.PLANNED, _S.PREDICTING, _S.DELIVERING}),
}

RESULTS_STAND = frozenset({_S.DELIVERING, _S.DELIVERED, _S.UNMATCHED, _S.FAILED})
"""States in which nothing of the study is still to be read: to lose instances changes nothing that was decided."""

_J = JobState
_JOB: dict[JobState, frozenset[JobState]] = {
    # From PLANNED, PREDICTING or DELIVERING to CANCELLED: a person has stopped it, and may have it go on.
    _J.PLANNED: frozenset({_J.PREDICTING, _J.FAILED, _J.CANCELLED, _J.SUPERSEDED}),
    # PREDICTING -> PREDICTING: a lease ran out and another worker claimed the job.
    _J.PREDICTING: frozenset({_J.PREDICTING, _J.PLANNED, _J.DELIVERING, _J.FAILED, _J.CANCELLED, _J.SUPERSEDED}),
    _J.DELIVERING: frozenset({_J.PLANNED, _J.DELIVERED, _J.FAILED, _J.CANCELLED, _J.SUPERSEDED}),
    # From an end to PLANNED or DELIVERING: a person wants it read again, or sent elsewhere too.
    _J.DELIVERED: frozenset({_J.SUPERSEDED, _J.PLANNED, _J.DELIVERING}),
    _J.FAILED: frozenset({_J.SUPERSEDED, _J.PLANNED, _J.DELIVERING}),
    _J.CANCELLED: frozenset({_J.SUPERSEDED, _J.PLANNED, _J.DELIVERING}),
    # A generation that returns to earlier inputs takes the earlier job up again.
    _J.SUPERSEDED: frozenset({_J.PLANNED, _J.DELIVERING, _J.DELIVERED, _J.FAILED}),
}


def check_transition(old: StudyState | JobState, new: StudyState | JobState) -> None:
    """Raise IllegalTransition unless `old` may become `new`."""
    legal: frozenset[StudyState] | frozenset[JobState]
    legal = _STUDY[old] if isinstance(old, StudyState) else _JOB[old]
    if new not in legal:
        raise IllegalTransition(f"{old.value} may not become {new.value}")


def study_state_of(jobs: Iterable[JobState]) -> StudyState:
    """The state of a planned study, from its current jobs.

    The least advanced work decides; a failure shows only once nothing is left to do. What was cancelled was asked and
    not done: such a study is FAILED too, and its reason says who has cancelled it.
    """
    states = set(jobs) - {JobState.SUPERSEDED}
    if not states:
        return StudyState.UNMATCHED
    if states == {JobState.PLANNED}:
        return StudyState.PLANNED
    if states & {JobState.PLANNED, JobState.PREDICTING}:
        return StudyState.PREDICTING
    if JobState.DELIVERING in states:
        return StudyState.DELIVERING
    if states & {JobState.FAILED, JobState.CANCELLED}:
        return StudyState.FAILED
    return StudyState.DELIVERED
