"""A whole embedded node whose worker is killed, or whose queue is emptied: every study still ends delivered, once."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from dicom_node.commissioning.marker import burn_in_marker
from tests.services import await_true

PATIENCE_S = 120


@pytest.fixture(scope="module")
def study(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A real CT with something to see in it; the commissioning predictor needs seconds for it."""
    originals = sorted((shared_data / "dicom" / "totalseg_ct_dicom" / "example_ct_dicom").iterdir())
    return burn_in_marker(originals, tmp_path_factory.mktemp("marked"))[0]


@pytest.mark.parametrize("victim", ["the child", "the main process", pytest.param("both", marks=pytest.mark.soak)])
def test_a_worker_killed_while_it_predicts_loses_nothing_and_sends_nothing_twice(
    node: Any, study: list[Path], victim: str
) -> None:
    child, role = node.child(), node.role("inference")
    node.send(study)
    node.await_logged("job_claimed")
    for pid in {"the child": [child], "the main process": [role], "both": [child, role]}[victim]:
        os.kill(pid, signal.SIGKILL)
    assert not node.log("job_answered"), "it was killed too late to show anything"
    node.await_states("DELIVERED")
    assert [entry["attempt"] for entry in node.log("job_claimed")] == [1, 2]
    assert len(node.log("job_answered")) == 1
    node.require_delivered_once()


@pytest.mark.parametrize("role", ["io", pytest.param("inference", marks=pytest.mark.soak)])
def test_messages_that_are_lost_cost_seconds(node: Any, study: list[Path], role: str) -> None:
    node.child()
    queues = {"io": ("planning", "delivery"), "inference": ("inference",)}[role]
    group = node.role(role)
    os.killpg(group, signal.SIGSTOP)  # for less long than the supervisor takes for silence
    try:
        node.send(study[4:10])

        def waiting() -> list[Path]:
            return [one for one in node.messages() if one.name.split(".")[-2] in queues]

        for message in await_true(waiting, "a message for the worker that does not answer", PATIENCE_S):
            message.unlink(missing_ok=True)
    finally:
        os.killpg(group, signal.SIGCONT)
    node.await_states("DELIVERED")
    node.require_delivered_once()
