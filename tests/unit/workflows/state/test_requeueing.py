"""Repository: who goes first, what is too late, and what failed, was cancelled or is to be sent again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from dicom_node.results.profiles import Profile
from workflows.state.records import Destination, Priority, Trouble, TroubleKind
from workflows.state.states import DeliveryState, RetractionState

if TYPE_CHECKING:
    from .conftest import World

STUDY = "1.2.3"
TWO = (Destination("pacs", Profile.AIR), Destination("viewer", Profile.OHIF))
FULL = Trouble(TroubleKind.NO_ROOM, "no batch size fits")


def give_up(world: World, key: str, kind: TroubleKind = TroubleKind.NO_ROOM) -> None:
    """Let a job fail by troubles of one kind."""
    while world.repository.job(key).state.value != "FAILED":
        assert world.claim(key)
        world.repository.record_trouble(key, "w", Trouble(kind, f"{kind.value} it was"), 3, 0)


def plan_with(world: World, *plans: tuple[str, Priority, float | None]) -> None:
    world.receive()
    world.make_complete()
    made = [replace(world.job_plan(key), priority=priority, useful_for_s=useful) for key, priority, useful in plans]
    assert world.repository.save_plan(STUDY, 1, made, [], "planned") is not None


# --- Who goes first ---------------------------------------------------------------------------------------------------


def test_the_next_job_is_the_urgent_one_then_the_one_that_waits_longest(world: World) -> None:
    assert world.repository.next_job() is None
    plan_with(world, ("a1", Priority.ROUTINE, None), ("b1", Priority.STAT, None))
    assert world.repository.next_job() == "b1"
    assert world.claim("b1")
    assert world.repository.next_job() == "a1"
    assert world.claim("a1")
    assert world.repository.next_job() is None


def test_a_routine_job_that_waits_an_hour_longer_goes_before_a_new_urgent_one(world: World) -> None:
    plan_with(world, ("a1", Priority.ROUTINE, None))
    world.tick(3700)
    world.receive(2)
    world.make_complete()
    plans = [world.job_plan("a1"), replace(world.job_plan("b1"), priority=Priority.STAT)]
    assert world.repository.save_plan(STUDY, 2, plans, [], "planned") is not None
    assert world.repository.next_job() == "a1"


def test_a_plan_that_makes_a_waiting_job_urgent_moves_it(world: World) -> None:
    plan_with(world, ("a1", Priority.ROUTINE, None), ("b1", Priority.ROUTINE, None))
    world.reopen()
    plans = [world.job_plan("a1"), replace(world.job_plan("b1"), priority=Priority.STAT)]
    assert world.repository.save_plan(STUDY, 2, plans, [], "planned") is not None
    assert world.repository.next_job() == "b1"
    assert world.repository.job("b1").priority is Priority.STAT


def test_a_job_that_was_put_off_is_passed_over_until_its_pause_is_over_and_a_wake_up_changes_nothing(
    world: World,
) -> None:
    plan_with(world, ("a1", Priority.STAT, None), ("b1", Priority.ROUTINE, None))
    world.repository.hold_job("a1", "other weights", 60)
    assert world.repository.next_job() == "b1"
    assert world.repository.take_due().jobs == ["b1"]
    assert world.repository.next_job() == "b1", "it was woken and nobody took it up yet"
    world.tick(60)
    assert world.repository.next_job() == "a1"
    assert world.repository.job("a1").waits == 1


def test_a_job_whose_worker_died_comes_in_its_turn_and_one_of_an_earlier_generation_does_not(world: World) -> None:
    plan_with(world, ("a1", Priority.STAT, None), ("b1", Priority.ROUTINE, None))
    assert world.claim("a1", "dead")
    assert world.repository.next_job() == "b1"
    world.tick(61)
    assert world.repository.next_job() == "a1"
    world.receive(2)
    assert world.repository.next_job() is None, "its inputs may have changed: the next plan decides"


@pytest.mark.timeout(60)
def test_the_next_of_many_jobs_is_found_by_an_index(world: World) -> None:
    plan_with(world, ("a1", Priority.ROUTINE, None))
    engine = world.repository._engine
    with engine.connect() as connection:
        query = "SELECT job_key FROM jobs WHERE state = 'PLANNED' AND ready_at <= '2027-01-01' ORDER BY turn_at LIMIT 1"
        if engine.dialect.name == "postgresql":
            connection.execute(text("SET enable_seqscan = off"))
            told = connection.execute(text(f"EXPLAIN {query}")).scalars().all()
        else:
            told = [str(row) for row in connection.execute(text(f"EXPLAIN QUERY PLAN {query}"))]
    assert "ix_jobs_turn" in " ".join(told) and "Sort" not in " ".join(told) and "B-TREE" not in " ".join(told)


# --- Too late ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["the scheduler", "a worker"])
def test_a_job_that_nobody_took_up_in_time_fails_and_says_so(world: World, who: str) -> None:
    plan_with(world, ("a1", Priority.ROUTINE, 600))
    world.tick(500)  # the last image came a minute before the plan
    assert world.repository.job("a1").state.value == "PLANNED"
    world.tick(41)
    if who == "a worker":
        assert world.claim("a1") is None
    else:
        world.repository.take_due()
    job = world.repository.job("a1")
    assert (job.state.value, job.failure, world.state()) == ("FAILED", TroubleKind.TOO_LATE, "FAILED")
    assert world.reason().startswith("too late to be of use")
    world.receive()
    assert world.state() == "FAILED", "images that come again do not make it any earlier"
    assert world.repository.requeue(STUDY, "anna").ready
    assert world.repository.take_due().jobs == ["a1"]
    assert world.claim("a1")


def test_a_job_that_was_taken_up_in_time_is_finished_however_long_it_takes(world: World) -> None:
    plan_with(world, ("a1", Priority.ROUTINE, 600))
    assert world.claim("a1")
    for _ in range(20):
        world.tick(50)
        world.repository.take_due()
        assert world.repository.extend_lease("a1", "w", 60)
    assert world.save("a1")
    assert world.state() == "DELIVERING"


def test_who_wants_a_study_read_again_is_not_too_late(world: World) -> None:
    plan_with(world, ("a1", Priority.ROUTINE, 600))
    world.tick(3600)
    world.repository.take_due()
    assert world.state() == "FAILED"
    assert world.repository.reopen(STUDY, "again")
    plan = replace(world.job_plan("a1"), useful_for_s=600)
    assert world.repository.save_plan(STUDY, 2, [plan], [], "planned") is not None
    assert world.claim("a1")


# --- Failing, and going on --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [TroubleKind.DEADLINE, TroubleKind.MEMORY])
def test_a_job_that_runs_into_a_limit_is_tried_once_more(world: World, kind: TroubleKind) -> None:
    world.planned("a1")
    world.claim("a1")
    world.repository.record_trouble("a1", "w", Trouble(kind, "stopped after 3600 s"), 5, 0)
    assert world.state() == "PLANNED"
    world.claim("a1")
    world.repository.record_trouble("a1", "w", Trouble(kind, "stopped after 3600 s"), 5, 0)
    job = world.repository.job("a1")
    assert (job.state.value, job.failure) == ("FAILED", kind)
    assert world.reason() == "given up after 2 attempts: 2 times: stopped after 3600 s"


def test_what_failed_is_put_back_as_it_was_and_its_history_is_kept(world: World) -> None:
    world.planned("a1", "b1")
    world.answer("b1")
    world.deliver("b1")
    give_up(world, "a1")
    before = world.repository.job("a1")
    assert (world.state(), before.failure, before.attempts) == ("FAILED", TroubleKind.NO_ROOM, 3)
    world.tick(5)
    done = world.repository.requeue(STUDY, "anna")
    assert (done.ready, done.state, done.jobs, done.outcome) == (True, "FAILED", 1, "1 job")
    assert world.generation() == 1
    assert (world.state(), world.reason()) == ("PREDICTING", "put back by anna")
    job = world.repository.job("a1")
    assert (job.state.value, job.troubles, job.failure, job.waits) == ("PLANNED", (), None, 0)
    assert [event.told for event in job.history] == [before.reason, "put back by anna"]
    assert job.history[1].at == world.clock[0]
    assert world.repository.take_due().jobs == ["a1"]
    claimed = world.claim("a1")
    assert claimed is not None and claimed.attempts == 4, "each attempt has a folder of its own"
    assert world.save("a1")
    world.deliver("a1")
    assert world.state() == "DELIVERED"


def test_a_dry_run_says_the_same_and_changes_nothing(world: World) -> None:
    world.planned("a1")
    give_up(world, "a1")
    said = world.repository.requeue(STUDY, "anna", dry_run=True)
    assert (world.state(), world.repository.job("a1").history) == ("FAILED", ())
    assert world.repository.requeue(STUDY, "anna") == said
    said = world.repository.cancel(STUDY, "anna", dry_run=True)
    assert world.state() == "PLANNED"
    assert world.repository.cancel(STUDY, "anna") == said
    assert not world.repository.resend(STUDY, "anna").ready


def test_only_the_jobs_of_a_protocol_are_put_back(world: World) -> None:
    world.receive()
    world.make_complete()
    plans = [world.job_plan("a1"), replace(world.job_plan("b1"), protocol="chest")]
    assert world.repository.save_plan(STUDY, 1, plans, [], "planned") is not None
    give_up(world, "a1")
    give_up(world, "b1")
    assert world.repository.requeue(STUDY, "anna", "chest").jobs == 1
    assert world.jobs() == {"a1": "FAILED", "b1": "PLANNED"}


def test_what_an_archive_refused_is_sent_once_more_without_being_read(world: World) -> None:
    world.planned("a1")
    world.answer("a1")
    seg, report = world.send("a1")
    world.record(seg, DeliveryState.REJECTED, "0xA900")
    world.record(report, DeliveryState.WITHHELD, "not sent: it references an object")
    world.release("a1")
    job = world.repository.job("a1")
    assert (world.state(), job.failure) == ("FAILED", TroubleKind.ARCHIVE_REFUSED)
    world.receive()
    assert world.state() == "FAILED", "what an archive refuses does not pass by itself"
    done = world.repository.requeue(STUDY, "anna")
    assert (done.jobs, done.objects, done.outcome) == (1, 2, "1 job, 2 objects to send")
    assert (world.state(), world.reason()) == ("DELIVERING", "put back by anna")
    assert world.repository.take_due().deliveries == [("a1", "pacs")]
    world.deliver("a1")
    assert world.state() == "DELIVERED"


def test_what_is_to_be_retracted_is_not_put_back(world: World) -> None:
    world.planned("a1")
    world.answer("a1")
    for uid in world.send("a1"):
        world.record(uid, DeliveryState.REJECTED, "0xA900")
    world.release("a1")
    with world.repository._writing() as session:
        session.execute(
            text("UPDATE result_objects SET retract_at = :now, retract_code = '113037'"), {"now": "2026-01-02 03:04:05"}
        )
    assert world.repository.requeue(STUDY, "anna").objects == 0
    assert {one.state for one in world.deliveries("a1")} == {DeliveryState.REJECTED}


def test_a_study_that_could_not_be_planned_is_planned_again(world: World) -> None:
    world.receive()
    world.make_complete()
    for _ in range(2):
        world.repository.record_plan_defect(STUDY, "the program failed: KeyError")
    assert (world.state(), world.study().failure) == ("FAILED", TroubleKind.PLANNING)
    done = world.repository.requeue(STUDY, "anna")
    assert (done.ready, done.outcome) == (True, "planned again")
    assert (world.state(), world.generation(), world.study().failure) == ("COMPLETE", 1, None)
    assert world.reason() == "put back by anna; before: the program failed: KeyError"
    assert world.repository.take_due().plans == [STUDY]
    world.repository.record_plan_defect(STUDY, "the program failed: KeyError")
    assert world.state() == "COMPLETE", "it has two attempts again"


def test_what_cannot_be_put_back_says_why(world: World) -> None:
    world.receive()
    assert world.repository.requeue(STUDY, "anna").outcome == "RECEIVING: it is planned in any case, soon"
    world.repository.lose_instances(STUDY, ["1.2.3.1/1.a"])
    world.tick(60)
    world.complete()
    assert (world.state(), world.study().failure) == ("FAILED", TroubleKind.LOST)
    assert world.repository.requeue(STUDY, "anna").outcome == "FAILED: instances are missing, send the study again"
    world.receive()
    world.make_complete()
    world.plan("a1", generation=2)
    done = world.repository.requeue(STUDY, "anna")
    assert (done.ready, done.outcome) == (False, "PLANNED: nothing of it has failed or was cancelled")


def test_a_retraction_whose_note_was_refused_is_tried_again(world: World) -> None:
    world.planned("a1")
    world.answer("a1")
    world.deliver("a1")
    uids = [one.result.sop_instance_uid for view in world.repository.study_views() for one in view.jobs[0].objects]
    refused = (
        "INSERT INTO retractions (sop_instance_uid, archive, study_uid, code, reason, wanted_at, state, told, attempts)"
        " VALUES (:uid, 'pacs', '1.2.3', '113037', 'wrong', :now, 'FAILED', 'refused', 1)"
    )
    with world.repository._writing() as session:
        for uid in uids:
            session.execute(text(refused), {"uid": uid, "now": "2026-01-02 03:04:05"})
        marked = "UPDATE result_objects SET retract_at = :now, retract_reason = 'wrong', retract_code = '113037'"
        session.execute(text(marked), {"now": "2026-01-02 03:04:05"})
    assert not world.repository.resend(STUDY, "anna").ready, "what is taken back is not sent again"
    assert world.repository.requeue(STUDY, "anna").outcome == "2 retractions"
    claimed = world.repository.claim_retractions(STUDY, "pacs", 60)
    assert {one.retraction.state for one in claimed} == {RetractionState.WANTED}
    assert sorted(one.result.sop_instance_uid for one in claimed) == sorted(uids)


# --- Images that come again -------------------------------------------------------------------------------------------


def test_an_image_that_comes_again_restarts_what_failed_in_passing_once_an_hour(world: World) -> None:
    world.planned("a1", "b1")
    give_up(world, "a1")
    world.claim("b1")
    world.repository.fail_job("b1", "w", "the slices have no common direction")
    assert world.state() == "FAILED"
    world.receive()
    assert world.jobs() == {"a1": "PLANNED", "b1": "FAILED"}, "what was refused for good stays so"
    assert (world.generation(), world.study().restarted_at) == (1, world.clock[0])
    assert world.repository.job("a1").reason == "tried again: images of the study came again"
    assert world.repository.take_due().jobs == ["a1"]
    give_up(world, "a1")
    world.tick(3599)
    world.receive()
    assert world.jobs()["a1"] == "FAILED", "not before an hour is over"
    world.tick(1)
    world.receive()
    assert world.jobs()["a1"] == "PLANNED"


def test_an_image_that_comes_again_lets_a_study_be_planned_that_could_not_be(world: World) -> None:
    world.receive()
    world.make_complete()
    for _ in range(2):
        world.repository.record_plan_defect(STUDY, "the program failed: KeyError")
    world.receive()
    assert (world.state(), world.generation()) == ("COMPLETE", 1)
    for _ in range(2):
        world.repository.record_plan_defect(STUDY, "the program failed: KeyError")
    world.receive()
    assert world.state() == "FAILED", "once an hour"


def test_a_study_with_a_header_that_cannot_be_read_is_not_restarted_by_the_same_image(world: World) -> None:
    world.receive()
    world.make_complete()
    world.repository.fail_study(STUDY, 1, "broken")
    assert world.study().failure is TroubleKind.UNREADABLE
    world.receive()
    assert world.state() == "FAILED"
    assert world.repository.requeue(STUDY, "anna").ready, "a person may always"


def test_a_new_image_restarts_what_failed_in_passing_in_its_generation(world: World) -> None:
    world.planned("a1")
    give_up(world, "a1")
    world.reopen()
    world.plan("a1", generation=2)
    assert world.jobs() == {"a1": "PLANNED"}
    assert world.claim("a1")


def test_images_that_come_again_leave_a_study_alone_that_goes_well(world: World) -> None:
    world.planned("a1")
    world.receive()
    world.answer("a1")
    world.deliver("a1")
    world.receive()
    assert (world.state(), world.study().restarted_at) == ("DELIVERED", None)


# --- Cancelled --------------------------------------------------------------------------------------------------------


def test_a_job_that_is_read_is_cancelled_under_its_worker_and_goes_on_when_it_is_put_back(world: World) -> None:
    world.planned("a1", "b1")
    assert world.claim("a1")
    done = world.repository.cancel(STUDY, "anna")
    assert (done.ready, done.jobs) == (True, 2)
    assert world.jobs() == {"a1": "CANCELLED", "b1": "CANCELLED"}
    assert world.state() == "FAILED"
    assert world.reason() == "cancelled by anna before a worker took it up; cancelled by anna while it was being read"
    assert not world.repository.extend_lease("a1", "w", 60)
    assert not world.save("a1"), "nothing of it is recorded"
    world.repository.give_back("a1", "w", "no memory", 0)
    world.repository.record_trouble("a1", "w", FULL, 3, 0)
    assert world.jobs()["a1"] == "CANCELLED"
    assert world.repository.next_job() is None and world.claim("b1") is None
    world.tick(1000)
    assert not world.repository.take_due().jobs
    world.receive()
    assert world.jobs()["a1"] == "CANCELLED", "images that come again put nothing back that a person stopped"
    assert world.repository.requeue(STUDY, "bob").jobs == 2
    told = [event.told for event in world.repository.job("a1").history]
    assert told == ["cancelled by anna while it was being read", "put back by bob"]
    assert world.answer("a1")


def test_what_is_cancelled_stays_so_in_a_new_generation_unless_a_person_wants_it_read(world: World) -> None:
    world.planned("a1", "b1")
    world.answer("b1")
    world.repository.cancel(STUDY, "anna")
    world.reopen()
    world.plan("a1", "b1", generation=2)
    assert world.jobs() == {"a1": "CANCELLED", "b1": "CANCELLED"}
    assert not world.repository.take_due().deliveries
    assert world.repository.reopen(STUDY, "again")
    world.plan("a1", "b1", generation=3)
    assert world.jobs() == {"a1": "PLANNED", "b1": "DELIVERING"}


def test_results_that_are_being_sent_are_stopped_and_what_an_archive_took_is_known(world: World) -> None:
    world.planned("a1")
    world.answer("a1")
    seg, report = world.send("a1")
    world.repository.cancel(STUDY, "anna")
    assert world.jobs() == {"a1": "CANCELLED"}
    assert not world.record(seg, DeliveryState.DELIVERED), "it is recorded, and nothing more is to be sent"
    world.release("a1")
    world.tick(1000)
    assert not world.repository.take_due().deliveries and world.send("a1") == []
    states = {one.sop_instance_uid: one.state for one in world.deliveries("a1")}
    assert states == {seg: DeliveryState.DELIVERED, report: DeliveryState.PENDING}
    assert world.repository.requeue(STUDY, "bob").objects == 1
    assert world.send("a1") == [report]
    assert world.record(report, DeliveryState.DELIVERED)
    assert world.state() == "DELIVERED"


def test_what_is_over_or_not_planned_yet_is_not_cancelled(world: World) -> None:
    world.receive()
    done = world.repository.cancel(STUDY, "anna")
    assert (done.ready, done.outcome) == (False, "RECEIVING: it is planned in any case, soon; cancel it then")
    world.make_complete()
    world.plan("a1")
    world.answer("a1")
    world.deliver("a1")
    assert not world.repository.cancel(STUDY, "anna").ready
    assert world.state() == "DELIVERED"


# --- Sent again -------------------------------------------------------------------------------------------------------


def test_results_are_sent_again_to_one_archive_or_all(world: World) -> None:
    world.planned("a1", destinations=TWO)
    world.answer("a1")
    world.deliver("a1")
    world.deliver("a1", archive="viewer")
    assert world.state() == "DELIVERED"
    done = world.repository.resend(STUDY, "anna", "viewer")
    assert (done.ready, done.jobs, done.objects) == (True, 1, 2)
    assert (world.state(), world.reason()) == ("DELIVERING", "sent again: anna asked for it")
    assert world.repository.take_due().deliveries == [("a1", "viewer")]
    assert world.send("a1") == []
    world.deliver("a1", archive="viewer")
    assert world.state() == "DELIVERED"
    assert world.repository.resend(STUDY, "anna").objects == 4
    assert world.repository.job("a1").history[-1].told == "sent again: anna asked for it"
    assert not world.repository.resend(STUDY, "anna", "elsewhere").ready


@pytest.mark.parametrize("refused", [False, True])
def test_what_an_archive_had_is_still_taken_back_if_it_is_replaced_after_it_was_sent_again(
    world: World, refused: bool
) -> None:
    world.planned("a1")
    world.answer("a1")
    world.deliver("a1")
    world.repository.resend(STUDY, "anna")
    if refused:
        for uid in world.send("a1"):
            assert world.record(uid, DeliveryState.REJECTED, "there already")
        world.release("a1")
        assert world.state() == "FAILED"
    world.reopen()
    world.plan("a2", generation=2)
    world.answer("a2")
    world.deliver("a2")
    assert len(world.repository.claim_retractions(STUDY, "pacs", 60)) == 2


def test_a_study_without_saved_results_has_nothing_to_send(world: World) -> None:
    world.planned("a1")
    done = world.repository.resend(STUDY, "anna")
    assert (done.ready, done.outcome) == (False, "PLANNED: no saved result of it is to be anywhere")
    give_up(world, "a1")
    assert not world.repository.resend(STUDY, "anna").ready
