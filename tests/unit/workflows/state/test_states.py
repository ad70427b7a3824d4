"""Transitions: every pair of states is either legal by this table or refused."""

from __future__ import annotations

import itertools

import pytest

from workflows.state.states import IllegalTransition, JobState, StudyState, check_transition, study_state_of

STUDY = {
    "RECEIVING": "RECEIVING COMPLETE FAILED",
    "COMPLETE": "RECEIVING PLANNED PREDICTING DELIVERING DELIVERED UNMATCHED HELD FAILED",
    "PLANNED": "RECEIVING COMPLETE PREDICTING DELIVERING FAILED",
    "PREDICTING": "RECEIVING COMPLETE PLANNED DELIVERING DELIVERED FAILED",
    "DELIVERING": "RECEIVING COMPLETE PLANNED PREDICTING DELIVERED FAILED",
    "DELIVERED": "RECEIVING COMPLETE DELIVERING",
    "UNMATCHED": "RECEIVING COMPLETE",
    "HELD": "RECEIVING COMPLETE",
    "FAILED": "RECEIVING COMPLETE PLANNED PREDICTING DELIVERING",
}
JOB = {
    "PLANNED": "PREDICTING FAILED CANCELLED SUPERSEDED",
    "PREDICTING": "PREDICTING PLANNED DELIVERING FAILED CANCELLED SUPERSEDED",
    "DELIVERING": "PLANNED DELIVERED FAILED CANCELLED SUPERSEDED",
    "DELIVERED": "SUPERSEDED PLANNED DELIVERING",
    "FAILED": "SUPERSEDED PLANNED DELIVERING",
    "CANCELLED": "SUPERSEDED PLANNED DELIVERING",
    "SUPERSEDED": "PLANNED DELIVERING DELIVERED FAILED",
}


@pytest.mark.parametrize(("kind", "legal"), [(StudyState, STUDY), (JobState, JOB)])
def test_every_transition_is_legal_by_the_table_or_refused(
    kind: type[StudyState] | type[JobState], legal: dict[str, str]
) -> None:
    assert set(legal) == {state.value for state in kind}
    for old, new in itertools.product(kind, kind):
        if new.value in legal[old.value].split():
            check_transition(old, new)
        else:
            with pytest.raises(IllegalTransition, match=f"{old.value} may not become {new.value}"):
                check_transition(old, new)


@pytest.mark.parametrize(
    ("jobs", "state"),
    [
        ("", "UNMATCHED"),
        ("SUPERSEDED", "UNMATCHED"),
        ("PLANNED", "PLANNED"),
        ("PLANNED DELIVERED", "PREDICTING"),
        ("PREDICTING DELIVERING FAILED", "PREDICTING"),
        ("DELIVERING DELIVERED FAILED", "DELIVERING"),
        ("DELIVERED FAILED", "FAILED"),
        ("DELIVERED SUPERSEDED FAILED", "FAILED"),
        ("DELIVERED SUPERSEDED", "DELIVERED"),
        ("CANCELLED", "FAILED"),
        ("DELIVERED CANCELLED", "FAILED"),
        ("DELIVERING CANCELLED", "DELIVERING"),
        ("PLANNED CANCELLED", "PREDICTING"),
    ],
)
def test_the_least_advanced_job_decides_and_a_failure_shows_last(jobs: str, state: str) -> None:
    assert study_state_of(JobState(job) for job in jobs.split()) is StudyState(state)


def test_a_planned_study_can_follow_every_single_step_of_its_jobs() -> None:
    for jobs in itertools.product(JobState, repeat=3):
        before = study_state_of(jobs)
        for new in JobState:
            if new.value not in JOB[jobs[0].value].split() or JobState.SUPERSEDED in (new, jobs[0]):
                continue  # superseding happens while planning, from COMPLETE
            if jobs[0] is JobState.DELIVERED or (jobs[0], new) == (JobState.DELIVERING, JobState.PLANNED):
                continue  # and so does taking up again what was answered
            after = study_state_of((new, *jobs[1:]))
            if after is not before:
                check_transition(before, after)
