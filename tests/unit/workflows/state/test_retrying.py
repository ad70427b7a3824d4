"""Retrying: what passes, how often and after how long, with a seeded chance."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from workflows.state.records import Priority, TroubleKind
from workflows.state.retrying import (
    Backoff,
    failure_of,
    may_restart,
    moved_in_queue,
    place_in_queue,
    spread_s,
    too_late,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DIED, FULL, LATE, BIG, DEFECT = (
    TroubleKind.WORKER_DIED,
    TroubleKind.NO_ROOM,
    TroubleKind.DEADLINE,
    TroubleKind.MEMORY,
    TroubleKind.DEFECT,
)


@pytest.mark.parametrize(
    ("troubles", "failure"),
    [
        ([], None),
        ([DIED, DIED], None),
        ([DIED, DIED, DIED], DIED),
        ([LATE], None),
        ([LATE, LATE], LATE),
        ([BIG, DIED], None),
        ([BIG, DIED, BIG], BIG),
        ([DEFECT, DEFECT], DEFECT),
        ([DIED, FULL, DEFECT], DEFECT),
        ([DIED, DIED, DEFECT], DIED),
        ([DEFECT, FULL, FULL], FULL),
    ],
)
def test_a_job_fails_as_what_it_was_tried_too_often(troubles: list[TroubleKind], failure: TroubleKind | None) -> None:
    assert failure_of(troubles, 3) is failure


def test_a_single_attempt_may_be_wanted() -> None:
    assert failure_of([DIED], 1) is DIED


def test_every_kind_passes_or_lasts() -> None:
    passing = {kind.value for kind in TroubleKind if kind.passing}
    assert passing == {"worker-died", "no-room", "deadline", "memory", "planning"}


def test_pauses_double_up_to_the_longest_and_never_fall_below_half() -> None:
    longest = Backoff(30, 300, lambda: 1.0)
    shortest = Backoff(30, 300, lambda: 0.0)
    assert [longest.delay_s(attempts) for attempts in (0, 1, 2, 3, 4, 5, 6, 10_000)] == [
        30, 30, 60, 120, 240, 300, 300, 300,
    ]  # fmt: skip
    assert [shortest.delay_s(attempts) for attempts in (1, 4, 10_000)] == [15, 120, 150]


def test_what_failed_together_does_not_come_back_together() -> None:
    backoff = Backoff(2, 300, random.Random(7).random)
    delays = [backoff.delay_s(9) for _ in range(1000)]
    assert min(delays) >= 150 and max(delays) <= 300
    seconds = [int(delay) for delay in delays]
    assert max(seconds.count(second) for second in set(seconds)) < 25, "a thousand over 150 s: about seven a second"


def test_a_fixed_pause_is_spread_too() -> None:
    assert (spread_s(60, lambda: 0.0), spread_s(60, lambda: 0.5)) == (30, 45)


def test_a_study_is_restarted_once_an_hour_and_a_clock_that_was_set_back_blocks_nothing() -> None:
    assert may_restart(None, NOW)
    assert not may_restart(NOW, NOW)
    assert not may_restart(NOW, NOW + timedelta(minutes=59))
    assert may_restart(NOW, NOW + timedelta(hours=1))
    assert may_restart(NOW, NOW - timedelta(hours=5))


def test_stat_goes_first_and_a_routine_job_that_waits_an_hour_longer_goes_before_it() -> None:
    stat = place_in_queue(NOW, Priority.STAT)
    assert stat < place_in_queue(NOW - timedelta(minutes=59), Priority.ROUTINE)
    assert stat > place_in_queue(NOW - timedelta(minutes=61), Priority.ROUTINE)
    assert moved_in_queue(stat, Priority.STAT, Priority.ROUTINE) == NOW
    assert moved_in_queue(NOW, Priority.ROUTINE, Priority.STAT) == stat


def test_too_late_names_the_time_and_the_remedy() -> None:
    assert too_late(None, NOW) == too_late(NOW, NOW) == ""
    told = too_late(NOW, NOW + timedelta(seconds=1))
    assert told.startswith("too late to be of use") and "2026-01-02 03:04 UTC" in told and "requeue" in told
