"""Repository, last part: deliveries that wait, are refused or end, and wake-ups that do not flood."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING

import pytest

from dicom_node.results.profiles import Profile
from workflows.state.records import Destination
from workflows.state.states import DeliveryState

if TYPE_CHECKING:
    from .conftest import World

STUDY = "1.2.3"
DELIVERED, PENDING, REJECTED = DeliveryState.DELIVERED, DeliveryState.PENDING, DeliveryState.REJECTED
TWO = (Destination("pacs", Profile.AIR), Destination("viewer", Profile.OHIF))


def test_results_are_claimed_in_the_order_they_were_saved_and_then_the_study_is_delivered(world: World) -> None:
    world.planned("a1")
    world.answer("a1")
    assert world.state() == "DELIVERING"
    assert world.reason() == "abdomen: answered, on the way to the archive"
    assert [result.kind.value for result in world.repository.objects("a1")] == ["SEG", "SR"]
    world.deliver("a1")
    assert (world.state(), world.reason()) == ("DELIVERED", "abdomen: answered and delivered")
    assert world.send("a1") == []


def test_an_archive_that_is_away_keeps_the_job_waiting_with_its_reason(world: World) -> None:
    world.planned("a1")
    world.answer("a1")
    for attempt in range(1, 20):
        for uid in world.send("a1"):
            assert world.record(uid, PENDING, "down")
        world.release("a1", "down", 30)
        assert (world.state(), world.reason()) == ("DELIVERING", "down")
        assert {delivery.attempts for delivery in world.deliveries("a1")} == {attempt}
        assert not world.repository.take_due().deliveries
        world.tick(30)
        assert world.repository.take_due().deliveries == [("a1", "pacs")]
    world.deliver("a1")
    assert world.state() == "DELIVERED"


def test_a_refused_result_ends_the_job_once_nothing_else_is_pending(world: World) -> None:
    world.planned("a1")
    world.answer("a1")
    seg, report = world.send("a1")
    assert world.record(seg, REJECTED, "0xA900")
    world.release("a1", "PACS answered SEG with 0xA900", 30)
    assert world.state() == "DELIVERING"
    world.tick(30)
    assert world.send("a1") == [report]
    assert world.record(report, DELIVERED)
    world.release("a1")
    assert (world.state(), world.reason()) == ("FAILED", "SEG to pacs: 0xA900")


def test_one_of_two_senders_gets_the_delivery_and_a_dead_one_loses_it(world: World) -> None:
    world.planned("a1")
    world.answer("a1")
    (seg, _report) = world.send("a1", owner="dead")
    assert world.send("a1") == []
    world.tick(61)
    assert world.repository.take_due().deliveries == [("a1", "pacs")]
    assert len(world.send("a1")) == 2
    world.release("a1", "late", 0, owner="dead")
    assert world.record(seg, DELIVERED), "what another releases is not ours to lose"


def test_a_late_sender_changes_nothing_that_is_recorded(world: World) -> None:
    world.planned("a1")
    world.answer("a1")
    (seg, report) = world.send("a1", owner="late")
    world.tick(61)
    world.deliver("a1")
    assert not world.record(seg, REJECTED, "0xA900", owner="late")
    assert not world.record(report, PENDING, "down", owner="io"), "its end is recorded already"
    world.release("a1", "0xA900", owner="late")
    assert world.state() == "DELIVERED"
    assert {delivery.state for delivery in world.deliveries("a1")} == {DELIVERED}


def test_a_heartbeat_keeps_what_is_being_sent(world: World) -> None:
    world.planned("a1")
    world.answer("a1")
    uids = world.send("a1")
    for _ in range(3):
        world.tick(50)
        assert world.repository.extend_deliveries("a1", "pacs", "io", 60)
        assert world.send("a1", owner="another") == []
        assert not world.repository.take_due().deliveries
    for uid in uids:
        assert world.record(uid, DELIVERED)
    assert not world.repository.extend_deliveries("a1", "pacs", "io", 60)


def test_a_second_destination_costs_no_second_answer_and_waits_for_itself(world: World) -> None:
    world.planned("a1", destinations=TWO)
    world.answer("a1")
    assert world.repository.job("a1").attempts == 1
    assert len(world.repository.objects("a1")) == 4
    assert sorted(world.repository.take_due().deliveries) == [("a1", "pacs"), ("a1", "viewer")]
    for uid in world.send("a1", archive="viewer"):
        assert world.record(uid, PENDING, "viewer is down", archive="viewer")
    world.release("a1", "viewer is down", 300, archive="viewer")
    world.deliver("a1")
    assert (world.state(), world.reason()) == ("DELIVERING", "viewer is down")
    world.tick(300)
    world.deliver("a1", archive="viewer")
    assert world.state() == "DELIVERED"


def test_the_program_failing_at_sending_is_tried_once_more_and_then_told(world: World) -> None:
    world.planned("a1")
    world.answer("a1")
    for state in ("DELIVERING", "FAILED"):
        assert world.send("a1")
        world.repository.record_delivery_defect("a1", "pacs", "io", "the program failed: KeyError", 0)
        assert world.state() == state and "the program failed: KeyError" in world.reason()
        world.tick(1)


def test_results_of_a_generation_that_has_passed_are_not_sent(world: World) -> None:
    world.planned("a1")
    world.answer("a1")
    world.receive(2)
    assert world.send("a1") == []
    world.tick(1000)
    assert not world.repository.take_due().deliveries
    world.complete()
    world.plan("a1", generation=2)
    assert world.repository.take_due().deliveries == [("a1", "pacs")]
    assert world.send("a1"), "the same inputs, so the same results"


def test_nothing_is_claimed_of_a_job_that_is_not_there(world: World) -> None:
    assert world.send("unknown") == []


def test_jobs_that_end_at_the_same_time_leave_no_study_behind(world: World) -> None:
    keys = [f"{letter}1" for letter in "abcdef"]
    world.planned(*keys)
    for key in keys:
        world.answer(key)
        for uid in world.send(key):
            assert world.record(uid, DELIVERED)
    barrier = Barrier(len(keys))

    def end(key: str) -> None:
        barrier.wait(10)
        world.release(key)

    with ThreadPoolExecutor(len(keys)) as pool:
        list(pool.map(end, keys))
    assert set(world.jobs().values()) == {"DELIVERED"}
    assert world.state() == "DELIVERED"


def test_what_waits_is_due_until_somebody_takes_it_up(world: World) -> None:
    world.receive()
    world.make_complete()
    for _ in range(2):
        assert world.repository.take_due().plans == [STUDY], "looking changes nothing"
    assert world.repository.take_plan() == STUDY, "at once: a lost wake-up costs a look, no more"
    assert world.repository.take_plan() is None and not world.repository.take_due().plans, "somebody plans it"
    world.tick(30)
    assert world.repository.take_plan() == STUDY, "who took it has died"
    world.plan("a1", "b1")
    assert sorted(world.repository.take_due().jobs) == ["a1", "b1"]
    first = world.repository.next_job()
    assert first in ("a1", "b1")
    world.claim(first, "v")
    second = world.repository.next_job()
    assert {first, second} == {"a1", "b1"}
    world.claim(second, "v")
    assert world.repository.next_job() is None


def test_what_an_archive_is_to_get_is_found_for_that_archive_alone(world: World) -> None:
    world.planned("a1", destinations=TWO)
    world.answer("a1")
    due = world.repository.next_delivery
    assert (due("pacs"), due("viewer")) == (("a1", "pacs"), ("a1", "viewer"))
    assert due("nowhere") is None and due(None, ["pacs", "viewer"]) is None
    assert due(None, ["viewer"]) == ("a1", "pacs"), "an archive that is not configured any more"
    world.send("a1", archive="viewer")
    assert due("viewer") is None and due("pacs") == ("a1", "pacs")
    world.release("a1", "viewer is down", 300, archive="viewer")
    assert due("viewer") is None
    world.deliver("a1")
    assert due("pacs") is None and world.repository.next_confirmation("pacs") is None
    world.tick(2)
    assert world.repository.next_confirmation("pacs") == ("a1", "pacs")
    assert world.repository.next_confirmation("viewer") is None
    world.tick(298)
    assert due("viewer") == ("a1", "viewer")


def test_a_claimed_job_is_woken_only_after_its_lease(world: World) -> None:
    world.planned("a1")
    world.claim("a1")
    world.tick(59)
    assert not world.repository.take_due().jobs
    world.tick(1)
    assert world.repository.take_due().jobs == ["a1"]


@pytest.mark.parametrize("delivered", [True, False])
def test_ended_and_superseded_work_is_never_woken(world: World, delivered: bool) -> None:
    world.planned("a1", "b1")
    world.answer("a1")
    if delivered:
        world.deliver("a1")
    world.answer("b1")
    world.deliver("b1")
    world.reopen()
    world.plan("b1", generation=2)
    world.tick(1000)
    due = world.repository.take_due()
    assert not (due.plans or due.jobs or due.deliveries)
