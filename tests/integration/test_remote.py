"""A whole embedded node whose model answers elsewhere: the other side dies midway, and only the time is lost."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

from tests.integration.conftest import RunningNode
from tests.services import await_true
from tests.unit.inference.remote.conftest import serving_child  # noqa: F401

Serving = Callable[..., tuple[str, subprocess.Popen[str]]]


def test_a_remote_predictor_that_dies_midway_costs_its_job_some_time_and_the_worker_nothing(
    make_node: Callable[..., RunningNode],
    serving_child: Serving,  # noqa: F811
    shared_data: Path,
) -> None:
    address, server = serving_child("doubles:Waiting")
    node = make_node(model=f'checkpoint = "{address}"')
    node.start()
    child, role = node.child(), node.role("inference")
    node.send(sorted((shared_data / "dicom" / "totalseg_ct_dicom" / "example_ct_dicom").iterdir()))
    await_true(lambda: b"busy" in urlopen(address + "/health").read(), "a question at the other side", 120)
    server.kill()
    [given_back] = node.await_logged("job_given_back")
    assert "broke off before it did answer" in given_back["reason"]
    serving_child("doubles:Threshold", int(address.rpartition(":")[2]))  # the same weights
    node.await_states("DELIVERED")
    assert len(node.log("job_answered")) == 1
    assert (node.child(), node.role("inference")) == (child, role), "the worker lives on"
    node.require_delivered_once()
