"""What we change in Celery, and why: each test here fails once that is needed no more."""

from __future__ import annotations

import subprocess
import sys

import pytest

# A worker as `run_worker` starts it, but with Celery's own `safe_say`; it is told to end as soon as it is ready.
WORKER = """
import os, signal
from celery import Celery
from celery.signals import worker_ready

@worker_ready.connect
def end(**_): os.kill(os.getpid(), signal.SIGTERM)

Celery("quiet", broker="memory://").worker_main(
    ["--quiet", "worker", "--pool", "solo", "--loglevel", "WARNING", "--without-gossip", "--without-mingle",
     "--without-heartbeat"]
)
"""


@pytest.mark.slow
def test_a_quiet_worker_of_celery_still_announces_its_end_past_every_log() -> None:
    # https://github.com/celery/celery/issues/8101
    done = subprocess.run([sys.executable, "-c", WORKER], capture_output=True, text=True, timeout=60, check=False)
    remedy = "Celery keeps quiet: remove what replaces safe_say in workflows/roles/worker.py, and this test"
    assert "worker: Warm shutdown (MainProcess)" in done.stdout, f"{remedy}\n{done.stderr}"
