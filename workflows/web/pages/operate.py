"""The operator's page: how the node stands, and orders to studies, each foreseen before it is given."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import HTMLResponse

from workflows.errors import CallError
from workflows.quarantine import Quarantine
from workflows.state.requeueing import StudyOutcome
from workflows.state.states import StudyState
from workflows.state.views import EVERY_STUDY, Selection
from workflows.steps.operating import Action, Order, carry_out, foresee
from workflows.steps.quarantined import chosen_from, discard_from, release_from
from workflows.steps.selecting import selection_of
from workflows.web.access import Permission, Person, needs
from workflows.web.operations import standings
from workflows.web.rendering import node_of, render

__all__ = ["router"]

router = APIRouter()
_Operator = Annotated[Person, Depends(needs(Permission.OPERATE))]
_MOST = 500
"""Studies of one order: more are for the command, which nobody's browser waits for."""


class Selectors(BaseModel):
    """Which studies are meant, as the commands take it; what is empty does not restrict."""

    model_config = ConfigDict(extra="forbid")

    study: str = Field(default="", max_length=64)
    accession: str = Field(default="", max_length=64)
    patient: str = Field(default="", max_length=64)
    state: str = Field(default="", max_length=16)
    protocol: str = Field(default="", max_length=128)
    since: str = Field(default="", max_length=32)
    until: str = Field(default="", max_length=32)

    def selection(self) -> Selection:
        """Raises CallError for a state or a time that is none."""
        return selection_of(**{name: value.strip() or None for name, value in self.model_dump().items()})


class Wanted(BaseModel):
    """An order: to studies by UID, or by selectors. `dry_run`: say what would be done, and do nothing."""

    model_config = ConfigDict(extra="forbid")

    study_uid: list[str] | None = Field(default=None, max_length=_MOST)
    selectors: Selectors | None = None
    archive: str | None = Field(default=None, max_length=64)
    dry_run: bool = True


class Aside(BaseModel):
    """Which instances of the quarantine."""

    model_config = ConfigDict(extra="forbid")

    ids: list[str] = Field(min_length=1, max_length=_MOST)
    dry_run: bool = True


@router.get("/operate")
def page(request: Request, person: _Operator) -> HTMLResponse:
    """How the node stands, the quarantine, and the form of an order."""
    node = node_of(request)
    return render(
        request,
        "operate.html",
        standings=standings(node),
        quarantine=Quarantine(node.folder.quarantine).instances()[:_MOST],
        actions=list(Action),
        states=list(StudyState),
        archives=[one.name for one in node.settings.archives],
    )


@router.post("/operate/quarantine/{what}")
def quarantined(
    request: Request, person: _Operator, what: Literal["release", "discard"], aside: Aside
) -> dict[str, Any]:
    """Have instances indexed, or delete them for good. With `dry_run` it is only said."""
    node = node_of(request)
    quarantine = Quarantine(node.folder.quarantine)
    try:
        chosen = chosen_from(quarantine, aside.ids)
    except LookupError as error:
        raise HTTPException(404, str(error)) from error
    if aside.dry_run:
        would = (
            "would be indexed again" if what == "release" else "would be deleted for good; its sender thinks it safe"
        )
        return {"dry_run": True, "outcomes": [{"id": one.identifier, "outcome": would} for one in chosen]}
    outcomes = []
    for one in chosen:
        if what == "release":
            told = release_from(quarantine, one, node.journal, node.repository, person.account)
        else:
            told = discard_from(quarantine, one, node.repository, person.account)
        outcomes.append({"id": one.identifier, "outcome": told})
    return {"dry_run": False, "outcomes": outcomes}


@router.post("/operate/{action}")
def order(request: Request, person: _Operator, action: Action, wanted: Wanted) -> dict[str, Any]:
    """What an order would do to each study, or did. It does what was foreseen: no study that was not shown."""
    node = node_of(request)
    given = Order(action, person.account, _protocol(wanted), wanted.archive)
    if wanted.archive is not None and wanted.archive not in [one.name for one in node.settings.archives]:
        raise HTTPException(422, "the settings have no archive of that name")
    study_uids = _studies(request, wanted)
    outcomes = foresee(node.repository, given, study_uids)
    if not wanted.dry_run:
        outcomes = carry_out(node.repository, given, outcomes)
    unknown = sorted(set(study_uids) - {one.study_uid for one in outcomes})
    return {
        "action": action.value,
        "told": action.told,
        "dry_run": wanted.dry_run,
        "ready": sum(one.ready for one in outcomes),
        "outcomes": [_told(one) for one in outcomes],
        "unknown": unknown,
    }


def _protocol(wanted: Wanted) -> str | None:
    return None if wanted.selectors is None else wanted.selectors.protocol.strip() or None


def _studies(request: Request, wanted: Wanted) -> list[str]:
    if wanted.study_uid is not None:
        return list(dict.fromkeys(wanted.study_uid))
    if wanted.selectors is None:
        raise HTTPException(422, "name the studies: study_uid, or selectors")
    try:
        selection = wanted.selectors.selection()
    except CallError as error:
        raise HTTPException(422, str(error)) from error
    if selection == EVERY_STUDY:
        raise HTTPException(422, "name the studies: by accession number, patient ID, state, protocol, or time")
    found = node_of(request).repository.study_uids(selection)
    if len(found) > _MOST:
        raise HTTPException(422, f"{len(found)} studies are like that; name fewer than {_MOST}, or use the command")
    return found


def _told(outcome: StudyOutcome) -> dict[str, Any]:
    return asdict(outcome)
