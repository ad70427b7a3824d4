"""A node's data folder with studies that were read, for tests and for looking at the pages.

    python -m tests.scene DATA_DIR        writes it, and a configuration beside it

Each study is the commissioning body: CT from feet to head, from head to feet, double oblique, with a tilted gantry, and
a radiograph. What is "seen" are boxes in each volume, so that a test knows every voxel.
"""

from __future__ import annotations

import atexit
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np
from pydicom import dcmread

from dicom_node.commissioning.body import Body, BodyImage, BodySeries, make_body
from dicom_node.results.codes import LABELS
from dicom_node.storage.instance import ReceivedInstance
from dicom_node.storage.part10 import data_set_offset
from dicom_node.storage.placing import InspectedSource
from inference.interface import Answer, Predictor, PredictorDescription, Progress, Question, SeenTarget, SliceStack
from tests.answers import unseen
from tests.rules import of_modality
from workflows.bootstrap import Node
from workflows.protocols.schema import ProtocolQuestion, ReadingProtocol
from workflows.settings import Settings
from workflows.state.states import StudyState
from workflows.state.views import Selection
from workflows.state.waker import RecordingWaker
from workflows.steps.plan import plan_study
from workflows.steps.predict import predict_job
from workflows.steps.receive import index_entries

__all__ = ["QUESTIONS", "Boxes", "answer_study", "make_scene", "read_study", "receive_study", "scene_node"]

QUESTIONS = (
    ProtocolQuestion("organs", "Where are liver and spleen?", (LABELS["liver"], LABELS["spleen"])),
    ProtocolQuestion("kidneys", "Is a kidney seen?", (LABELS["kidney left"], LABELS["kidney right"])),
)
_PROTOCOL = ReadingProtocol("abdominal-ct", "3", "Abdomen", QUESTIONS, series=of_modality("CT", "DX", "CR"))


class Boxes(Predictor):
    """Marks a box for each phrase, in parts of the stack's `slices rows columns` in display orientation."""

    seen = {  # noqa: RUF012 (a table)
        "liver": (0.83, ((0.2, 0.8), (0.3, 0.6), (0.15, 0.45))),
        "spleen": (0.88, ((0.3, 0.7), (0.35, 0.55), (0.6, 0.8))),
    }

    @property
    def description(self) -> PredictorDescription:
        return PredictorDescription("boxes", "1", "b" * 64, "research use only")

    def answer(
        self, stack: SliceStack, questions: Sequence[Question], *, progress: Progress | None = None
    ) -> tuple[Answer, ...]:
        targets = tuple(
            SeenTarget(phrase, confidence, self._box(stack.values.shape[:3], box))
            for phrase, (confidence, box) in self.seen.items()
        )
        first, *others = questions
        nothing = (Answer(question, "No kidney is seen.", (), (), unseen(question, ())) for question in others)
        return (Answer(first, "Liver and spleen are seen.", targets, (), unseen(first, targets)), *nothing)

    @staticmethod
    def _box(shape: Sequence[int], box: Sequence[tuple[float, float]]) -> np.ndarray:
        mask = np.zeros(shape, dtype=bool)
        ends = [
            (int(first * n), max(int(first * n) + 1, int(end * n))) for n, (first, end) in zip(shape, box, strict=True)
        ]
        mask[tuple(slice(*one) for one in ends)] = True
        return mask


def scene_node(data_dir: Path, **sections: dict[str, object]) -> Node:
    """A node on a folder; `sections`: settings beside it."""
    node = {"data_dir": str(data_dir), "quiet_period_s": 0.01, **sections.pop("node", {})}
    return Node(Settings.model_validate({"node": node, **sections}))


def make_scene(node: Node, files: Path, studies: int = 1, predictor: Predictor | None = None) -> list[Body]:
    """Receive, plan and answer the body as often as wanted; `files`: where its images are written first.

    The first scene of a node without settings of its own is read once a process, and copied for others.
    """
    plain = scene_node(node.settings.node.data_dir).settings == node.settings
    if predictor is None and plain and not any(node.folder.root.iterdir()):
        return _copied(node, files, studies)
    return _made(node, files, studies, predictor)


def _made(node: Node, files: Path, studies: int, predictor: Predictor | None) -> list[Body]:
    bodies = [make_body(files / str(number), f"scene {number}", datetime.now(UTC)) for number in range(studies)]
    for body in bodies:
        read_study(node, body.study_uid, body.files, predictor)
    return bodies


@cache
def _kept(studies: int) -> tuple[Path, list[Body]]:
    """A folder with `data` and `images` of a scene, and its bodies."""
    folder = Path(tempfile.mkdtemp(prefix="medseg-scene-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    node = scene_node(folder / "data")
    bodies = _made(node, folder / "images", studies, None)
    node.repository.close()
    return folder, bodies


def _copied(node: Node, files: Path, studies: int) -> list[Body]:
    kept, bodies = _kept(studies)
    shutil.copytree(kept / "data", node.folder.root, dirs_exist_ok=True)
    shutil.copytree(kept / "images", files)

    def moved(image: BodyImage) -> BodyImage:
        return replace(image, path=files / image.path.relative_to(kept / "images"))

    def moved_series(series: BodySeries) -> BodySeries:
        return replace(series, images=tuple(map(moved, series.images)))

    return [replace(body, series=tuple(map(moved_series, body.series))) for body in bodies]


def read_study(
    node: Node,
    study_uid: str,
    files: Sequence[Path],
    predictor: Predictor | None = None,
    protocols: Sequence[ReadingProtocol] = (_PROTOCOL,),
) -> None:
    """Receive the files of one study, plan it, and answer it."""
    predictor = predictor or Boxes()
    waker = RecordingWaker()
    planner = replace(node.planner(protocols), model=predictor.description, commissioning=False)
    receive_study(node, study_uid, files)
    plan_study(study_uid, node.repository, node.folder, planner, waker)
    (view,) = node.repository.study_views(Selection(study_uid=study_uid))
    assert view.study.state is not StudyState.UNMATCHED, view.study.reason
    answer_study(node, study_uid, predictor)


def receive_study(node: Node, study_uid: str, files: Sequence[Path]) -> None:
    """Receive the files of one study, and wait until it is complete."""
    index_entries([InspectedSource(node.store.inspect(_received(path))) for path in files], node.receiver)
    while study_uid not in node.repository.complete_quiet_studies():
        time.sleep(0.01)  # until the quiet period is over


def answer_study(node: Node, study_uid: str, predictor: Predictor | None = None) -> None:
    """Answer the jobs of a study that is planned."""
    answering = predictor or Boxes()
    inference = replace(node.inference(), predictor_for=lambda _wanted: answering)
    (view,) = node.repository.study_views(Selection(study_uid=study_uid))
    for job in view.jobs:
        predict_job(job.job.job_key, node.repository, node.folder, inference, RecordingWaker())


def _received(path: Path) -> ReceivedInstance:
    header = dcmread(path, stop_before_pixels=True)
    with path.open("rb") as file:
        file.seek(data_set_offset(file))
        data_set = file.read()
    syntax = header.file_meta.TransferSyntaxUID
    return ReceivedInstance(data_set, header.SOPClassUID, header.SOPInstanceUID, syntax, "CT1")


if __name__ == "__main__":
    folder = Path(sys.argv[1]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "medseg-node.toml").write_text('[node]\ndata_dir = "data"\n')
    for made in make_scene(scene_node(folder / "data"), folder / "images", studies=3):
        print(made.study_uid)
