"""Workers cannot wedge: what dies, stands still or takes too much is replaced, and every study ends delivered."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom.data import get_testdata_file

from tests.services import await_true
from workflows.roles.running import _started as started

IMAGE = Path(str(get_testdata_file("CT_small.dcm", download=False)))
OTHER = Path(str(get_testdata_file("MR_small.dcm", download=False)))
ROLES = ["scp", "scheduler", "io", "inference"]

pytestmark = pytest.mark.timeout(240)


def is_gone(pid: int) -> bool:
    return not started(pid)


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.soak)])
def test_an_idle_child_is_replaced(node: Any, how: signal.Signals) -> None:
    child = node.child()
    os.kill(child, how)
    assert node.await_another_child(child) != child
    await_true(lambda: is_gone(child), "the end of the old child")
    node.send([IMAGE])
    node.await_states("DELIVERED")
    assert node.log("job_claimed")[0]["attempt"] == 1
    node.require_delivered_once()


@pytest.mark.soak
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_every_role_that_is_dead_or_stands_still_is_replaced(node: Any, how: signal.Signals) -> None:
    child = node.child()
    before = {name: node.role(name) for name in ROLES}
    for pid in before.values():
        os.kill(pid, how)
    for name, pid in before.items():
        node.await_another(name, pid)
    node.await_logged("storage_scp_listening", 2)
    node.await_another_child(child)
    for pid in (*before.values(), child):
        await_true(lambda pid=pid: is_gone(pid), "the end of what was replaced")
    node.send([IMAGE])
    node.await_states("DELIVERED")
    node.require_delivered_once()


@pytest.mark.parametrize("roles", ["running", pytest.param("standing still", marks=pytest.mark.soak)])
def test_a_dead_supervisor_leaves_nobody_that_the_next_one_does_not_end(node: Any, roles: str) -> None:
    node.child()
    before = [node.role(name) for name in ROLES]
    if roles == "standing still":  # they do not see the signal that the kernel sends them then
        for pid in before:
            os.kill(pid, signal.SIGSTOP)
    node.process.kill()
    node.process.wait()
    node.start()
    assert all(is_gone(pid) for pid in before)
    node.send([IMAGE])
    node.await_states("DELIVERED")
    node.require_delivered_once()


@pytest.mark.soak
def test_roles_end_with_their_supervisor(node: Any) -> None:
    child = node.child()
    before = [*(node.role(name) for name in ROLES), child]
    node.process.kill()
    node.process.wait()
    await_true(lambda: all(map(is_gone, before)), "the end of all roles", 60)


def test_a_second_up_on_the_same_folder_is_refused(node: Any) -> None:
    command = [*node.process.args[:3], "up", *node.config]
    second = subprocess.run(command, env=node.environment, capture_output=True, text=True, timeout=120, check=False)
    assert second.returncode == 2
    assert f"`medseg-node up` (pid {node.process.pid}) runs already" in second.stderr
    node.send([IMAGE])
    node.await_states("DELIVERED")


def test_a_job_that_takes_too_long_is_stopped_from_outside(make_node: Callable[..., Any]) -> None:
    node = make_node(limits="job_s = 4")
    node.start()
    child = node.child()
    os.kill(child, signal.SIGSTOP)  # it hangs with the job in its hands
    node.send([IMAGE])
    node.await_logged("job_stopped")
    node.await_another_child(child)
    node.await_states("DELIVERED")
    node.require_delivered_once()


@pytest.mark.soak
def test_a_job_that_takes_too_much_memory_is_stopped_and_says_so(make_node: Callable[..., Any]) -> None:
    node = make_node(limits="job_memory_gb = 0.01", node="maximum_attempts = 1")
    node.start()
    node.send([IMAGE])
    (reason,) = node.await_states("FAILED")
    assert "GB of memory" in reason and "[limits] job_memory_gb" in reason


@pytest.mark.soak
def test_broken_messages_are_set_aside_and_a_queue_that_is_gone_stops_nobody(node: Any) -> None:
    messages = node.folder / "data" / "queue" / "messages"
    for queue in ("planning", "delivery", "inference"):
        (messages / f"0-empty.{queue}.msg").write_bytes(b"")
        (messages / f"0-nonsense.{queue}.msg").write_bytes(b"\xff{]")
        (messages / f"0-other.{queue}.msg").write_text('{"properties": {}}')
    broken = node.folder / "data" / "queue" / "broken"
    await_true(lambda: broken.is_dir() and len(list(broken.iterdir())) == 6, "all six set aside", 60)
    assert len(node.log("message_set_aside")) == 6
    node.await_logged("message_not_understood", 3)
    shutil.rmtree(node.folder / "data" / "queue")
    node.send([IMAGE])
    node.await_states("DELIVERED")


def test_a_silent_archive_keeps_neither_planning_nor_another_archive(make_node: Callable[..., Any]) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)  # it takes connections, and never says a word
        node = make_node(silent={"silent": silent.getsockname()[1]})
        node.start()
        for number, image in enumerate((IMAGE, OTHER), start=1):
            node.send([image])
            await_true(lambda number=number: len(node.received) == 2 * number, "its results in the other archive", 90)
        states = {view.study.state.value for view in node.repository().study_views()}
        assert states == {"DELIVERING"}, "the silent archive has nothing yet"
