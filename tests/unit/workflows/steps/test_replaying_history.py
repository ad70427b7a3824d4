"""Replaying a history: what a node has planned, decided again, by one process as by several."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tests.rules import of_modality
from workflows.protocols.replaying import Difference
from workflows.protocols.schema import ProtocolQuestion, ReadingProtocol
from workflows.steps.replaying_history import NodeHistory, cost_here, difference_over, summary_over

if TYPE_CHECKING:
    from .conftest import Steps


def test_a_nodes_own_history_is_replayed_with_the_models_time_by_one_process_as_by_two(
    steps: Steps, phantom: Callable[..., Path]
) -> None:
    asked = ReadingProtocol("all-ct", "1", "", (ProtocolQuestion("q", "What is seen?", ()),), series=of_modality("CT"))
    studies = []
    for number in range(3):
        study_uid = f"1.2.826.0.1.{number}"
        steps.receive(
            phantom(
                1, 1, StudyInstanceUID=study_uid, SeriesInstanceUID=f"{study_uid}.1", SOPInstanceUID=f"{study_uid}.2"
            )
        )
        steps.tick(100)
        studies += steps.complete()
        steps.plan(studies[-1])
    for study_uid in studies:
        for key in steps.keys(study_uid):
            steps.predict(key)
    cost = cost_here(steps.repository)
    assert cost.jobs == 3 and cost.seconds_a_slice_and_question > 0
    found = NodeHistory(f"sqlite:///{steps.folder.root / 'state.db'}", steps.folder.root)
    told = [difference_over(found, [asked], [], cost=cost, processes=count) for count in (1, 2)]
    assert told[0] == told[1] and told[0].studies == 3 and len(told[0].removed) == 3
    assert told[0].minutes_before is not None and told[0].minutes_after == 0.0
    summed = summary_over(NodeHistory(found.database_url, found.data_dir, until=steps.now), [asked])
    assert (summed.studies, summed.matched, summed.minutes) == (3, 3, None)
    shutil.rmtree(steps.folder.root / "instances")  # retention
    assert difference_over(found, [asked], []) == without_minutes(told[0])


def without_minutes(found: Difference) -> Difference:
    protocols = tuple(replace(one, minutes_before=None, minutes_after=None) for one in found.protocols)
    return replace(found, minutes_before=None, minutes_after=None, protocols=protocols)
