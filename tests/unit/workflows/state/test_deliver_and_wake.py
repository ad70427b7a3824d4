"""Repository, last part: deliveries that wait, are refused or end, and wake-ups that do not flood."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .conftest import World

STUDY = "1.2.3"


def test_results_are_sent_in_the_order_they_were_saved_and_then_the_study_is_delivered(world: World) -> None:
    world.planned("a1")
    world.answer("a1")
    assert world.state() == "DELIVERING"
    assert [row.kind for row in world.repository.results("a1")] == ["SEG", "SR"]
    world.deliver("a1")
    assert world.state() == "DELIVERED"
    assert not world.repository.claim_delivery("a1", "io", 60)


def test_an_archive_that_is_away_keeps_the_job_waiting_with_its_reason(world: World) -> None:
    world.planned("a1")
    world.answer("a1")
    for attempt in range(1, 20):
        assert world.repository.claim_delivery("a1", "io", 60)
        for row in world.repository.results("a1"):
            world.repository.record_delivery("a1", row.sop_instance_uid, delivered=False, reason="down")
        world.repository.end_delivery("a1", "io", "down", 30)
        assert (world.state(), world.reason()) == ("DELIVERING", "down")
        assert {row.attempts for row in world.repository.results("a1")} == {attempt}
        assert world.repository.take_due().deliveries == []
        world.tick(30)
        assert world.repository.take_due().deliveries == ["a1"]
    world.deliver("a1")
    assert world.state() == "DELIVERED"


def test_a_refused_result_ends_the_job_once_nothing_else_is_pending(world: World) -> None:
    world.planned("a1")
    world.answer("a1")
    seg, report = (row.sop_instance_uid for row in world.repository.results("a1"))
    world.repository.claim_delivery("a1", "io", 60)
    world.repository.record_delivery("a1", seg, delivered=False, rejected=True, reason="0xA900")
    world.repository.end_delivery("a1", "io", "0xA900", 30)
    assert world.state() == "DELIVERING"
    world.repository.claim_delivery("a1", "io", 60)
    world.repository.record_delivery("a1", report, delivered=True)
    world.repository.end_delivery("a1", "io", "PACS answered SEG with 0xA900", 30)
    assert (world.state(), world.reason()) == ("FAILED", "PACS answered SEG with 0xA900")


def test_one_of_two_senders_gets_the_delivery_and_a_dead_one_loses_it(world: World) -> None:
    world.planned("a1")
    world.answer("a1")
    assert world.repository.claim_delivery("a1", "dead", 60)
    assert not world.repository.claim_delivery("a1", "io", 60)
    world.tick(61)
    assert world.repository.take_due().deliveries == ["a1"]
    assert world.repository.claim_delivery("a1", "io", 60)
    world.repository.end_delivery("a1", "dead", "late", 0)
    assert world.repository.job("a1").lease_owner == "io"


def test_results_of_a_generation_that_has_passed_are_not_sent(world: World) -> None:
    world.planned("a1")
    world.answer("a1")
    world.receive(2)
    assert not world.repository.claim_delivery("a1", "io", 60)
    world.tick(1000)
    assert world.repository.take_due().deliveries == []
    world.make_complete()
    world.plan("a1", generation=2)
    assert world.repository.claim_delivery("a1", "io", 60), "the same inputs, so the same results"


def test_jobs_that_end_at_the_same_time_leave_no_study_behind(world: World) -> None:
    keys = [f"{letter}1" for letter in "abcdef"]
    world.planned(*keys)
    for key in keys:
        world.answer(key)
        assert world.repository.claim_delivery(key, "io", 60)
        for row in world.repository.results(key):
            world.repository.record_delivery(key, row.sop_instance_uid, delivered=True)
    barrier = Barrier(len(keys))

    def end(key: str) -> None:
        barrier.wait(10)
        world.repository.end_delivery(key, "io", "", 10)

    with ThreadPoolExecutor(len(keys)) as pool:
        list(pool.map(end, keys))
    assert set(world.jobs().values()) == {"DELIVERED"}
    assert world.state() == "DELIVERED"


def test_a_tick_wakes_what_waits_once_and_again_only_when_nobody_answered(world: World) -> None:
    world.receive()
    world.make_complete()
    assert world.repository.take_due().plans == [], "completing has woken it"
    world.tick(30)
    assert world.repository.take_due().plans == [STUDY]
    assert world.repository.take_due().plans == []
    world.plan("a1", "b1")
    assert sorted(world.repository.take_due().jobs) == ["a1", "b1"]
    assert world.repository.take_due().jobs == []
    world.tick(29.9)
    assert world.repository.take_due().jobs == []
    world.tick(0.1)
    assert sorted(world.repository.take_due().jobs) == ["a1", "b1"]


def test_a_claimed_job_is_woken_only_after_its_lease(world: World) -> None:
    world.planned("a1")
    world.repository.claim_job("a1", "w", 60, 3)
    world.tick(59)
    assert world.repository.take_due().jobs == []
    world.tick(1)
    assert world.repository.take_due().jobs == ["a1"]


def test_ended_and_superseded_work_is_never_woken(world: World) -> None:
    world.planned("a1", "b1")
    world.answer("a1")
    world.deliver("a1")
    world.reopen()
    world.plan("a1", generation=2)
    world.tick(1000)
    due = world.repository.take_due()
    assert (due.plans, due.jobs, due.deliveries) == ([], [], [])
