"""Repository, second half: plans by compare-and-set, claims, leases, attempts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING

import pytest

from workflows.state.records import Trouble, TroubleKind

if TYPE_CHECKING:
    from .conftest import World

STUDY = "1.2.3"


def test_a_plan_for_a_generation_that_has_passed_is_refused(world: World) -> None:
    world.receive()
    assert not world.plan("a1"), "still receiving"
    world.make_complete()
    world.receive(2)
    assert not world.plan("a1")
    world.make_complete()
    assert not world.plan("a1", generation=1)
    assert world.jobs() == {}
    assert world.plan("a1", generation=2)
    assert not world.plan("a2", generation=2), "planned already"
    assert (world.state(), world.jobs()) == ("PLANNED", {"a1": "PLANNED"})


def test_a_plan_without_jobs_leaves_the_study_unmatched_with_its_reason(world: World) -> None:
    world.planned()
    assert (world.state(), world.reason()) == ("UNMATCHED", "planned")


def test_unchanged_keys_carry_over_and_changed_ones_are_superseded(world: World) -> None:
    world.planned("a1", "b1")
    for key in ("a1", "b1"):
        assert world.answer(key)
        world.deliver(key)
    assert world.state() == "DELIVERED"
    world.reopen()
    assert world.plan("a2", "b1", generation=2)
    assert world.jobs() == {"a2": "PLANNED", "b1": "DELIVERED"}
    replaced = world.repository.job("a1")
    assert (replaced.state.value, replaced.reason) == ("SUPERSEDED", "replaced by generation 2")
    assert world.repository.job("b1").generation == 2
    assert world.repository.job("a2").predecessor_key == "a1"
    assert world.state() == "PREDICTING"


def test_the_predecessor_is_the_latest_answered_job_of_the_same_series_and_protocol(world: World) -> None:
    world.planned("a1", "b1")
    world.answer("a1")
    world.reopen(2)
    world.plan("a2", "b1", generation=2)  # never answered
    world.reopen(3)
    world.plan("a3", "b2", generation=3)
    assert world.repository.job("a3").predecessor_key == "a1"
    assert world.repository.job("b2").predecessor_key is None


def test_earlier_inputs_that_return_take_their_job_up_again_as_far_as_it_was(world: World) -> None:
    world.planned("a1", "b1", "c1")
    world.answer("a1")
    world.deliver("a1")
    world.answer("b1")
    world.reopen(2)
    world.plan("a2", "b2", "c2", generation=2)
    world.reopen(3)
    world.plan("a1", "b1", "c1", generation=3)
    assert world.jobs() == {"a1": "DELIVERED", "b1": "DELIVERING", "c1": "PLANNED"}
    assert "replaced" not in world.reason()
    world.deliver("b1")
    world.answer("c1")
    world.deliver("c1")
    assert world.state() == "DELIVERED"


def test_of_many_workers_one_gets_the_job(world: World) -> None:
    world.planned("a1")
    count = 6
    barrier = Barrier(count)

    def claim(number: int) -> bool:
        barrier.wait(10)
        return world.claim("a1", f"w{number}") is not None

    with ThreadPoolExecutor(count) as pool:
        assert sum(pool.map(claim, range(count))) == 1
    assert world.repository.job("a1").attempts == 1
    assert world.state() == "PREDICTING"


def test_nothing_is_claimed_that_is_unknown_or_done(world: World) -> None:
    world.planned("a1")
    assert world.claim("zz", "w") is None
    world.answer("a1")
    assert world.claim("a1", "w") is None


def test_a_lease_that_runs_out_gives_the_job_to_another_and_the_first_may_not_save(world: World) -> None:
    world.planned("a1")
    assert world.claim("a1", "first")
    world.tick(60)
    assert world.claim("a1", "second") is None
    world.tick(1)
    job = world.claim("a1", "second")
    assert job is not None and job.attempts == 2
    assert not world.repository.extend_lease("a1", "first", 60)
    assert not world.save("a1", "first")
    world.repository.fail_job("a1", "first", "late")
    assert world.repository.job("a1").state.value == "PREDICTING"
    assert world.save("a1", "second")
    assert len(world.repository.objects("a1")) == 2


def test_a_heartbeat_keeps_the_lease(world: World) -> None:
    world.planned("a1")
    world.claim("a1", "first")
    for _ in range(5):
        world.tick(50)
        assert world.repository.extend_lease("a1", "first", 60)
    assert world.claim("a1", "second") is None
    assert world.save("a1", "first")
    assert not world.repository.extend_lease("a1", "first", 60)


def test_a_job_that_kills_its_workers_fails_with_a_reason_that_names_them(world: World) -> None:
    world.planned("a1", "b1")
    for _ in range(3):
        assert world.claim("a1", "host:7")
        world.tick(61)
    assert world.claim("a1", "host:8") is None
    assert world.repository.job("a1").state.value == "FAILED"
    assert world.state() == "PREDICTING", "the other job is still to do"
    world.answer("b1")
    world.deliver("b1")
    why = "given up after 3 attempts: 3 times: the worker host:7 stopped answering"
    assert (world.state(), world.reason()) == ("FAILED", why)


def test_a_program_that_fails_twice_is_told_as_what_it_is_and_nobody_died(world: World) -> None:
    world.planned("a1")
    broken = Trouble(TroubleKind.DEFECT, "the program failed: TypeError in x.py line 3 (f); please report it")
    world.claim("a1")
    world.repository.record_trouble("a1", "w", broken, 3, 30)
    assert (world.state(), world.reason()) == ("PLANNED", broken.reason)
    assert world.repository.take_due().jobs == []
    world.tick(30)
    world.claim("a1")
    world.repository.record_trouble("a1", "w", broken, 3, 30)
    assert (world.state(), world.reason()) == ("FAILED", f"given up after 2 attempts: 2 times: {broken.reason}")


def test_a_job_that_is_given_back_is_never_given_up(world: World) -> None:
    world.planned("a1")
    for _ in range(10):
        assert world.claim("a1")
        world.repository.give_back("a1", "w", "host cannot read /mnt/x", 0)
    assert (world.state(), world.reason()) == ("PLANNED", "host cannot read /mnt/x")
    assert world.repository.job("a1").troubles == ()


def test_other_weights_read_nothing_again_unless_a_person_wants_it(world: World) -> None:
    world.planned("a1")
    world.answer("a1")
    world.deliver("a1")
    world.reopen()
    assert world.plan("a1-b", generation=2)
    assert (world.jobs(), world.state()) == ({"a1": "DELIVERED"}, "DELIVERED")
    assert world.repository.reopen(STUDY, "a person wants it read again")
    assert (world.state(), world.generation(), world.study().reread) == ("COMPLETE", 3, True)
    assert world.plan("a1-b", generation=3)
    assert (world.jobs(), world.study().reread) == ({"a1-b": "PLANNED"}, False)
    assert world.repository.job("a1-b").predecessor_key == "a1"
    world.answer("a1-b")
    world.deliver("a1-b")
    world.reopen(3)
    world.plan("a1-c", generation=4)
    assert world.jobs() == {"a1-b": "DELIVERED"}


def test_what_was_never_answered_is_planned_for_todays_weights(world: World) -> None:
    world.planned("a1")
    world.reopen()
    assert world.plan("a1-b", generation=2)
    assert world.jobs() == {"a1-b": "PLANNED"}


def test_to_read_again_with_nothing_changed_asks_nothing_again_but_what_failed(world: World) -> None:
    world.planned("a1", "b1")
    world.answer("a1")
    world.deliver("a1")
    world.claim("b1")
    world.repository.fail_job("b1", "w", "no volume")
    assert world.state() == "FAILED"
    assert world.repository.reopen(STUDY, "again")
    assert not world.repository.reopen(STUDY, "again"), "it waits to be planned"
    world.plan("a1", "b1", generation=2)
    assert world.jobs() == {"a1": "DELIVERED", "b1": "PLANNED"}


def test_a_study_that_is_received_or_lacks_instances_is_not_read_again(world: World) -> None:
    world.receive()
    assert not world.repository.reopen(STUDY, "again")
    world.make_complete()
    world.plan("a1")
    world.answer("a1")
    world.repository.lose_instances(STUDY, ["1.2.3.1/1.a"])
    assert not world.repository.reopen(STUDY, "again")
    assert world.state() == "DELIVERING"


def test_planning_that_fails_twice_fails_the_study_with_the_reason(world: World) -> None:
    world.receive()
    world.make_complete()
    world.repository.record_plan_defect(STUDY, "the program failed: KeyError")
    assert (world.state(), world.reason()) == ("COMPLETE", "the program failed: KeyError")
    world.repository.record_plan_defect(STUDY, "the program failed: KeyError")
    assert (world.state(), world.reason()) == ("FAILED", "the program failed: KeyError")


def test_a_released_job_waits_and_is_planned_again(world: World) -> None:
    world.planned("a1")
    world.claim("a1", "w")
    world.repository.give_back("a1", "w", "no memory", 60)
    assert (world.state(), world.reason()) == ("PLANNED", "no memory")
    assert not world.repository.take_due().jobs
    world.tick(60)
    assert world.repository.take_due().jobs == ["a1"]


@pytest.mark.parametrize("ending", ["save", "fail", "give back"])
def test_an_earlier_generations_job_that_ends_late_leaves_a_complete_study_to_be_planned(
    world: World, ending: str
) -> None:
    world.planned("a1")
    world.repository.claim_job("a1", "w", 600, 3)
    world.reopen()
    if ending == "save":
        assert world.save("a1")
    elif ending == "fail":
        world.repository.fail_job("a1", "w", "broken")
    else:
        world.repository.give_back("a1", "w", "no memory", 1)
    assert world.state() == "COMPLETE"
    assert world.plan("a2", generation=2)
    assert world.jobs() == {"a2": "PLANNED"}


def test_a_study_that_cannot_be_planned_fails_unless_it_has_moved_on(world: World) -> None:
    world.receive()
    world.make_complete()
    world.repository.fail_study(STUDY, 2, "broken")
    assert world.state() == "COMPLETE"
    world.repository.fail_study(STUDY, 1, "broken")
    assert (world.state(), world.reason()) == ("FAILED", "broken")


def test_a_study_that_cannot_be_planned_now_waits_and_says_why(world: World) -> None:
    world.receive()
    world.make_complete()
    world.repository.hold_plan(STUDY, 1, "protocols: line 3")
    assert (world.state(), world.reason()) == ("COMPLETE", "protocols: line 3")
    world.repository.hold_plan(STUDY, 2, "of another generation")
    assert world.reason() == "protocols: line 3"
    assert world.plan("a1")
    world.repository.hold_plan(STUDY, 1, "planned by now")
    assert world.reason() == "planned"


def test_a_job_that_no_worker_can_take_up_waits_and_says_why(world: World) -> None:
    world.planned("a1")
    world.repository.hold_job("a1", "no GPU", 60)
    assert (world.state(), world.reason(), world.jobs()) == ("PLANNED", "no GPU", {"a1": "PLANNED"})
    world.answer("a1")
    world.repository.hold_job("a1", "answered by now", 60)
    world.deliver("a1")
    assert world.reason() == "abdomen: answered and delivered"


def test_every_reason_of_a_job_that_was_given_up_is_told(world: World) -> None:
    world.planned("a1")
    world.claim("a1", "host:7")
    world.tick(61)
    world.claim("a1")
    full = Trouble(TroubleKind.NO_ROOM, "no batch size fits")
    world.repository.record_trouble("a1", "w", full, 3, 0)
    world.claim("a1")
    world.repository.record_trouble("a1", "w", full, 3, 0)
    died = "the worker host:7 stopped answering"
    assert (world.state(), world.reason()) == (
        "FAILED",
        f"given up after 3 attempts: {died}; 2 times: no batch size fits",
    )


def test_a_dead_workers_job_that_nobody_can_take_up_keeps_no_other_from_its_turn(world: World) -> None:
    world.planned("a1", "b1")
    assert world.claim("a1") is not None
    world.tick(61)
    assert world.repository.next_job() == "a1"
    world.repository.hold_job("a1", "planned for other weights", 60)
    assert world.repository.next_job() == "b1"
    assert world.answer("b1")
    world.tick(61)
    assert world.repository.next_job() == "a1"
