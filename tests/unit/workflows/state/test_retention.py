"""Removing images, purging studies and the audit, on both databases."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from workflows.state.keeping import KeepingRules
from workflows.state.states import DeliveryState, RetractionState

if TYPE_CHECKING:
    from .conftest import World

STUDY = "1.2.3"
DAY = 86400.0
BOTH = KeepingRules(after_commitment=timedelta(days=7), uncommitted=timedelta(days=30))
SEG, REPORT = "2.25.SEG.air.a1", "2.25.SR.air.a1"


def delivered(world: World) -> None:
    world.planned("a1")
    world.answer("a1")
    world.deliver("a1")
    assert world.state() == "DELIVERED"


def seen(world: World, *uids: str) -> None:
    world.repository.record_seen("a1", "pacs", uids)


def due(world: World, rules: KeepingRules = BOTH) -> bool:
    """Whether the study's images are due; both ways of asking agree."""
    there = [one.sop_instance_uid for one in world.repository.inputs_to_remove(STUDY, rules)]
    if there:
        assert STUDY in world.repository.studies_to_relieve(rules)
    return bool(there)


def removed(world: World, rules: KeepingRules = BOTH) -> None:
    assert world.repository.remove_inputs(STUDY, rules)
    world.repository.finish_removal(STUDY)


def test_images_go_a_set_time_after_every_result_is_known_to_be_kept(world: World) -> None:
    delivered(world)
    seen(world, SEG)
    world.tick(8 * DAY)
    assert not due(world), "the archive has not shown the report yet"
    seen(world, REPORT)
    world.tick(6.9 * DAY)
    assert not due(world)
    world.tick(0.2 * DAY)
    assert due(world) and not due(world, KeepingRules(uncommitted=timedelta(days=1)))
    removed(world)
    assert list(world.repository.studies_to_relieve(BOTH)) == [] and world.repository.instances(STUDY) == []
    assert (world.state(), world.repository.lost_instances(STUDY)) == ("DELIVERED", [])
    assert world.repository.inputs_removed_at(STUDY) == world.clock[0]


def test_what_no_archive_confirms_is_kept_as_long_as_what_failed(world: World) -> None:
    delivered(world)
    world.tick(29 * DAY)
    assert not due(world) and not due(world, KeepingRules(after_commitment=timedelta(0)))
    world.tick(DAY)
    assert due(world)


@pytest.mark.parametrize("state", ["UNMATCHED", "FAILED"])
def test_a_study_that_ended_without_results(world: World, state: str) -> None:
    world.receive()
    world.make_complete()
    if state == "FAILED":
        world.repository.fail_study(STUDY, 1, "unreadable")
    else:
        assert world.plan()
    assert world.state() == state
    world.tick(29 * DAY)
    assert not due(world)
    world.tick(DAY)
    assert due(world) and not due(world, KeepingRules(after_commitment=timedelta(0)))


@pytest.mark.parametrize("stage", ["RECEIVING", "COMPLETE", "PLANNED", "PREDICTING", "DELIVERING", "HELD"])
def test_a_study_at_work_keeps_its_images(world: World, stage: str) -> None:
    world.receive()
    if stage != "RECEIVING":
        world.make_complete()
    if stage == "HELD":
        world.repository.hold_study(STUDY, 1, "two patients")
    elif stage not in ("RECEIVING", "COMPLETE"):
        assert world.plan("a1")
    if stage in ("PREDICTING", "DELIVERING"):
        assert world.claim("a1") is not None
    if stage == "DELIVERING":
        world.save("a1")
    assert world.state() == stage
    world.tick(1000 * DAY)
    assert not due(world)
    assert world.repository.remove_inputs(STUDY, BOTH) == []


def test_open_retractions_keep_the_images(world: World) -> None:
    delivered(world)
    world.reopen()
    assert world.plan("a2", generation=2)
    world.answer("a2")
    world.deliver("a2")
    world.repository.record_seen("a2", "pacs", ["2.25.SEG.air.a2", "2.25.SR.air.a2"])
    world.tick(100 * DAY)
    assert not due(world)
    claimed = world.repository.claim_retractions(STUDY, "pacs", 60)
    uids = [one.result.sop_instance_uid for one in claimed]
    world.repository.record_retractions(STUDY, "pacs", uids, RetractionState.DONE, "deleted")
    assert due(world)


def test_an_identical_instance_that_comes_again_is_there_again_and_starts_nothing(world: World) -> None:
    delivered(world)
    seen(world, SEG, REPORT)
    world.tick(8 * DAY)
    removed(world)
    assert not world.repository.reopen(STUDY, "again")
    assert world.receive() is None
    assert (world.state(), world.generation()) == ("DELIVERED", 1)
    assert len(world.repository.instances(STUDY)) == 1 and world.repository.inputs_removed_at(STUDY) is None
    world.tick(6 * DAY)
    assert not due(world), "it is kept from when it came again"
    world.tick(1.1 * DAY)
    assert due(world)
    assert world.repository.reopen(STUDY, "again")


