"""The clock: it jumps, or nobody looked for a while; what is due stays as far away as it was."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from workflows.state.clock import Jump
from workflows.steps.complete import ClockWatch, seconds_until_due

if TYPE_CHECKING:
    from .conftest import World

HOUR = 3600.0


@dataclass
class Machine:
    """A wall clock that jumps and one that does not, and the scheduler that reads both."""

    world: World
    steady: float = 1000.0

    def __post_init__(self) -> None:
        clock = self.world.clock
        self.watch = ClockWatch(self.world.repository, "host:1", clock=lambda: clock[0], monotonic=lambda: self.steady)

    def look(self, quiet_s: float = 60) -> list[str]:
        self.watch.look(lambda _title: quiet_s)
        return self.world.complete()

    def pass_time(self, seconds: float) -> None:
        self.steady += seconds
        self.world.tick(seconds)


@pytest.fixture
def machine(world: World) -> Machine:
    found = Machine(world)
    found.look()
    return found


@pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=["ahead", "back"])
def test_a_quiet_period_is_as_long_as_it_is_when_the_clock_jumps(machine: Machine, jump: float) -> None:
    machine.world.receive()
    machine.pass_time(40)
    machine.world.tick(jump)
    assert machine.look() == []
    machine.pass_time(19)
    assert machine.look() == []
    machine.pass_time(1.5)
    assert machine.look() == ["1.2.3"]
    assert machine.world.reason() == "1 instances; assumed: nothing new from CT1 for 60.5 s"


def test_a_port_that_was_closed_gives_senders_a_whole_quiet_period_again(machine: Machine) -> None:
    machine.world.receive()
    machine.pass_time(59)
    machine.world.repository.wait_anew(lambda _title: 60)
    machine.pass_time(59)
    assert machine.look() == []
    machine.pass_time(1)
    assert machine.look() == ["1.2.3"]


@pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=["ahead", "back"])
def test_what_comes_between_a_jump_and_the_next_look_is_right_already(machine: Machine, jump: float) -> None:
    machine.pass_time(1)
    machine.world.tick(jump)
    machine.world.receive()
    machine.pass_time(0.5)
    assert machine.look() == []
    machine.pass_time(59)
    assert machine.look() == []
    machine.pass_time(1)
    assert machine.look() == ["1.2.3"]


@pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=["ahead", "back"])
def test_what_came_by_a_process_that_saw_the_jump_earlier_is_right_already(machine: Machine, jump: float) -> None:
    machine.world.tick(jump)
    machine.world.receive()
    machine.pass_time(2)
    assert machine.world.repository.shift_clock(Jump(timedelta(seconds=jump), ago_s=0.2), "host:1")
    machine.pass_time(57)
    assert machine.world.complete() == []
    machine.pass_time(1.5)
    assert machine.world.complete() == ["1.2.3"]


@pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=["ahead", "back"])
def test_a_dead_workers_lease_ends_when_it_would_have(machine: Machine, jump: float) -> None:
    machine.world.planned("a1")
    machine.steady += 60
    machine.look()
    assert machine.world.claim("a1") is not None
    machine.pass_time(10)
    machine.world.tick(jump)
    machine.look()
    machine.pass_time(45)
    assert machine.world.claim("a1", "other") is None, "its worker may be alive"
    machine.pass_time(10)
    assert machine.world.repository.take_due().jobs == ["a1"]
    assert machine.world.claim("a1", "other") is not None


@pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=["ahead", "back"])
def test_a_heartbeat_between_a_jump_and_the_next_look_keeps_its_lease(machine: Machine, jump: float) -> None:
    machine.world.planned("a1")
    machine.steady += 60
    machine.look()
    assert machine.world.claim("a1") is not None
    machine.pass_time(1)
    machine.world.tick(jump)
    assert machine.world.repository.extend_lease("a1", "w", 60)
    machine.pass_time(0.5)
    machine.look()
    assert machine.world.claim("a1", "other") is None
    machine.pass_time(61)
    machine.look()
    assert machine.world.claim("a1", "other") is not None, "it does not hold for an hour either"


@pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=["ahead", "back"])
def test_a_delivery_that_waits_is_tried_again_in_time(machine: Machine, jump: float) -> None:
    machine.world.planned("a1")
    machine.steady += 60
    machine.look()
    machine.world.answer("a1")
    assert machine.world.send("a1")
    machine.world.release("a1", "away", 300)
    machine.world.tick(jump)
    machine.look()
    machine.pass_time(290)
    machine.look()
    assert machine.world.repository.take_due().deliveries == []
    machine.pass_time(11)
    assert machine.world.repository.take_due().deliveries == [("a1", "pacs")]


def test_a_clock_that_is_set_right_by_little_changes_nothing(machine: Machine) -> None:
    machine.world.receive()
    before = machine.world.study().last_received_at
    machine.world.tick(4)
    machine.look()
    assert machine.world.study().last_received_at == before


def test_two_schedulers_move_what_is_due_once(world: World) -> None:
    world.receive()
    world.tick(10 + HOUR)
    jump = Jump(timedelta(seconds=HOUR), ago_s=1)
    assert world.repository.shift_clock(jump, "host:1")
    world.tick(0.7)
    assert not world.repository.shift_clock(Jump(timedelta(seconds=HOUR + 0.3), ago_s=1), "host:2")
    world.tick(49)
    assert world.complete() == []
    world.tick(1)
    assert world.complete() == ["1.2.3"]


def test_the_same_scheduler_sees_a_second_jump(world: World) -> None:
    world.receive()
    for _ in range(2):
        world.tick(10 + HOUR)
        assert world.repository.shift_clock(Jump(timedelta(seconds=HOUR), ago_s=1), "host:1")
    world.tick(39)
    assert world.complete() == []
    world.tick(1)
    assert world.complete() == ["1.2.3"]


def resume(world: World, quiet_s: float = 60) -> None:
    world.repository.resume(lambda _title: quiet_s, "host:2")


def test_a_node_that_was_down_waits_a_whole_quiet_period_for_senders_that_wait(world: World) -> None:
    resume(world)
    world.receive()
    world.tick(HOUR)
    resume(world)
    world.tick(59)
    assert world.complete() == []
    world.tick(1)
    assert world.complete() == ["1.2.3"]


def test_a_role_that_was_started_again_at_once_begins_no_quiet_period_anew(world: World) -> None:
    world.receive()
    world.tick(50)
    world.repository.note_look()
    world.tick(10)
    resume(world)
    assert world.complete() == ["1.2.3"]


def test_nothing_waits_longer_than_its_quiet_period_after_a_start(world: World) -> None:
    world.receive(quiet_s=7200)
    world.repository.note_look()
    resume(world, 60)
    world.tick(60)
    assert world.complete() == ["1.2.3"]


def test_a_clock_that_went_back_while_nobody_looked_makes_nobody_wait_for_an_hour(world: World) -> None:
    world.planned("a1")
    assert world.claim("a1") is not None
    world.repository.note_look()
    world.tick(-HOUR)
    world.repository.resume(lambda _title: 60.0, "host:2")
    world.tick(61)
    assert world.repository.take_due().jobs == ["a1"]
    assert world.claim("a1", "other") is not None


def test_a_scheduler_rests_until_the_next_study_is_due_and_not_longer(world: World) -> None:
    def rest(looked_at_s: float = 0) -> float:
        looked_at = world.clock[0] - timedelta(seconds=looked_at_s)
        return seconds_until_due(world.repository, looked_at, 1.0, lambda: world.clock[0])

    assert rest() == 1.0, "nothing is received"
    world.receive()
    assert rest() == 1.0
    world.tick(59.75)
    assert rest() == 0.25
    world.tick(0.25)
    assert rest(0.1) == 0.05, "it became due since the look began"
    assert rest() == 1.0, "it was due before, and waits for something else"


@pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=["ahead", "back"])
def test_jobs_that_wait_are_taken_up_in_time_and_in_their_order(machine: Machine, jump: float) -> None:
    machine.world.planned("a1", "b1")
    machine.steady += 60
    machine.look()
    machine.world.repository.hold_job("a1", "no GPU", 300)
    machine.pass_time(1)
    machine.world.tick(jump)
    machine.look()
    assert machine.world.repository.next_job() == "b1"
    assert machine.world.claim("b1") is not None
    machine.pass_time(298)
    assert machine.world.repository.next_job() == "b1", "its worker is dead by now, and a1 is not due"
    assert machine.world.save("b1")
    machine.pass_time(2)
    assert machine.world.repository.next_job() == "a1"


@pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=["ahead", "back"])
def test_what_is_missing_is_asked_for_in_time(machine: Machine, jump: float) -> None:
    machine.world.receive(path="gone")
    machine.world.repository.lose_instances("1.2.3", ["gone"])
    assert machine.world.repository.claim_recovery("1.2.3", 900) is not None
    machine.world.repository.record_recovery("1.2.3", "", 300)
    machine.pass_time(1)
    machine.world.tick(jump)
    machine.look()
    machine.pass_time(298)
    assert machine.world.repository.due_recoveries() == []
    machine.pass_time(2)
    assert machine.world.repository.due_recoveries() == ["1.2.3"]
