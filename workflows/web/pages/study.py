"""The study page: what was asked, what was seen, where it comes from."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Request
from starlette.background import BackgroundTask
from starlette.responses import HTMLResponse, JSONResponse, Response

from workflows.web.access import Permission, Person, needs
from workflows.web.auditing import looked
from workflows.web.rendering import node_of, render
from workflows.web.showing import showing_of
from workflows.web.study_model import study_model
from workflows.web.thumbnails import thumbnail

__all__ = ["router"]

router = APIRouter()
Looking = Annotated[Person, Depends(needs(Permission.LOOK))]

_GONE = "This study is not here. It was removed from this node, or never came; the worklist shows what is here."


@router.get("/studies/{study_uid}")
def page(request: Request, study_uid: str, person: Looking) -> HTMLResponse:
    """The page of one study."""
    try:
        model = study_model(node_of(request), showing_of(request), study_uid)
    except LookupError:
        return render(request, "study_gone.html", 404, sentence=_GONE)
    looked(request, study_uid)
    response = render(request, "study.html", model=model.values)
    first = model.shown_first
    if first is not None:  # the page asks for it next
        response.background = BackgroundTask(showing_of(request).look_at, first)
    return response


@router.get("/studies/{study_uid}/model")
def model(request: Request, study_uid: str, person: Looking, job: str = "") -> JSONResponse:
    """What the page shows, as JSON. `job`: whose images are looked at; the first answered one's if it is empty."""
    try:
        found: dict[str, Any] = study_model(node_of(request), showing_of(request), study_uid, whole=job).values
    except LookupError as error:
        raise HTTPException(404, _GONE) from error
    looked(request, study_uid)
    return JSONResponse(found, headers={"Cache-Control": "no-store"})


@router.get("/studies/{study_uid}/thumbnail")
def small_picture(request: Request, study_uid: str, person: Looking) -> Response:
    """The key slice with its contours, small; an empty picture where there is none to show."""
    content = thumbnail(node_of(request), showing_of(request), study_uid)
    headers = {"Cache-Control": "private, max-age=60"}
    return Response(content, media_type="image/png", headers=headers)
