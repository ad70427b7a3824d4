"""Repository, first half: instances come in, once, changed or late, and a quiet study is complete."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from threading import Barrier
from typing import TYPE_CHECKING

from workflows.state.records import NewInstance

if TYPE_CHECKING:
    from .conftest import World

STUDY = "1.2.3"


def test_an_identical_instance_changes_nothing(world: World) -> None:
    assert world.receive() is None
    first = world.repository.study(STUDY)
    world.tick(5)
    assert world.receive() is None
    again = world.repository.study(STUDY)
    assert first is not None and again is not None
    assert (again.last_received_at, again.generation) == (first.last_received_at, 1)
    assert [str(row.path) for row in world.repository.instances(STUDY)] == ["1.2.3.1/1.a"]


def test_the_same_bytes_in_another_file_take_the_place_of_one_that_was_gone_or_damaged(world: World) -> None:
    world.planned("a1")
    assert world.receive(path="elsewhere") == "1.2.3.1/1.a", "to be discarded"
    assert [str(row.path) for row in world.repository.instances(STUDY)] == ["elsewhere"]
    assert (world.state(), world.generation()) == ("PLANNED", 1)


def test_an_identical_instance_does_not_reopen_a_complete_study(world: World) -> None:
    world.planned("a1")
    assert world.receive() is None
    assert (world.state(), world.generation()) == ("PLANNED", 1)


def test_a_changed_instance_replaces_the_path_and_names_the_old_one(world: World) -> None:
    world.receive()
    assert world.receive(digest="b") == "1.2.3.1/1.a"
    (row,) = world.repository.instances(STUDY)
    assert (str(row.path), row.digest, row.generation) == ("1.2.3.1/1.b", "b", 1)
    assert world.receive(digest="c", path=str(row.path)) is None, "the same path is not to be discarded"


def test_a_new_instance_opens_a_generation_of_a_complete_study_only(world: World) -> None:
    world.receive(1)
    world.receive(2)
    assert (world.state(), world.generation()) == ("RECEIVING", 1)
    world.make_complete()
    world.receive(3)
    assert (world.state(), world.generation()) == ("RECEIVING", 2)
    waits = "complete once nothing new comes from CT1 for 60 s"
    assert world.reason() == f"generation 2 opened by a new instance; {waits}"
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
    assert world.reason() == "2 instances; assumed: nothing new from CT1 for 60 s"


def test_each_source_has_its_own_quiet_period(world: World) -> None:
    world.receive(quiet_s=5)
    assert world.reason() == "complete once nothing new comes from CT1 for 5 s"
    world.tick(4.9)
    assert world.complete() == []
    world.tick(0.1)
    assert world.complete() == [STUDY]


def test_only_images_open_a_generation(world: World) -> None:
    world.planned("a1")
    assert world.receive(1, series="1.2.3.9", image=False) is None
    assert (world.state(), world.generation(), world.reason()) == ("PLANNED", 1, "planned")
    assert len(world.repository.instances(STUDY)) == 2, "it is kept"
    assert world.receive(1, "b", series="1.2.3.9", image=False) == "1.2.3.9/1.a"
    assert world.generation() == 1
    world.receive(2)
    assert world.generation() == 2


def test_what_came_last_while_a_study_is_received_is_waited_for_whatever_it_is(world: World) -> None:
    world.receive()
    world.tick(59)
    world.receive(1, series="1.2.3.9", image=False)
    world.tick(59)
    assert world.complete() == []


def test_the_same_instance_is_one_of_our_results_or_not(world: World) -> None:
    world.planned("a1")
    world.answer("a1")
    (seg, _report) = world.repository.objects("a1")
    assert world.repository.own_results(["1.2.3.1.1", seg.sop_instance_uid]) == {seg.sop_instance_uid}


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


def test_what_stands_in_a_header_closes_no_intake(world: World) -> None:
    odd = "\0" + "x" * 1000 + "\ud800"
    new = NewInstance(
        STUDY, "1.2.3.1", "1.2.3.1.1", "c", "t", Path("p"), 1, "d", "CT1",
        modality=odd, series_description=odd, accession_number=odd,
    )  # fmt: skip
    assert world.repository.record_instances([new], lambda _title: 60) == [None]
    assert world.study().accession_number == "x" * 64


def batch_of(study: str, numbers: list[int], digests: str) -> list[NewInstance]:
    classes = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1")
    return [
        NewInstance(study, f"{study}.{number % 2}", f"{study}.9.{number}", *classes, Path(f"{study}/{number}.{digest}"),
                    10, digest, "CT1", image=number % 5 != 0)
        for number, digest in zip(numbers, digests, strict=True)
    ]  # fmt: skip


def known(world: World, study: str) -> list[tuple[str, str, int]]:
    rows = world.repository.instances(study)
    return [(row.path.name, row.digest, row.generation) for row in rows]


def test_a_batch_is_what_its_instances_are_one_by_one(world: World) -> None:
    random = Random(4)
    for turn in range(3):
        numbers = [random.randrange(8) for _ in range(20)]
        digests = "".join(random.choice("ab") for _ in numbers)
        together = world.repository.record_instances(batch_of("1.2.3", numbers, digests), lambda _title: 60)
        alone = [
            world.repository.record_instances([one], lambda _title: 60)[0]
            for one in batch_of("1.2.4", numbers, digests)
        ]
        assert [one and one.split("/")[1] for one in together] == [one and one.split("/")[1] for one in alone]
        assert known(world, "1.2.3") == known(world, "1.2.4")
        if turn == 1:
            world.tick(60)
            assert world.complete() == ["1.2.3", "1.2.4"]


def test_batches_of_the_same_studies_in_any_order_never_wait_in_a_circle(world: World) -> None:
    studies = [f"1.2.{number}" for number in range(12)]
    barrier = Barrier(4)

    def record(seed: int) -> None:
        random = Random(seed)
        for turn in range(5):
            mixed = random.sample(studies, len(studies))
            barrier.wait(30)
            news = [one for study in mixed for one in batch_of(study, [10 * seed + turn], "a")]
            world.repository.record_instances(news, lambda _title: 60)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(record, range(4)))
    assert {len(world.repository.instances(study)) for study in studies} == {20}
