"""A whole embedded node whose worker is killed, or whose queue is emptied: every study still ends delivered, once."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dicom_node.commissioning.marker import burn_in_marker
from dicom_node.network.storage_scp import StorageSCP, StorageSCPSettings
from dicom_node.network.storage_scu import Peer, send
from dicom_node.storage.instance import ReceivedInstance
from tests.services import await_true, free_port
from workflows.state.engine import open_engine
from workflows.state.repository import Repository

PATIENCE_S = 120


@dataclass
class Node:
    """A running `medseg-node up` and the archive that it sends to."""

    folder: Path
    process: subprocess.Popen[bytes]
    port: int
    received: list[str] = field(default_factory=list)

    def log(self, event: str) -> list[dict[str, Any]]:
        """What it logged under this name so far."""
        found = []
        for line in (self.folder / "node.log").read_text(errors="replace").splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                entry = json.loads(line)
                if isinstance(entry, dict) and entry.get("event") == event:
                    found.append(entry)
        return found

    def await_logged(self, event: str, count: int = 1) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await_true(
            lambda: len(self.log(event)) >= count and self.log(event), f"{event} {count} times", PATIENCE_S, 0.02
        )
        return found

    def role(self, name: str) -> int:
        """The pid of a role's process, which leads a process group of its own."""
        started = [entry["pid"] for entry in self.await_logged("role_started") if entry["role"] == name]
        return int(started[-1])

    def repository(self) -> Repository:
        return Repository(open_engine(f"sqlite:///{self.folder / 'data' / 'medseg-node.db'}"))

    def await_state(self, wanted: str) -> str:
        """The study's reason once its state is `wanted`."""
        repository = self.repository()

        def there() -> list[str]:
            return [view.study.reason for view in repository.study_views() if view.study.state.value == wanted]

        return str(await_true(there, f"a study that is {wanted}", PATIENCE_S)[0])

    def messages(self) -> list[Path]:
        return list((self.folder / "data" / "queue" / "messages").iterdir())


def children(pid: int) -> list[int]:
    """The processes that `pid` started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    received: list[str] = []

    def keep(instance: ReceivedInstance) -> None:
        received.append(instance.sop_instance_uid)

    environment = {name: value for name, value in os.environ.items() if not name.startswith("MEDSEG_NODE__")}
    with StorageSCP(StorageSCPSettings(ae_title="PACS", port=0), keep) as archive:
        port = free_port()
        (tmp_path / "node.toml").write_text(
            f"""[node]
port = {port}
data_dir = "data"
minimum_free_mb = 0
quiet_period_s = 1
lease_s = 3
rewake_s = 1
scheduler_interval_s = 0.2
log_format = "json"
[[archives]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = {archive.port}
[model]
checkpoint = "commissioning"
"""
        )
        command = [sys.executable, "-m", "workflows.commands.cli", "up", "--config", str(tmp_path / "node.toml")]
        with (tmp_path / "node.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env={**environment, "OMP_NUM_THREADS": "1"})
        running = Node(tmp_path, process, port, received)
        try:
            running.await_logged("storage_scp_listening")
            yield running
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(90)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture(scope="module")
def study(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A real CT with something to see in it; the commissioning predictor needs seconds for it."""
    originals = sorted((shared_data / "dicom" / "totalseg_ct_dicom" / "example_ct_dicom").iterdir())
    return burn_in_marker(originals, tmp_path_factory.mktemp("marked"))[0]


def send_study(node: Node, study: list[Path]) -> None:
    assert all(outcome.ok for outcome in send(study, Peer("MEDSEG", "127.0.0.1", node.port), "CT1"))


def require_delivered_once(node: Node) -> None:
    """Each result of the study's one job reached the archive, and none twice."""
    (view,) = node.repository().study_views()
    (job,) = view.jobs
    results = [(one.result.kind.value, one.result.sop_instance_uid) for one in job.objects]
    assert [kind for kind, _uid in results] == ["SEG", "SR"]
    assert Counter(node.received) == Counter(uid for _kind, uid in results)


def test_a_worker_killed_while_it_predicts_loses_nothing_and_sends_nothing_twice(node: Node, study: list[Path]) -> None:
    send_study(node, study)
    node.await_logged("job_claimed")
    workers = children(node.role("inference"))
    assert workers
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    assert not node.log("job_answered"), "it was killed too late to show anything"
    node.await_state("DELIVERED")
    assert [entry["attempt"] for entry in node.log("job_claimed")] == [1, 2]
    assert len(node.log("job_answered")) == 1
    require_delivered_once(node)


@pytest.mark.parametrize("role", ["io", "inference"])
def test_messages_that_are_lost_are_sent_again(node: Node, study: list[Path], role: str) -> None:
    group = node.role(role)
    await_true(lambda: children(group), f"a child of {role}", PATIENCE_S)
    os.killpg(group, signal.SIGSTOP)
    try:
        send_study(node, study[4:10])
        await_true(node.messages, "a message for the worker that does not answer", PATIENCE_S)
        for message in node.messages():
            message.unlink(missing_ok=True)
    finally:
        os.killpg(group, signal.SIGCONT)
    node.await_state("DELIVERED")
    require_delivered_once(node)
