"""Wherever the node is killed on a study's way, nothing acknowledged is lost and nothing is sent twice.

One process at each stage, on SQLite. `make soak` has the whole matrix; docs/reliability.md is its report.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dicom_node.fault_points import WITHOUT_A_PERSON, FaultPoint
from tests.crash.scenes import Hospital, hospital, killed_at


@pytest.fixture(scope="module")
def scene() -> Iterator[Hospital]:
    with hospital() as running:
        yield running


@pytest.mark.timeout(240)
@pytest.mark.parametrize("point", WITHOUT_A_PERSON, ids=lambda point: point.value)
def test_a_process_that_is_killed_loses_nothing(scene: Hospital, point: FaultPoint) -> None:
    killed_at(scene, point, whole_node=False)
    counts = scene.counts()
    assert counts.equal, counts.told


@pytest.mark.timeout(240)
def test_a_node_that_is_killed_as_a_whole_loses_nothing(scene: Hospital) -> None:
    killed_at(scene, FaultPoint.WRITTEN, whole_node=True)
    counts = scene.counts()
    assert counts.equal, counts.told