def test_a_late_image_of_a_study_without_its_images_has_them_asked_for_again(world: World) -> None:
    delivered(world)
    seen(world, SEG, REPORT)
    world.tick(8 * DAY)
    removed(world)
    world.receive(2)
    world.tick(60)
    assert world.complete() == [] and world.state() == "FAILED"
    assert "1.2.3.1.1 (removed by retention on 2026-01-10)" in world.reason()
    assert world.repository.due_recoveries() == [STUDY]
    world.receive(1)
    world.make_complete()
    assert len(world.repository.instances(STUDY)) == 2


def test_a_failed_job_without_its_images_is_not_put_back_until_they_are_there(world: World) -> None:
    world.planned("a1")
    assert world.repository.claim_job("a1", "w", 60, 3)
    world.repository.fail_job("a1", "w", "no geometry")
    world.tick(31 * DAY)
    removed(world)
    for dry_run in (True, False):
        said = world.repository.requeue(STUDY, "anna", dry_run=dry_run)
        assert not said.ready and "removed on" in said.outcome and "send the study again" in said.outcome
    assert world.state() == "FAILED", "a job without images would be taken up and given back for ever"
    world.receive()
    assert world.repository.requeue(STUDY, "anna").jobs == 1 and world.state() == "PLANNED"


def test_the_sweep_does_not_take_removed_images_for_lost(world: World) -> None:
    delivered(world)
    seen(world, SEG, REPORT)
    world.tick(8 * DAY)
    removed(world)
    assert [rows for _, rows in world.repository.held_studies()] == [[]]
    world.repository.lose_instances(STUDY, ["1.2.3.1/1.a"])
    assert world.repository.lost_instances(STUDY) == [] and not world.repository.holds_instances()
    assert world.repository.bytes_held() == 0


# --- Purging ----------------------------------------------------------------------------------------------------------


def test_a_purge_deletes_every_row_and_leaves_an_audit_line(world: World) -> None:
    delivered(world)
    assert world.repository.purgeable(STUDY) is not None
    purged = world.repository.purge(STUDY, "anna")
    assert purged is not None and (purged.instances, purged.bytes, purged.jobs, purged.results) == (1, 10, 1, 2)
    assert world.repository.study(STUDY) is None and world.repository.study_views() == []
    assert list(world.repository.unfinished_purges()) == [STUDY] and world.repository.is_purged(STUDY)
    world.repository.finish_purge(STUDY)
    assert not world.repository.is_purged(STUDY)
    (line,) = world.repository.audit_entries("purge")
    assert (line.who, line.subject, line.at) == ("anna", STUDY, world.clock[0])
    assert line.counts == {"instances": 1, "bytes": 10, "jobs": 1, "results": 2}
    assert world.repository.purge(STUDY, "anna") is None and len(world.repository.audit_entries()) == 1


def test_a_purged_study_that_comes_again_is_new(world: World) -> None:
    delivered(world)
    world.repository.purge(STUDY, "anna")
    world.receive()
    assert (world.state(), world.generation()) == ("RECEIVING", 1)
    world.make_complete()
    assert world.plan("a1")
    world.answer("a1")
    world.deliver("a1")
    assert world.state() == "DELIVERED"


@pytest.mark.parametrize("stage", ["RECEIVING", "COMPLETE", "PREDICTING", "DELIVERING"])
def test_a_study_at_work_is_not_purged(world: World, stage: str) -> None:
    world.receive()
    if stage != "RECEIVING":
        world.make_complete()
    if stage in ("PREDICTING", "DELIVERING"):
        assert world.plan("a1") and world.claim("a1") is not None
    if stage == "DELIVERING":
        world.save("a1")
        uids = world.send("a1")
        assert world.record(uids[0], DeliveryState.PENDING)
    purged = world.repository.purge(STUDY, "anna")
    assert purged is not None and stage in purged.refused
    assert world.state() == stage and world.repository.audit_entries() == []


def test_a_study_whose_results_are_still_to_be_taken_back_is_not_purged(world: World) -> None:
    delivered(world)
    world.reopen()
    assert world.plan("a2", generation=2)
    world.answer("a2")
    world.deliver("a2")
    purged = world.repository.purge(STUDY, "anna")
    assert purged is not None and "taken back" in purged.refused


def test_the_audit_is_in_order(world: World) -> None:
    world.repository.record_audit("anna", "reread", "1.2.3", {"studies": 1})
    world.tick(1)
    world.repository.record_audit("b" * 300, "purge", "1.2.4")
    first, second = world.repository.audit_entries()
    assert (first.action, first.counts, second.counts, len(second.who)) == ("reread", {"studies": 1}, {}, 256)
    assert first.number < second.number and first.at < second.at
