"""Ask again: a free question about what a study page shows, answered ahead of routine work, kept or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field

from dicom_node.volumes.frames import MIDDLE_FRAME
from inference.errors import InferenceError
from workflows.errors import QuestionRefused, SettingsError
from workflows.state.asking import LONGEST_QUESTION, AskedQuestion, question_text
from workflows.state.reviewing import FindingPlace
from workflows.steps.questions import Shown, ask_study
from workflows.web.access import Permission, Person, needs
from workflows.web.rendering import node_of

__all__ = ["question_model", "router"]

router = APIRouter()
_T = TypeVar("_T")
_Looker = Annotated[Person, Depends(needs(Permission.LOOK))]
_Reviewer = Annotated[Person, Depends(needs(Permission.REVIEW))]
_QUESTIONS = "/studies/{study_uid}/questions"


class Typed(BaseModel):
    """A question as it is sent. `job_key`: whose series is shown; or `series_uid` where no job of it is.

    `finding`: place of the finding that is chosen on the page, which "how big is it?" means.
    """

    model_config = ConfigDict(extra="forbid")

    question: str = Field(max_length=65536)  # the sentence that refuses a long one says how long it may be
    job_key: str | None = Field(default=None, max_length=64)
    series_uid: str | None = Field(default=None, max_length=64)
    part: int = Field(default=0, ge=0, le=100_000)
    finding: str | None = Field(default=None, max_length=128)


@router.get(_QUESTIONS)
def listed(request: Request, person: _Looker, study_uid: str) -> dict[str, Any]:
    """The questions about a study, the earliest first, without those whose answers were not kept."""
    asked = node_of(request).repository.questions(study_uid)
    may_ask = person.may(Permission.REVIEW)
    return {"questions": [question_model(one) for one in asked], "may_ask": may_ask, "longest": LONGEST_QUESTION}


@router.post(_QUESTIONS, status_code=202)
def ask(request: Request, person: _Reviewer, study_uid: str, typed: Typed) -> dict[str, Any]:
    """Have a question answered; the answer comes later, and `GET` of the question says how far it is."""
    try:
        text = question_text(typed.question)
    except QuestionRefused as error:
        raise HTTPException(422, str(error)) from error
    node = node_of(request)
    try:
        asker = node.asker()
    except (InferenceError, SettingsError) as error:
        raise HTTPException(503, f"no weights can answer now: {error}") from error
    shown = _shown(request, study_uid, typed)
    asked = _known(ask_study, study_uid, text, shown, person.account, node.repository, node.folder, asker)
    return question_model(asked)


@router.get(_QUESTIONS + "/{job_key}")
def how_far(request: Request, person: _Looker, study_uid: str, job_key: str) -> dict[str, Any]:
    """One question: waiting, being read, answered, or failed with the reason."""
    return question_model(_known(node_of(request).repository.question, study_uid, job_key))


@router.post(_QUESTIONS + "/{job_key}/keep")
def keep(request: Request, person: _Reviewer, study_uid: str, job_key: str) -> dict[str, Any]:
    """Keep an answer: a further SR and SEG go to the archives."""
    return question_model(_known(node_of(request).repository.keep_answer, study_uid, job_key, person.account))


@router.post(_QUESTIONS + "/{job_key}/drop")
def drop(request: Request, person: _Reviewer, study_uid: str, job_key: str) -> dict[str, Any]:
    """Do not keep an answer, or do not wait for it: nothing is sent."""
    return question_model(_known(node_of(request).repository.drop_answer, study_uid, job_key, person.account))


def question_model(asked: AskedQuestion) -> dict[str, Any]:
    """A question as the page shows it. What it marked stands in the page's model, under the same `job_key`.

    `stage`: waiting, reading, answered, failed. `told`: a sentence on that. `answers`: one for each part of the series.
    """
    return {
        "job_key": asked.job.job_key,
        "question": asked.text,
        "series_uid": asked.job.series_uid,
        "part": asked.part,
        "asked_by": asked.asked_by,
        "asked_at": asked.asked_at.isoformat(),
        "stage": asked.stage.value,
        "told": asked.told,
        "state": asked.state.value,
        "preliminary": asked.preliminary,
        "current": asked.current,
        "decided_by": asked.decided_by,
        "decided_at": None if asked.decided_at is None else asked.decided_at.isoformat(),
        "terms": asked.job.model.terms,
        "answers": [
            {
                "answer": number,
                "part": answer.part,
                "text": answer.text,
                "findings": [finding.label for finding in answer.findings],
                "not_seen": list(answer.not_seen or ()),
                "not_assessed": [{"label": one.label, "reason": one.reason} for one in answer.not_assessed],
            }
            for number, answer in enumerate(asked.job.answers)
        ],
    }


def _shown(request: Request, study_uid: str, typed: Typed) -> Shown:
    """What the person looks at: the series of a job of this study, with the frames that were read of it."""
    if typed.job_key is not None:
        job = _known(node_of(request).repository.job, typed.job_key)
        if job.study_uid != study_uid:
            raise HTTPException(404, "this study has no such result")
        return Shown(job.series_uid, typed.part, job.frames, job, _chosen(typed, job.job_key))
    if typed.series_uid is None:
        raise HTTPException(422, "say which series is shown: job_key or series_uid")
    return Shown(typed.series_uid, typed.part, MIDDLE_FRAME)


def _chosen(typed: Typed, job_key: str) -> FindingPlace | None:
    """The finding that is chosen, where it is one of the job that is shown."""
    if typed.finding is None:
        return None
    try:
        place = FindingPlace.parse(typed.finding)
    except ValueError as error:
        raise HTTPException(422, "the finding has no such place: choose it again") from error
    return place if place.job_key == job_key else None


def _known(act: Callable[..., _T], *arguments: Any) -> _T:
    """What a step says, as a status: unknown is 404, what cannot be done now 409, each with its sentence."""
    try:
        return act(*arguments)
    except LookupError as error:
        raise HTTPException(404, str(error)) from error
    except QuestionRefused as error:
        raise HTTPException(409, str(error)) from error
