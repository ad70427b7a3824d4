"""A series of several volumes, images or frames goes through every step as the parts of one job."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dicom_node.volumes.frames import FrameChoice
from tests.corpus.kinds import KINDS
from tests.corpus.predictors import MarkingPredictor, bright
from tests.rules import of_modality
from workflows.commands.reporting import explain_study
from workflows.commands.telling import explained
from workflows.protocols.schema import ReadingProtocol
from workflows.state.records import PartKind
from workflows.steps.plan import COMMISSIONING_QUESTION

if TYPE_CHECKING:
    from .conftest import Archive, Steps

pytestmark = pytest.mark.slow


@pytest.fixture
def marking(steps: Steps) -> Steps:
    """A node whose predictor marks what is bright in a phantom."""
    steps.predictor = MarkingPredictor(bright)
    steps.planner = replace(steps.planner, model=steps.predictor.description)
    return steps


def files_of(kind: str, folder: Path) -> list[Path]:
    folder.mkdir()
    sample = next(one for one in KINDS if one.name == kind).write(folder)
    return list(sample.files)


def test_two_echoes_are_two_parts_with_a_segmentation_each_and_one_report(
    marking: Steps, archive: Archive, tmp_path: Path
) -> None:
    study_uid = marking.through(*files_of("MR, two echoes", tmp_path / "echoes"))
    (job,) = marking.jobs(study_uid)
    assert [(part.kind, part.name.split()[0]) for part in job.parts] == [(PartKind.VOLUME, "echo")] * 2
    assert archive.kinds() == ["SEG", "SEG", "SR"]
    lines = list(explained(explain_study(marking.repository, marking.folder, study_uid)))
    assert any("(part 2, echo" in line for line in lines)


def test_what_is_left_out_is_named_in_the_report_and_in_explain(
    marking: Steps, archive: Archive, tmp_path: Path
) -> None:
    study_uid = marking.through(*files_of("A localizer among CT slices", tmp_path / "slices"))
    (job,) = marking.jobs(study_uid)
    assert len(job.parts) == 1 and [note.split(":")[0] for note in job.notes] == ["Not read"]
    report = archive.objects[-1]
    assert job.notes[0] in [item.TextValue for item in report.ContentSequence if item.ValueType == "TEXT"]
    assert any(job.notes[0] in line for line in explained(explain_study(marking.repository, marking.folder, study_uid)))


@pytest.mark.parametrize(("frames", "read", "marked"), [("middle", 1, 1), ("all", 5, 3)])
def test_a_protocol_chooses_the_frames_of_a_cine(
    marking: Steps, archive: Archive, tmp_path: Path, frames: str, read: int, marked: int
) -> None:
    protocol = ReadingProtocol(
        "cine", "1", "Cine", (COMMISSIONING_QUESTION,), series=of_modality("US"), frames=FrameChoice(frames)
    )
    marking.planner = replace(marking.planner, protocols=(protocol,), commissioning=False)
    study_uid = marking.through(*files_of("US, cine", tmp_path / "cine"))
    (job,) = marking.jobs(study_uid)
    assert job.frames == FrameChoice(frames)
    assert [(part.kind, part.slices) for part in job.parts] == [(PartKind.IMAGE, read)]
    (segmentation,) = (one for one in archive.objects if one.Modality == "SEG")
    assert segmentation.NumberOfFrames == marked
