"""A whole node under attack: started by `up`, killed in part or whole, started again on the same data."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dicom_node.fault_points import FaultPoint
from tests.services import await_true

__all__ = ["NodeUnderAttack"]

CHECKOUT = Path(__file__).resolve().parents[2]
PATIENCE_S = 120.0


@dataclass
class NodeUnderAttack:
    """One node. `sections`: TOML beside `[node]`, such as the database, the broker and the archives."""

    folder: Path
    port: int
    sections: str
    environment: Mapping[str, str] = field(default_factory=dict)
    data_dir: Path | None = None
    quiet_period_s: float = 1.0
    checkpoint: str = "commissioning"
    process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        return self.data_dir or self.folder / "data"

    @property
    def config(self) -> Path:
        return self.folder / "medseg-node.toml"

    @property
    def log(self) -> str:
        return (self.folder / "node.log").read_text(errors="replace")

    @property
    def points(self) -> Path:
        """The folder in which a file named after a fault point kills whoever passes it next."""
        return self.folder / "points"

    def configure(self) -> None:
        self.points.mkdir(parents=True, exist_ok=True)
        self.config.write_text(
            f"""[node]
port = {self.port}
data_dir = "{self.data}"
minimum_free_mb = 0
journal_mb = 64
quiet_period_s = {self.quiet_period_s}
scheduler_interval_s = 0.2
lease_s = 3.0
rewake_s = 1.0
log_format = "json"
{self.sections}
[web]
enabled = false
[model]
checkpoint = "{self.checkpoint}"
device = "cpu"
"""
        )

    def start(self) -> None:
        """`up`, until the port answers."""
        with (self.folder / "node.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "workflows.commands.cli", "up", "--config", str(self.config)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=CHECKOUT, start_new_session=True,
                env={**_clean(), "PYTHONPATH": str(CHECKOUT), "MEDSEG_FAULT_POINTS": str(self.points),
                     **self.environment},
            )  # fmt: skip
        started = self.log.count("storage_scp_listening")
        await_true(lambda: self.log.count("storage_scp_listening") > started or self._died(), "listening", PATIENCE_S)

    def _died(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"`up` ended with {self.process.returncode}:\n{self.log[-3000:]}")
        return False

    def wait_for_looks(self, count: int) -> None:
        """Until a clock of the node's own pace has ticked: `count` looks of a scheduler that looks each 0.2 s."""
        end = time.monotonic() + 0.2 * count
        await_true(lambda: time.monotonic() > end, "time passes", PATIENCE_S)

    def arm(self, point: FaultPoint) -> Path:
        """Whoever passes this point next dies there; the file is gone then."""
        armed = self.points / point.value
        armed.touch()
        return armed

    def processes(self) -> dict[int, str]:
        """Every process of this node and its command, by the environment that it was started with."""
        mark = f"MEDSEG_FAULT_POINTS={self.points}".encode()
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        return found

    def signal_all(self, number: signal.Signals) -> None:
        """The same signal to every process of the node."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """Everything dies at once, as when the power is cut."""
        while self.processes():
            self.signal_all(signal.SIGKILL)
            if self.process is not None:
                self.process.poll()
        if self.process is not None:
            self.process.wait()

    def stop(self) -> int:
        """SIGTERM, and its exit code; whatever is left after that is killed."""
        assert self.process is not None
        self.process.terminate()
        try:
            return self.process.wait(90)
        finally:
            self.kill()

    @contextlib.contextmanager
    def running(self) -> Iterator[NodeUnderAttack]:
        """Configured and started, and killed at the end whatever happened."""
        self.configure()
        try:
            self.start()
            yield self
        finally:
            self.kill()


def _clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("MEDSEG_")}
