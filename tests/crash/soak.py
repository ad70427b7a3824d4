"""The soak: many studies from many senders while processes of the node are killed at random."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from os import kill

from tests.crash.lines import Line
from tests.crash.node import PATIENCE_S
from tests.crash.scenes import Hospital, hospital
from tests.crash.senders import make_study, sending
from tests.services import await_true, listens, running_postgres, running_rabbitmq

__all__ = ["soak"]

_PAUSE_S = (3.0, 10.0)
_ON_S = 30.0
_LIMIT_S = 3600.0


def soak(studies: int, instances: int, senders: int, seed: int) -> tuple[Line, Callable[[], Line]]:
    """One line, and what fills it."""
    about = f"{studies * instances:,} instances of {studies} studies from {senders} senders"
    line = Line(
        f"soak / {about}",
        "soak",
        "a process killed at random 3 to 10 s after the port answers",
        "PostgreSQL",
        "RabbitMQ",
    )
    return line, lambda: _soak(line, studies, instances, senders, seed)


def _soak(line: Line, studies: int, instances: int, senders: int, seed: int) -> Line:
    with ExitStack() as stack:
        broker = stack.enter_context(running_rabbitmq())
        database = stack.enter_context(running_postgres(durable=True))
        scene = stack.enter_context(hospital(broker=broker, database=database, quiet_period_s=5.0))
        sent = [make_study(scene.node.folder / "sent" / str(n), f"soak{n}", instances) for n in range(studies)]
        scene.sent = {one.sop_instance_uid: one for study in sent for one in study}
        with sending(sent, scene.node.port, senders=senders, seed=seed) as (acknowledged, done):
            with ThreadPoolExecutor(1) as beside:
                killing = beside.submit(_kill_at_random, scene, random.Random(seed), done)
                await_true(killing.done, "all of it is acknowledged", _LIMIT_S, 1.0)
            kills = killing.result()
        scene.await_delivered(_LIMIT_S)
        counts = scene.counts()
        kept = counts.equal and len(acknowledged.instances) == studies * instances
        refused = ", ".join(f"{count} x {told}" for told, count in sorted(acknowledged.refused.items())) or "none"
        told = f"{counts.told}; {acknowledged.sendings:,} sendings, not acknowledged: {refused}; {len(kills)} kills"
        return replace(line, kept=kept, told=told)


def _kill_at_random(scene: Hospital, chance: random.Random, done: Callable[[], bool]) -> list[str]:
    """Kill one process at random every few seconds until all is sent and half a minute more; what was killed.

    The seconds count from when the port answers: else a slow machine would never take anything.
    """
    killed: list[str] = []
    end = time.monotonic() + _LIMIT_S
    sent_at: float | None = None
    while time.monotonic() < end and (sent_at is None or time.monotonic() - sent_at < _ON_S):
        await_true(lambda: listens(scene.node.port), "the port answers", PATIENCE_S)
        time.sleep(chance.uniform(*_PAUSE_S))
        if sent_at is None and done():
            sent_at = time.monotonic()
        processes = sorted(scene.node.processes().items())
        if processes:
            pid, command = chance.choice(processes)
            with suppress(ProcessLookupError):
                kill(pid, signal.SIGKILL)
                killed.append(command)
        assert scene.node.process is not None
        if scene.node.process.poll() is not None:  # the supervisor itself, which systemd would start again
            scene.node.start()
    return killed
