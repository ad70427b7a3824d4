"""A whole node as processes of its own, for tests that kill, stop and starve parts of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from dicom_node.network.storage_scp import StorageSCP, StorageSCPSettings
from dicom_node.network.storage_scu import Peer, send
from dicom_node.storage.instance import ReceivedInstance
from dicom_node.storage.whole import WholeInstances
from tests.services import await_true, free_port
from workflows.state.engine import open_engine
from workflows.state.repository import Repository

PATIENCE_S = 120.0
COMMAND = [sys.executable, "-m", "workflows.commands.cli"]


@dataclass
class RunningNode:
    """A running `medseg-node up` and the archive that it sends to. `received`: SOP Instance UIDs, in order."""

    folder: Path
    port: int
    database_url: str
    received: list[str]
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes] = field(init=False)

    def start(self, *, await_port: bool = True) -> None:
        """Start it, or start it again."""
        listening = len(self.log("storage_scp_listening"))
        with (self.folder / "node.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "up", *self.config], stdout=log, stderr=log, env=self.environment
            )
        if await_port:
            self.await_logged("storage_scp_listening", listening + 1)

    @property
    def config(self) -> list[str]:
        return ["--config", str(self.folder / "node.toml")]

    def stop(self) -> int:
        """Drain it; its exit code."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(90)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def log(self, event: str, **about: object) -> list[dict[str, Any]]:
        """What it logged under this name so far, and about this."""
        found = []
        file = self.folder / "node.log"
        for line in file.read_text(errors="replace").splitlines() if file.exists() else []:
            with contextlib.suppress(json.JSONDecodeError):
                entry = json.loads(line)
                if isinstance(entry, dict) and entry.get("event") == event and about.items() <= entry.items():
                    found.append(entry)
        return found

    def await_logged(self, event: str, count: int = 1, **about: object) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await_true(
            lambda: len(self.log(event, **about)) >= count and self.log(event, **about),
            f"{event} {about or ''} {count} times",
            PATIENCE_S,
            0.02,
        )
        return found

    def role(self, name: str) -> int:
        """The pid of a role's process, which leads a process group of its own."""
        return int(self.await_logged("role_started", role=name)[-1]["pid"])

    def await_another(self, name: str, than: int) -> int:
        """The pid of the process that has taken a role's place."""
        return int(await_true(lambda: self.role(name) != than and self.role(name), f"another {name}", PATIENCE_S))

    def child(self) -> int:
        """The pid of the predicting child, once it can take jobs."""
        return int(self.await_logged("predicting_ready")[-1]["pid"])

    def await_another_child(self, than: int) -> int:
        return int(await_true(lambda: self.child() != than and self.child(), "another predicting child", PATIENCE_S))

    def repository(self) -> Repository:
        return Repository(open_engine(self.database_url))

    def await_states(self, wanted: str, count: int = 1, patience_s: float = PATIENCE_S) -> list[str]:
        """The reasons of `count` studies once their state is `wanted`."""
        repository = self.repository()

        def there() -> list[str]:
            reasons = [view.study.reason for view in repository.study_views() if view.study.state.value == wanted]
            return reasons if len(reasons) >= count else []

        found: list[str] = await_true(there, f"{count} studies that are {wanted}", patience_s)
        return found

    def messages(self) -> list[Path]:
        return list((self.folder / "data" / "queue" / "messages").glob("*.msg"))

    def send(self, paths: list[Path]) -> None:
        assert all(outcome.ok for outcome in send(paths, Peer("MEDSEG", "127.0.0.1", self.port), "CT1"))

    def require_delivered_once(self, studies: int = 1) -> None:
        """Each result of each study's one job reached the archive, and none twice."""
        views = self.repository().study_views()
        assert len(views) == studies
        results = [
            (one.result.kind.value, one.result.sop_instance_uid) for view in views for one in view.jobs[0].objects
        ]
        assert [kind for kind, _uid in results] == ["SEG", "SR"] * studies
        assert Counter(self.received) == Counter(uid for _kind, uid in results)


@pytest.fixture
def make_node(tmp_path: Path) -> Iterator[Callable[..., RunningNode]]:
    """Makes a node that is to be started: `make_node(broker="amqp://...", limits="job_s = 2")`.

    `silent`: names and ports of more archives that get the results.
    """
    made: list[RunningNode] = []
    received: list[str] = []

    def keep(instance: ReceivedInstance) -> None:
        received.append(instance.sop_instance_uid)

    with StorageSCP(StorageSCPSettings(ae_title="PACS", port=0), WholeInstances(keep)) as archive:

        def make(
            *,
            broker: str = "",
            database: str = "",
            limits: str = "",
            node: str = "",
            model: str = 'checkpoint = "commissioning"',
            silent: Mapping[str, int] = MappingProxyType({}),
        ) -> RunningNode:
            port = free_port()
            archives = "".join(
                f'[[archives]]\nname = "{name}"\nae_title = "SILENT"\nhost = "127.0.0.1"\nport = {silent[name]}\n'
                for name in silent
            )
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
{node}
[database]
url = "{database}"
[broker]
url = "{broker}"
[limits]
{limits}
[[archives]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = {archive.port}
[results]
archive = {json.dumps(["pacs", *silent])}
[web]
enabled = false
[model]
{model}
{archives}"""
            )
            own = {name: value for name, value in os.environ.items() if not name.startswith("MEDSEG_")}
            url = database or f"sqlite:///{tmp_path / 'data' / 'medseg-node.db'}"
            made.append(RunningNode(tmp_path, port, url, received, {**own, "OMP_NUM_THREADS": "1"}))
            return made[-1]

        try:
            yield make
        finally:
            for node in made:
                if hasattr(node, "process"):
                    node.stop()


@pytest.fixture
def node(make_node: Callable[..., RunningNode]) -> RunningNode:
    """An embedded node that runs."""
    made = make_node()
    made.start()
    return made
