"""SIGTERM drains a whole embedded node: standard output stays empty, and standard error has log lines alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from pydicom.data import get_testdata_file

from dicom_node.network.storage_scu import Peer, send
from tests.services import await_true, free_port

IMAGE = Path(str(get_testdata_file("CT_small.dcm", download=False)))


def test_a_drain_says_nothing_but_log_lines(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "node.toml").write_text(
        f"""[node]
port = {port}
minimum_free_mb = 0
quiet_period_s = 0.5
scheduler_interval_s = 0.2
log_format = "json"
[web]
enabled = false
[model]
checkpoint = "commissioning"
"""
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MEDSEG_NODE__")}
    command = [sys.executable, "-m", "workflows.commands.cli", "up", "--config", str(tmp_path / "node.toml")]
    output, log = tmp_path / "output", tmp_path / "log"
    with output.open("wb") as stdout, log.open("wb") as stderr:
        node = subprocess.Popen(command, stdout=stdout, stderr=stderr, env=environment)
    try:
        await_true(lambda: "storage_scp_listening" in log.read_text(), "listening", 120)
        assert all(outcome.ok for outcome in send([IMAGE], Peer("MEDSEG", "127.0.0.1", port), "CT1"))
        await_true(lambda: "job_answered" in log.read_text(), "both workers at work", 120)
    finally:
        node.send_signal(signal.SIGTERM)
        ended = node.wait(90)
    assert (ended, output.read_text()) == (0, "")
    events = [json.loads(line)["event"] for line in log.read_text().splitlines()]
    assert {"draining", "storage_scp_stopped"} <= set(events) and "role_killed" not in events
    assert (tmp_path / "data" / "medseg-node.db").exists(), "data lies beside the configuration"
