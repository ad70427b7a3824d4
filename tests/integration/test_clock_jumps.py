"""The real scheduler under Debian's faketime: its clock jumps an hour, and a study is complete when it is quiet."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.services import await_true, missing
from workflows.bootstrap import Node
from workflows.settings import load_settings
from workflows.state.records import NewInstance, Study

pytestmark = [pytest.mark.service("faketime"), pytest.mark.timeout(120)]

STUDY = "1.2.3"
QUIET_S = 4


@dataclass
class Scheduler:
    """A running `medseg-node scheduler`; what stands in `offset` is added to its clock."""

    node: Node
    offset: Path
    log: Path

    def jump(self, hours: int) -> None:
        """Put the offset in one step: a file that is half written would be no offset."""
        written = self.offset.with_suffix(".new")
        written.write_text(f"{hours:+d}h\n")
        written.replace(self.offset)

    def await_logged(self, event: str) -> None:
        await_true(lambda: f'"event": "{event}"' in self.log.read_text(), event, 60)

    def study(self) -> Study:
        study = self.node.repository.study(STUDY)
        assert study is not None
        return study

    def receive(self) -> None:
        new = NewInstance(STUDY, "1.2.3.1", "1.2.3.1.1", "c", "t", Path("p"), 1, "d", "CT1")
        self.node.repository.record_instances([new], lambda _title: QUIET_S)


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[Scheduler]:
    library = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)
    if library is None:
        missing("libfaketimeMT.so.1", "libfaketime")
    config, offset, log = tmp_path / "node.toml", tmp_path / "offset", tmp_path / "node.log"
    config.write_text(
        f'[node]\ndata_dir = "data"\nquiet_period_s = {QUIET_S}\nscheduler_interval_s = 0.2\nlog_format = "json"\n'
        '[model]\ncheckpoint = "commissioning"\n'
    )
    offset.write_text("+0\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MEDSEG_NODE__")}
    environment |= {
        "LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(offset), "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1",
    }  # fmt: skip
    running = Scheduler(Node(load_settings(config)), offset, log)
    assert running.node.repository.study(STUDY) is None  # and the tables are there
    command = [sys.executable, "-m", "workflows.commands.cli", "scheduler", "--config", str(config)]
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, env=environment)
    try:
        running.await_logged("scheduler_resumed")
        yield running
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.mark.parametrize("hours", [1, -1])
def test_a_study_waits_its_quiet_period_whatever_the_clock_says(scheduler: Scheduler, hours: int) -> None:
    scheduler.receive()
    scheduler.jump(hours)
    scheduler.await_logged("clock_jumped")
    await_true(lambda: scheduler.study().state.value == "COMPLETE", "the study is complete", 60)
    told = re.fullmatch(r"assumed: nothing new from CT1 for ([\d.]+) s", scheduler.study().evidence)
    assert told is not None and QUIET_S <= float(told[1]) < 3000
