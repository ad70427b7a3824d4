"""Instances whose files are gone: a study is never read without them, and heals when they come again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import World

STUDY = "1.2.3"
SECOND = "1.2.3.1/2.a"


def paths(world: World) -> list[str]:
    return [str(row.path) for row in world.repository.instances(STUDY)]


def two(world: World) -> None:
    world.receive(1)
    world.receive(2)


@pytest.mark.parametrize("stage", ["COMPLETE", "PLANNED", "PREDICTING"])
def test_a_study_still_to_be_read_is_received_anew_and_fails_when_quiet(world: World, stage: str) -> None:
    two(world)
    world.make_complete()
    if stage != "COMPLETE":
        assert world.plan("a1")
    if stage == "PREDICTING":
        assert world.claim("a1") is not None
    assert world.state() == stage
    world.repository.lose_instances(STUDY, [SECOND])
    assert (world.state(), world.generation()) == ("RECEIVING", 2)
    assert paths(world) == ["1.2.3.1/1.a"]
    assert world.complete() == []
    assert world.state() == "FAILED"
    assert world.reason() == "lost from the store after they were received: 1.2.3.1.2; send the study again"
    assert not world.repository.take_due().jobs and world.claim("a1", "v") is None


def test_a_study_that_is_being_received_waits_its_quiet_period_for_them(world: World) -> None:
    two(world)
    world.repository.lose_instances(STUDY, [SECOND])
    assert (world.state(), world.generation()) == ("RECEIVING", 1)
    assert world.complete() == []
    assert world.state() == "RECEIVING" and "1.2.3.1.2" in world.reason()
    assert world.receive(2) is None
    world.make_complete()
    assert paths(world) == ["1.2.3.1/1.a", SECOND]


def test_a_resend_heals_a_failed_study_and_its_job_carries_over(world: World) -> None:
    two(world)
    world.make_complete()
    assert world.plan("a1")
    world.repository.lose_instances(STUDY, [SECOND])
    world.complete()
    assert world.receive(1) is None
    assert world.state() == "FAILED", "what was not lost changes nothing"
    assert world.receive(2) is None
    assert (world.state(), world.generation()) == ("RECEIVING", 3)
    assert world.reason().startswith("generation 3 opened by an instance that was lost and came again; complete once")
    world.make_complete()
    assert world.plan("a1", generation=3)
    assert world.repository.lost_instances(STUDY) == []
    world.answer("a1")
    world.deliver("a1")
    assert world.state() == "DELIVERED"


def test_as_long_as_one_is_missing_the_study_fails_again(world: World) -> None:
    for number in range(1, 6):
        world.receive(number)
    world.repository.lose_instances(STUDY, [f"1.2.3.1/{number}.a" for number in range(1, 6)])
    world.tick(60)
    world.complete()
    assert world.state() == "FAILED"
    assert world.reason().endswith(": 1.2.3.1.1, 1.2.3.1.2, 1.2.3.1.3 and 2 more; send the study again")
    for number in range(1, 5):
        world.receive(number)
    world.tick(60)
    assert world.complete() == []
    assert (world.state(), world.reason().count("1.2.3.1.")) == ("FAILED", 1)


def test_what_was_read_already_stands(world: World) -> None:
    two(world)
    world.make_complete()
    assert world.plan("a1")
    world.answer("a1")
    world.repository.lose_instances(STUDY, [SECOND])
    assert (world.state(), world.generation()) == ("DELIVERING", 1)
    world.deliver("a1")
    assert world.state() == "DELIVERED"
    assert [str(row.path) for row in world.repository.lost_instances(STUDY)] == [SECOND]
    assert world.receive(2, path="elsewhere") is None
    assert (world.state(), world.generation()) == ("DELIVERED", 1), "an identical instance starts nothing"
    assert world.repository.lost_instances(STUDY) == []
    assert paths(world) == ["1.2.3.1/1.a", "elsewhere"]


def test_a_late_slice_of_a_delivered_study_that_lost_one_does_not_hide_the_loss(world: World) -> None:
    two(world)
    world.make_complete()
    assert world.plan("a1")
    world.answer("a1")
    world.deliver("a1")
    world.repository.lose_instances(STUDY, [SECOND])
    world.receive(3)
    world.tick(60)
    assert world.complete() == []
    assert world.state() == "FAILED" and "1.2.3.1.2" in world.reason()


def test_a_changed_instance_takes_the_place_of_a_lost_one(world: World) -> None:
    two(world)
    world.repository.lose_instances(STUDY, [SECOND])
    assert world.receive(2, digest="b") == SECOND
    world.make_complete()
    assert [row.digest for row in world.repository.instances(STUDY)] == ["a", "b"]


def test_to_lose_what_is_lost_or_unknown_changes_nothing(world: World) -> None:
    two(world)
    world.make_complete()
    world.repository.lose_instances(STUDY, [SECOND])
    world.repository.lose_instances(STUDY, [SECOND, "nowhere"])
    assert world.generation() == 2
    assert paths(world) == ["1.2.3.1/1.a"]


def test_a_job_of_an_earlier_generation_is_not_claimed(world: World) -> None:
    world.planned("a1")
    world.receive(2)
    assert world.claim("a1") is None
    world.make_complete()
    assert world.plan("a1", generation=2)
    assert world.claim("a1") is not None
