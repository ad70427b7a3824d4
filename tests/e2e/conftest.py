"""A hospital for end-to-end tests: an archive that routes to a node, and the node, a process for each role."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pydicom
import pytest
from orthanc_api_client import OrthancApiClient
from pydicom.dataset import Dataset

from dicom_node.network.storage_scu import Peer, echo
from dicom_node.results.equipment import MANUFACTURER
from tests.services import Orthanc, Postgres, RabbitMQ, await_true, free_port, running_orthanc

COMMAND = Path(sys.executable).with_name("medseg-node")
SHIPPED = Path("inference") / "weights" / "tiny"
ROLES = {
    "scp": ("scp",),
    "scheduler": ("scheduler",),
    "io": ("worker", "--role", "io"),
    "inference": ("worker", "--role", "inference"),
    "web": ("web",),
}
PATIENCE_S = 120.0
LEASE_S = 3.0


@dataclass
class Node:
    """A node, a process for each role, and what it writes."""

    folder: Path
    port: int
    database_url: str
    broker_url: str
    web_port: int = field(default_factory=free_port)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        return self.folder / "medseg-node.toml"

    @property
    def peer(self) -> Peer:
        return Peer("MEDSEG", "127.0.0.1", self.port)

    def configure(self, checkpoint: str, archive: Orthanc) -> None:
        self.config.write_text(f"""
            [node]
            port = {self.port}
            data_dir = "data"
            quiet_period_s = 1.0
            scheduler_interval_s = 0.2
            lease_s = {LEASE_S}
            rewake_s = 2.0
            allowed_calling_ae = ["{archive.ae_title}", "OTHER"]
            log_format = "json"
            [database]
            url = "{self.database_url}"
            [broker]
            url = "{self.broker_url}"
            [[archives]]
            name = "orthanc"
            ae_title = "{archive.ae_title}"
            host = "{archive.host}"
            port = {archive.dicom_port}
            commitment = true
            [model]
            checkpoint = "{checkpoint}"
            device = "cpu"
            [web]
            port = {self.web_port}
            organisation = "PHANTOM Hospital"
            undo_s = 1.0
        """)

    def start(self, role: str) -> None:
        # A session of its own: a signal to the group reaches Celery's child too, as when a machine dies.
        with (self.folder / f"{role}.log").open("ab") as log:
            self.processes[role] = subprocess.Popen(
                [COMMAND, *ROLES[role], "--config", str(self.config)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    @property
    def pages(self) -> str:
        """The address of the pages."""
        return f"http://127.0.0.1:{self.web_port}"

    def add_account(self, account: str, role: str, name: str, password: str) -> None:
        command = [COMMAND, "users", "add", account, "--role", role, "--name", name, "--config", str(self.config)]
        subprocess.run(command, input=f"{password}\n", text=True, check=True, timeout=PATIENCE_S, capture_output=True)

    def kill(self, role: str) -> None:
        os.killpg(self.processes[role].pid, signal.SIGKILL)
        self.processes[role].wait()

    def stop(self) -> dict[str, int]:
        """SIGTERM to every role; their exit codes."""
        for process in self.processes.values():
            process.terminate()
        try:
            return {role: process.wait(60) for role, process in self.processes.items()}
        finally:
            for role, process in self.processes.items():
                if process.poll() is None:
                    self.kill(role)

    def log(self, role: str) -> str:
        return (self.folder / f"{role}.log").read_text(errors="replace")

    def events(self, role: str, name: str, **values: Any) -> list[dict[str, Any]]:
        """Structured log lines of a role: the event `name` with these values."""
        lines = [json.loads(line) for line in self.log(role).splitlines() if line.startswith("{") and line[-1] == "}"]
        return [line for line in lines if {"event": name, **values}.items() <= line.items()]

    def answers(self) -> bool:
        """Whether the storage SCP listens and answers an echo; fails when a role has died."""
        self.require_alive()
        try:
            socket.create_connection((self.peer.host, self.port), timeout=1).close()
        except OSError:
            return False
        echo(self.peer, "OTHER")
        return True

    def require_alive(self) -> None:
        for role, process in self.processes.items():
            assert process.poll() is None, f"{role} died:\n{self.log(role)[-3000:]}"

    def query(self, sql: str, *values: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database_url.replace("+psycopg", "")) as connection:
            return connection.execute(sql, values).fetchall()  # type: ignore[arg-type]

    def execute(self, sql: str, *values: str) -> None:
        with psycopg.connect(self.database_url.replace("+psycopg", "")) as connection:
            connection.execute(sql, values)  # type: ignore[arg-type]

    def state(self, study_uid: str) -> str | None:
        """The study's state in the database, or None."""
        self.require_alive()
        rows = self.query("SELECT state FROM studies WHERE study_uid = %s", study_uid)
        return str(rows[0][0]) if rows else None

    def confirmed(self, study_uid: str) -> list[tuple[Any, ...]]:
        """Kind of each object of the study that the archive has committed itself to, and how often it was sent."""
        self.require_alive()
        return self.query(
            "SELECT o.kind, d.attempts FROM deliveries d JOIN result_objects o USING (sop_instance_uid)"
            " JOIN jobs j ON j.job_key = d.job_key WHERE j.study_uid = %s AND d.committed_at IS NOT NULL"
            " ORDER BY o.kind",
            study_uid,
        )

    def status(self, study_uid: str) -> dict[str, Any]:
        """What `medseg-node status --json` says of the study."""
        command = [COMMAND, "status", "--json", "--config", str(self.config)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
        (study,) = [one for one in json.loads(done.stdout) if one["study_uid"] == study_uid]
        assert isinstance(study, dict)
        return study


@dataclass(frozen=True)
class Hospital:
    """An archive that routes to a node, and the node that answers into it."""

    archive: Orthanc
    node: Node
    broker: RabbitMQ

    @property
    def api(self) -> OrthancApiClient:
        return OrthancApiClient(self.archive.url)

    def send(self, files: list[Path]) -> str:
        """Send a study to the archive, as any modality would; its Study Instance UID."""
        for file in files:
            self.api.upload_file(str(file))
        return str(pydicom.dcmread(files[0], stop_before_pixels=True).StudyInstanceUID)

    def results(self, study_uid: str) -> dict[str, Dataset]:
        """Our objects in the archive's study, by modality; fails if there are two of a kind."""
        study = self.api.studies.lookup(study_uid)
        found: dict[str, Dataset] = {}
        for identifier in self.api.studies.get_series_ids(study) if study else ():
            tags = self.api.series.get(identifier).main_dicom_tags
            if (tags.get("Manufacturer") or "") == MANUFACTURER:
                (instance,) = self.api.series.get_instances_ids(identifier)
                assert tags["Modality"] not in found, f"two {tags['Modality']} in the archive"
                found[tags["Modality"]] = self.read(instance)
        return found

    def read(self, identifier: str) -> Dataset:
        path = self.node.folder / f"{identifier}.dcm"
        path.write_bytes(self.api.instances.get_file(identifier))
        return pydicom.dcmread(path)

    def await_delivered(self, study_uid: str, timeout_s: float = PATIENCE_S) -> dict[str, Dataset]:
        """Wait until the node says that the study is delivered; what then lies in the archive."""
        ended = await_true(
            lambda: (state := self.node.state(study_uid)) in ("DELIVERED", "UNMATCHED", "FAILED") and state,
            f"the end of {study_uid}", timeout_s,
        )  # fmt: skip
        assert ended == "DELIVERED", self.node.status(study_uid)["reason"]
        return self.results(study_uid)

    def times_stable(self, study_uid: str) -> int:
        identifier = self.api.studies.lookup(study_uid)
        changes = self.archive.get("/changes?limit=1000")["Changes"]
        return sum(one["ChangeType"] == "StableStudy" and one["ID"] == identifier for one in changes)


@pytest.fixture(scope="module")
def start_hospital(
    rabbitmq: RabbitMQ, postgres: Postgres, checkout: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Iterator[Hospital]]:
    def start(checkpoint: str) -> Iterator[Hospital]:
        folder, port = tmp_path_factory.mktemp("node"), free_port()
        node = Node(folder, port, postgres.fresh_url(), rabbitmq.fresh_url())
        script = checkout / "deploy" / "orthanc" / "medseg-node.lua"
        with running_orthanc(lua=[script], modalities={"medseg-node": ["MEDSEG", "127.0.0.1", port]}) as archive:
            node.configure(checkpoint, archive)
            try:
                for role in ROLES:
                    node.start(role)
                await_true(node.answers, "the node's answer to an echo", PATIENCE_S)
                yield Hospital(archive, node, rabbitmq)
            finally:
                codes = node.stop()
            assert set(codes.values()) == {0}, f"not every role ended in peace: {codes}"

    return start


@pytest.fixture(scope="class")
def commissioning(start_hospital: Callable[[str], Iterator[Hospital]]) -> Iterator[Hospital]:
    yield from start_hospital("commissioning")


@pytest.fixture(scope="class")
def shipped(start_hospital: Callable[[str], Iterator[Hospital]], checkout: Path) -> Iterator[Hospital]:
    if not any((checkout / SHIPPED).glob("*.safetensors")):
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(f"no weights in {SHIPPED}")
        pytest.skip(f"no weights in {SHIPPED}")
    yield from start_hospital(str(checkout / SHIPPED))
