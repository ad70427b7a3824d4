"""Verdicts: drafts, signing, undoing, who has a study open, proposed corrections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse

from workflows.bootstrap import Node
from workflows.errors import ReviewRefused
from workflows.state.review_checks import StaleResults, StaleReview
from workflows.state.reviewing import FindingPlace, FindingVerdict, Missed, ReviewState, VerdictKind, WrongWords
from workflows.state.reviews import Reviewer, Version
from workflows.steps.reopening import same_results
from workflows.web.access import Permission, Person, needs
from workflows.web.rendering import node_of
from workflows.web.review_model import proposed_place, review_values
from workflows.web.showing import showing_of

__all__ = ["router"]

router = APIRouter()
Looking = Annotated[Person, Depends(needs(Permission.LOOK))]
Reviewing = Annotated[Person, Depends(needs(Permission.REVIEW))]

_Base = Annotated[tuple[int, int] | None, Field(description="number and version of the review that the page has read")]
_PLACE = r"^[0-9a-zA-Z._-]{1,64}/\d{1,4}/\d{1,4}$"


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class VerdictBody(_Body):
    """A verdict as the page sends it."""

    place: str = Field(pattern=_PLACE)
    kind: Literal["accept", "outline", "name", "not-there"]
    reason: str = Field(default="", max_length=500)
    label: str | None = Field(default=None, max_length=64)
    correction: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")

    def verdict(self) -> FindingVerdict:
        place = FindingPlace.parse(self.place)
        return FindingVerdict(place, VerdictKind(self.kind), self.reason, self.label, self.correction)


class MissedBody(_Body):
    """Something missed as the page sends it."""

    job_key: str = Field(max_length=64)
    answer: int = Field(ge=0, le=9999)
    label: str = Field(max_length=64)
    slice: int = Field(ge=0, le=100_000)
    row: float
    column: float
    reason: str = Field(default="", max_length=500)
    correction: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")

    def missed(self) -> Missed:
        return Missed(**self.model_dump())


class WordsBody(_Body):
    """An answer whose words are wrong, as the page sends it."""

    job_key: str = Field(max_length=64)
    answer: int = Field(ge=0, le=9999)
    reason: str = Field(default="", max_length=500)

    def wrong(self) -> WrongWords:
        return WrongWords(**self.model_dump())


class BaseBody(_Body):
    """Which review the page has read; null: it has read that there is none."""

    base: list[int] | None = Field(default=None, min_length=2, max_length=2)

    @property
    def version(self) -> Version | None:
        return None if self.base is None else (self.base[0], self.base[1])


class DraftBody(BaseBody):
    """A whole draft."""

    verdicts: list[VerdictBody] = Field(max_length=500)
    missed: list[MissedBody] = Field(default_factory=list, max_length=200)
    words: list[WordsBody] = Field(default_factory=list, max_length=200)


class SignBody(BaseBody):
    """A signature. `results`: the token of the results that the page has shown."""

    results: str = Field(max_length=64)


class OpenBody(_Body):
    """Whether the page is being closed."""

    closed: bool = False


class DecisionBody(BaseBody):
    """What becomes of a proposed correction."""

    decision: Literal["confirm", "dismiss"]


@router.get("/studies/{study_uid}/review")
def review(request: Request, person: Looking, study_uid: str) -> JSONResponse:
    """The review as it stands, and what may be done."""
    return _answered(request, person, study_uid, lambda _node: None)


@router.put("/studies/{study_uid}/review")
def save(request: Request, person: Reviewing, study_uid: str, body: DraftBody) -> JSONResponse:
    """Keep a draft."""
    verdicts, missed = [one.verdict() for one in body.verdicts], [one.missed() for one in body.missed]
    words = [one.wrong() for one in body.words]

    def keep(node: Node) -> None:
        _require_unwritten(node, study_uid, body)
        node.repository.save_review(study_uid, _reviewer(person), body.version, verdicts, missed, words)

    return _answered(request, person, study_uid, keep)


@router.post("/studies/{study_uid}/review/sign")
def sign(request: Request, person: Reviewing, study_uid: str, body: SignBody) -> JSONResponse:
    """Sign the own draft, on the results that the page has shown."""

    def signed(node: Node) -> None:
        _require_unwritten(node, study_uid, body)
        undo_s = node.settings.web.undo_s
        node.repository.sign_review(study_uid, _reviewer(person), body.version, undo_s, body.results)

    return _answered(request, person, study_uid, signed)


@router.post("/studies/{study_uid}/review/undo")
def undo(request: Request, person: Reviewing, study_uid: str) -> JSONResponse:
    """Take a signature back, until it is written."""
    return _answered(request, person, study_uid, lambda node: node.repository.undo_review(study_uid, _reviewer(person)))


@router.post("/studies/{study_uid}/review/take-over")
def take_over(request: Request, person: Reviewing, study_uid: str, body: BaseBody) -> JSONResponse:
    """Go on with another person's draft."""
    base = _required(body)
    return _answered(
        request, person, study_uid, lambda node: node.repository.take_over(study_uid, _reviewer(person), base)
    )


