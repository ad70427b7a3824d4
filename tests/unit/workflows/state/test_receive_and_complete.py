"""Repository, first half: instances come in, once, changed or late, and a quiet study is complete."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .conftest import World

STUDY = "1.2.3"


def test_an_identical_instance_changes_nothing(world: World) -> None:
    assert world.receive() is None
    first = world.repository.study(STUDY)
    world.tick(5)
    assert world.receive(path="elsewhere") is None
    again = world.repository.study(STUDY)
    assert first is not None and again is not None
    assert (again.last_received_at, again.generation) == (first.last_received_at, 1)
    assert [row.path for row in world.repository.instances(STUDY)] == ["1.2.3.1/1.a"]


def test_an_identical_instance_does_not_reopen_a_complete_study(world: World) -> None:
    world.planned("a1")
    assert world.receive() is None
    assert (world.state(), world.generation()) == ("PLANNED", 1)


def test_a_changed_instance_replaces_the_path_and_names_the_old_one(world: World) -> None:
    world.receive()
    assert world.receive(digest="b") == "1.2.3.1/1.a"
    (row,) = world.repository.instances(STUDY)
    assert (row.path, row.digest, row.generation) == ("1.2.3.1/1.b", "b", 1)
    assert world.receive(digest="c", path=row.path) is None, "the same path is not to be discarded"


def test_a_new_instance_opens_a_generation_of_a_complete_study_only(world: World) -> None:
    world.receive(1)
    world.receive(2)
    assert (world.state(), world.generation()) == ("RECEIVING", 1)
    world.make_complete()
    world.receive(3)
    assert (world.state(), world.generation()) == ("RECEIVING", 2)
    assert world.reason() == "generation 2 opened by a new instance"
    assert [row.generation for row in world.repository.instances(STUDY)] == [1, 1, 2]


def test_a_study_is_complete_after_its_quiet_period_and_not_before(world: World) -> None:
    world.receive(1)
    world.tick(59)
    world.receive(2)
    world.tick(59.9)
    assert world.complete() == []
    world.tick(0.1)
    assert world.complete() == [STUDY]
    assert (world.state(), world.complete()) == ("COMPLETE", [])
    assert world.reason() == "2 instances; nothing new from CT1 for 60 s"


def test_each_source_has_its_own_quiet_period(world: World) -> None:
    world.receive()
    world.tick(10)
    asked: list[str] = []
    assert world.repository.complete_quiet_studies(lambda title: asked.append(title) or 5.0) == [STUDY]  # type: ignore[func-returns-value]
    assert asked == ["CT1"]


def test_associations_that_bring_a_new_study_at_the_same_time_are_all_kept(world: World) -> None:
    count = 8
    barrier = Barrier(count)

    def receive(number: int) -> None:
        barrier.wait(10)
        world.receive(number, series=f"1.2.3.{number % 2}")

    with ThreadPoolExecutor(count) as pool:
        list(pool.map(receive, range(count)))
    assert len(world.repository.instances(STUDY)) == count
    assert world.generation() == 1
