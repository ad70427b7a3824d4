"""Questions: what a person asks of a series that is shown becomes a job, which any inference worker takes up."""

from __future__ import annotations

from dataclasses import dataclass, field

import structlog

from dicom_node.results.codes import concepts_in
from dicom_node.volumes.frames import MIDDLE_FRAME, FrameChoice
from inference.interface import PredictorDescription
from workflows.data_folder import DataFolder
from workflows.errors import FilesUnreadable, QuestionRefused
from workflows.protocols.conversation import goes_on
from workflows.protocols.schema import Priority, ProtocolQuestion, Turn
from workflows.state.answers import AnswerRecord
from workflows.state.asking import QUESTION_PROTOCOL, AskedQuestion, question_text
from workflows.state.keys import LOW_CONFIDENCE, answer_key, job_key, request_key
from workflows.state.records import Destination, Job, JobPlan
from workflows.state.repository import Repository
from workflows.state.reviewing import FindingPlace
from workflows.steps.identity import disagreement
from workflows.steps.inputs import images_of, inputs_of, require_readable

__all__ = ["Asker", "Shown", "ask_study"]

log = structlog.get_logger()
_VERSION = "1"
_MOST_TURNS = 8


@dataclass(frozen=True)
class Asker:
    """What asking needs beside the question: the weights that would answer, and where an answer goes that is kept."""

    model: PredictorDescription
    destinations: tuple[Destination, ...]
    software: str
    node_uid: str
    low_confidence: float = LOW_CONFIDENCE

    def job(
        self,
        study_uid: str,
        series_uid: str,
        inputs: tuple[str, ...],
        text: str,
        frames: FrameChoice = MIDDLE_FRAME,
        earlier: tuple[Turn, ...] = (),
    ) -> JobPlan:
        """The job of a question, with its keys: the same to the same images by the same weights is the same job.

        `earlier`: the conversation that it goes on from; another conversation makes another job.
        """
        questions = (ProtocolQuestion("question", text, concepts_in(text), earlier=earlier),)
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
    """What a person looks at while asking: a series, the part of it, and which frames were read of a cine.

    `job`: whose result is shown, if any; `finding`: which of its findings is chosen.
    """

    series_uid: str
    part: int = 0
    frames: FrameChoice = field(default=MIDDLE_FRAME)
    job: Job | None = None
    finding: FindingPlace | None = None


def ask_study(
    study_uid: str, typed: str, shown: Shown, asked_by: str, repository: Repository, folder: DataFolder, asker: Asker
) -> AskedQuestion:
    """Have what a person typed answered about the series that is shown, ahead of routine work. Returns at once.

    The whole series is read; `shown.part` is where the page shows the answer first. A question such as "how big is it?"
    goes on from what is shown and from what this person has asked of the series. Raises QuestionRefused with what to
    do, also for a text that asks for nothing; LookupError for an unknown study or series.
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
    turns = _turns(text, study_uid, shown, asked_by, repository)
    earlier = turns if goes_on(text, turns) else ()
    plan = asker.job(study_uid, shown.series_uid, inputs_of(images), text, shown.frames, earlier)
    asked = repository.ask_question(study_uid, study.generation, plan, asked_by, shown.part)
    log.info("question_asked", study_uid=study_uid, job_key=plan.job_key, asked_by=asked_by)
    return asked


def _turns(text: str, study_uid: str, shown: Shown, asked_by: str, repository: Repository) -> tuple[Turn, ...]:
    """What was asked and answered of the part that is shown, the finding at hand last.

    First what the shown job says, then this person's own questions about the series; a finding that is chosen on the
    page is the one at hand. A turn with the same text is left out: the question is asked again.
    """
    turns: list[Turn] = []
    chosen: list[Turn] = []
    for number, answer in enumerate(() if shown.job is None else shown.job.answers):
        if answer.part != shown.part or answer.not_asked:
            continue
        place = shown.finding
        if place is not None and place.answer == number and place.finding < len(answer.findings):
            chosen.append(Turn(answer.question, answer.text, (answer.findings[place.finding].phrase,)))
        elif shown.job is not None and shown.job.question is None:
            turns.append(_turn(answer))
    for one in repository.questions(study_uid):
        if one.job.series_uid == shown.series_uid and one.asked_by == asked_by and one.current:
            turns += [_turn(answer) for answer in one.job.answers if answer.part == shown.part]
    at_hand = {(turn.question, turn.answer) for turn in chosen}
    turns = [*(turn for turn in turns if (turn.question, turn.answer) not in at_hand), *chosen]
    known = [turn for turn in turns if turn.question.casefold() != text.casefold()]
    return tuple(known[-_MOST_TURNS:])


def _turn(answer: AnswerRecord) -> Turn:
    phrases = tuple(finding.phrase for finding in answer.findings) or answer.not_seen or ()
    return Turn(answer.question, answer.text, phrases)
