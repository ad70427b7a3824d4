"""Questions: what a person asks of a series that is shown becomes a job, which any inference worker takes up."""

from __future__ import annotations

from dataclasses import dataclass, field

import structlog

from dicom_node.results.codes import concepts_in
from dicom_node.volumes.frames import MIDDLE_FRAME, FrameChoice
from inference.interface import PredictorDescription
from workflows.data_folder import DataFolder
from workflows.errors import FilesUnreadable, QuestionRefused
from workflows.protocols.schema import Priority, ProtocolQuestion
from workflows.state.asking import QUESTION_PROTOCOL, AskedQuestion, question_text
from workflows.state.keys import LOW_CONFIDENCE, answer_key, job_key, request_key
from workflows.state.records import Destination, JobPlan
from workflows.state.repository import Repository
from workflows.steps.identity import disagreement
from workflows.steps.inputs import images_of, inputs_of, require_readable

__all__ = ["Asker", "Shown", "ask_study"]

log = structlog.get_logger()
_VERSION = "1"


@dataclass(frozen=True)
class Asker:
    """What asking needs beside the question: the weights that would answer, and where an answer goes that is kept."""

    model: PredictorDescription
    destinations: tuple[Destination, ...]
    software: str
    node_uid: str
    low_confidence: float = LOW_CONFIDENCE

    def job(
        self, study_uid: str, series_uid: str, inputs: tuple[str, ...], text: str, frames: FrameChoice = MIDDLE_FRAME
    ) -> JobPlan:
        """The job of a question, with its keys: the same to the same images by the same weights is the same job."""
        # Concepts that the question names can then be told as not seen; whatever else is seen may be marked.
        questions = (ProtocolQuestion("question", text, concepts_in(text)),)
        request = request_key(study_uid, series_uid, inputs, QUESTION_PROTOCOL, _VERSION, questions, frames=frames)
        answer = answer_key(request, self.model.digest)
        return JobPlan(
            job_key=job_key(answer, self.software, self.node_uid, self.low_confidence),
            request_key=request,
            answer_key=answer,
            series_uid=series_uid,
            protocol=QUESTION_PROTOCOL,
            protocol_version=_VERSION,
            questions=questions,
            inputs=inputs,
            model=self.model,
            software=self.software,
            destinations=self.destinations,
            frames=frames,
            priority=Priority.STAT,
        )


@dataclass(frozen=True)
class Shown:
    """What a person looks at while asking: a series, the part of it, and which frames were read of a cine."""

    series_uid: str
    part: int = 0
    frames: FrameChoice = field(default=MIDDLE_FRAME)


def ask_study(
    study_uid: str, typed: str, shown: Shown, asked_by: str, repository: Repository, folder: DataFolder, asker: Asker
) -> AskedQuestion:
    """Have what a person typed answered about the series that is shown, ahead of routine work. Returns at once.

    The whole series is read; `shown.part` is where the page shows the answer first. Raises QuestionRefused with what
    to do; LookupError for an unknown study or series.
    """
    text = question_text(typed)
    study = repository.study(study_uid)
    if study is None:
        raise LookupError("no such study was received here, or it was purged")
    if removed_at := repository.inputs_removed_at(study_uid):
        raise QuestionRefused(
            f"its images were removed on {removed_at.date().isoformat()} by retention: send the study again, then ask"
        )
    images = images_of(repository.instances(study_uid), shown.series_uid)
    if not images:
        raise LookupError("the study has no images of this series, or none that may be read")
    if (found := disagreement(images)) is not None and found.within:
        raise QuestionRefused(f"the series names two patients and is never read: {found.reason}")
    try:
        require_readable(images, folder)
    except FilesUnreadable as error:
        repository.suspect(study_uid)
        raise QuestionRefused(f"images of this series cannot be read: {error}") from error
    plan = asker.job(study_uid, shown.series_uid, inputs_of(images), text, shown.frames)
    asked = repository.ask_question(study_uid, study.generation, plan, asked_by, shown.part)
    log.info("question_asked", study_uid=study_uid, job_key=plan.job_key, asked_by=asked_by)
    return asked
