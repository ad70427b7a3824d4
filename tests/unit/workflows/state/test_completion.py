"""Completion: what is known of a study, what was announced of it, and what comes after it was read."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dicom_node.headers.patient import Patient
from workflows.state.records import NewInstance
from workflows.state.waker import RecordingWaker
from workflows.steps.complete import complete_quiet_studies

if TYPE_CHECKING:
    from .conftest import World

STUDY = "1.2.3"


def look(world: World) -> list[str]:
    return complete_quiet_studies(world.repository, RecordingWaker())


def announce(world: World, *numbers: int, by: str = "PACS") -> None:
    world.repository.announce(STUDY, by, [f"1.2.3.1.{number}" for number in numbers])


def test_no_study_is_complete_while_an_older_instance_waits_to_be_indexed(world: World) -> None:
    world.receive()
    world.tick(61)
    quiet_since = world.clock[0] - timedelta(seconds=1)
    assert world.repository.complete_quiet_studies(quiet_since - timedelta(seconds=0.5)) == []
    assert world.repository.complete_quiet_studies(quiet_since) == []
    assert world.repository.complete_quiet_studies(quiet_since + timedelta(seconds=0.5)) == [STUDY]


def test_a_study_that_something_came_of_meanwhile_is_not_completed(world: World) -> None:
    world.receive(1)
    world.tick(60)
    (quiet,) = world.repository.quiet_studies()
    world.receive(2)
    assert not world.repository.complete_study(quiet, "proved: all here")
    assert (world.state(), world.study().evidence) == ("RECEIVING", "")


def test_attempts_count_from_the_last_instance(world: World) -> None:
    world.receive(1)
    world.tick(60)
    for attempts in range(3):
        (quiet,) = world.repository.quiet_studies()
        assert quiet.attempts == attempts
        world.repository.wait_longer(quiet, "waits for 1 of 2", 10)
        assert world.reason() == "waits for 1 of 2" and look(world) == []
        world.tick(10)
    world.receive(2)
    world.tick(60)
    (quiet,) = world.repository.quiet_studies()
    assert quiet.attempts == 0


def test_all_that_was_announced_is_here_so_the_study_is_complete_soon(world: World) -> None:
    announce(world, 1, 2)
    world.receive(1)
    world.tick(3)
    assert look(world) == []
    world.receive(2)
    world.tick(1.9)
    assert look(world) == []
    world.tick(0.1)
    assert look(world) == [STUDY]
    assert world.study().evidence == "announced by PACS: 2 instances, all here"
    assert world.reason() == "2 instances; announced by PACS: 2 instances, all here"


def test_what_comes_beside_an_announcement_may_be_of_more_so_the_quiet_period_holds(world: World) -> None:
    announce(world, 1)
    world.receive(1)
    world.receive(2)
    world.tick(59)
    assert look(world) == []
    world.tick(1)
    assert look(world) == [STUDY]
    assert world.study().evidence == "announced by PACS: 1 instances, all here; 1 more came"


def test_what_was_announced_and_is_missing_is_waited_for_and_told(world: World) -> None:
    announce(world, 1, 2, 3)
    world.receive(1)
    world.tick(60)
    for _ in range(10):
        assert look(world) == []
        assert world.reason() == "waits for 2 of 3 instances that PACS announced"
        world.tick(60)
    assert look(world) == [STUDY]
    told = "2 of 3 instances that PACS announced did not come"
    assert world.study().evidence == f"assumed: {told}; nothing new from CT1 for 660 s"
    assert world.study().attention == told
    world.receive(2)
    world.receive(3)
    world.tick(2)
    assert look(world) == [STUDY]
    assert (world.study().evidence, world.study().attention) == ("announced by PACS: 3 instances, all here", "")


def test_announcements_of_one_study_add_up(world: World) -> None:
    announce(world, 1)
    announce(world, 2)
    announce(world, 2, 3, by="RIS")
    world.receive(1)
    world.tick(2)
    assert look(world) == []
    world.receive(2)
    world.receive(3)
    world.tick(2)
    assert look(world) == [STUDY]
    assert world.study().evidence == "announced by PACS, RIS: 3 instances, all here"


# --- Images that come after a study was read --------------------------------------------------------------------------


def late(world: World, number: int, digest: str = "a", *, patient: Patient | None = None, image: bool = True) -> None:
    new = NewInstance(
        STUDY, "1.2.3.1", f"1.2.3.1.{number}", "c", "t", Path(f"1.2.3.1/{number}.{digest}"), 1, digest, "CT1",
        image=image, patient=patient, keep_late=True,
    )  # fmt: skip
    world.repository.record_instances([new], lambda _title: 60)


def read(world: World) -> None:
    world.planned("a1")
    world.answer("a1")
    world.deliver("a1")


def test_late_images_are_kept_and_not_read_where_that_is_set(world: World) -> None:
    read(world)
    late(world, 2)
    late(world, 3)
    assert (world.state(), world.generation(), world.jobs()) == ("DELIVERED", 1, {"a1": "DELIVERED"})
    told = "2 images came after it was read and were kept, not read: `medseg-node reread --study 1.2.3` reads them"
    assert world.study().attention == told
    assert len(world.repository.instances(STUDY)) == 3
    assert world.repository.reopen(STUDY, "a person wants it")
    assert (world.state(), world.study().attention) == ("COMPLETE", "")


def test_images_before_a_study_was_read_are_read_whatever_is_set(world: World) -> None:
    late(world, 1)
    world.make_complete()
    assert world.plan("a1")
    late(world, 2)
    assert (world.state(), world.generation(), world.study().attention) == ("RECEIVING", 2, "")


def test_a_late_image_that_names_another_patient_is_never_only_kept(world: World) -> None:
    late(world, 1, patient=Patient("P1"))
    world.make_complete()
    assert world.plan("a1")
    world.answer("a1")
    world.deliver("a1")
    late(world, 1, "b", patient=Patient("P2"))
    assert (world.state(), world.generation()) == ("RECEIVING", 2)


# --- The bytes that were read -----------------------------------------------------------------------------------------


def row(world: World) -> tuple[str, str, str | None]:
    (one,) = world.repository.instances(STUDY)
    return one.digest, one.input_digest, None if one.read_path is None else str(one.read_path)


def test_bytes_that_were_read_stay_beside_new_ones_until_both_are_compared(world: World) -> None:
    read(world)
    assert world.receive(1, "b") is None, "no file is to be discarded yet"
    assert row(world) == ("b", "b", "1.2.3.1/1.a")
    assert world.receive(1, "c") == "1.2.3.1/1.b", "nothing has read that one"
    assert row(world) == ("c", "c", "1.2.3.1/1.a")
    world.make_complete()
    assert world.repository.record_compared(STUDY, 2, {"1.2.3.1.1"}, set())
    assert row(world) == ("c", "a", None)


def test_what_holds_the_same_is_compared_once_more_when_it_changes_once_more(world: World) -> None:
    read(world)
    world.receive(1, "b")
    world.make_complete()
    world.repository.record_compared(STUDY, 2, {"1.2.3.1.1"}, set())
    assert world.plan("a1", generation=2)
    assert world.receive(1, "c") is None
    assert row(world) == ("c", "c", "1.2.3.1/1.b")
    world.make_complete()
    assert world.repository.record_compared(STUDY, 3, set(), {"1.2.3.1.1"})
    assert row(world) == ("c", "c", None)


def test_the_very_bytes_that_were_read_come_back(world: World) -> None:
    read(world)
    world.receive(1, "b")
    assert world.receive(1, "a") == "1.2.3.1/1.b"
    assert row(world) == ("a", "a", None)


def test_a_study_that_goes_on_is_not_told_what_was_compared(world: World) -> None:
    read(world)
    world.receive(1, "b")
    assert not world.repository.record_compared(STUDY, 2, {"1.2.3.1.1"}, set())
    assert row(world) == ("b", "b", "1.2.3.1/1.a")


@pytest.mark.parametrize("image", [True, False])
def test_bytes_that_nothing_has_read_are_replaced(world: World, image: bool) -> None:
    world.receive(1, image=image)
    assert world.receive(1, "b", image=image) == "1.2.3.1/1.a"