@router.post("/studies/{study_uid}/review/reopen")
def reopen(request: Request, person: Reviewing, study_uid: str, body: BaseBody) -> JSONResponse:
    """Take the own draft to the results of a later reading."""
    base = _required(body)

    def reopened(node: Node) -> None:
        current = node.repository.review(study_uid)
        if current is None or current.state is not ReviewState.DRAFT:
            raise ReviewRefused("there is no draft of a review here: begin one")
        same = same_results(current, node.repository, showing_of(request))
        node.repository.reopen_review(study_uid, _reviewer(person), base, same)

    return _answered(request, person, study_uid, reopened)


@router.post("/studies/{study_uid}/review/amend")
def amend(request: Request, person: Reviewing, study_uid: str, body: BaseBody) -> JSONResponse:
    """Begin a further review of what is written, on purpose."""
    base = _required(body)
    return _answered(
        request, person, study_uid, lambda node: node.repository.amend_review(study_uid, _reviewer(person), base)
    )


@router.post("/studies/{study_uid}/review/withdraw")
def withdraw(request: Request, person: Reviewing, study_uid: str, body: BaseBody) -> JSONResponse:
    """Throw the own draft away."""
    base = _required(body)
    return _answered(
        request, person, study_uid, lambda node: node.repository.withdraw_review(study_uid, _reviewer(person), base)
    )


@router.post("/studies/{study_uid}/open")
def opened(request: Request, person: Looking, study_uid: str, body: OpenBody) -> JSONResponse:
    """A page of the study is open, or is being closed. Answers who else has it open, and the review's version."""

    def beat(node: Node) -> None:
        if body.closed:
            node.repository.close_study(study_uid, person.account)
        else:
            node.repository.open_study(study_uid, person.account, person.name)

    return _answered(request, person, study_uid, beat, only=("base", "open", "stale", "results"))


@router.post("/studies/{study_uid}/proposals/{seg_uid}/{segment}")
def decide(
    request: Request, person: Reviewing, study_uid: str, seg_uid: str, segment: int, body: DecisionBody
) -> JSONResponse:
    """Confirm a proposed correction into the own draft, or dismiss it."""

    def decided(node: Node) -> None:
        repository, who = node.repository, _reviewer(person)
        if body.decision == "dismiss":
            repository.dismiss_proposal(study_uid, (seg_uid, segment), who)
            return
        named = ((one.sop_instance_uid, one.segment, one) for one in repository.proposals(study_uid))
        proposal = next((one for uid, number, one in named if (uid, number) == (seg_uid, segment)), None)
        subject = repository.review_subject(study_uid)
        if proposal is None or subject is None:
            raise LookupError("nothing is proposed under this address any more: load the page again")
        _require_unwritten(node, study_uid, body)
        missed = proposed_place(node, proposal, subject)
        repository.confirm_proposal(study_uid, (seg_uid, segment), who, body.version, missed)

    return _answered(request, person, study_uid, decided)


# --- What they share --------------------------------------------------------------------------------------------------


def _reviewer(person: Person) -> Reviewer:
    return Reviewer(person.account, person.name)


def _required(body: BaseBody) -> Version:
    return body.version or (0, 0)  # which no review has, so it is told that it is another


def _require_unwritten(node: Node, study_uid: str, body: BaseBody) -> None:
    """Raise ReviewRefused for a change of what is signed and written: that is amended, on purpose."""
    current = node.repository.review(study_uid)
    if current is None or current.state is not ReviewState.WRITTEN:
        return
    if body.version == (current.number, current.version):
        raise ReviewRefused("this review is signed and written: choose Amend to begin a further one")


def _answered(
    request: Request, person: Person, study_uid: str, act: Callable[[Node], object], *, only: tuple[str, ...] = ()
) -> JSONResponse:
    """Do it, and answer with the review as it is then, or with a sentence; `kind` says which choice the page offers."""
    node = node_of(request)
    try:
        act(node)
        values = review_values(node, person, study_uid)
    except LookupError as error:
        return _refusal(404, "gone", str(error.args[0]) if error.args else "it is not here any more")
    except StaleReview as error:
        return _refusal(409, "stale", str(error), current=review_values(node, person, study_uid))
    except StaleResults as error:
        return _refusal(409, "results", str(error), current=review_values(node, person, study_uid))
    except ReviewRefused as error:
        return _refusal(409, "refused", str(error))
    shown = {name: values[name] for name in only} if only else values
    return JSONResponse(shown, headers={"Cache-Control": "no-store"})


def _refusal(status: int, kind: str, sentence: str, **more: Any) -> JSONResponse:
    detail = sentence[:1].upper() + sentence[1:]
    return JSONResponse({"detail": detail, "kind": kind, **more}, status, headers={"Cache-Control": "no-store"})
