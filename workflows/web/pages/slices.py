"""Slices made from the node's own store, and the outlines on them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Request
from starlette.responses import JSONResponse, Response

from dicom_node.results.colours import hex_of
from dicom_node.showing.outlines import loops
from dicom_node.showing.windows import Window
from workflows.errors import NotShown
from workflows.state.reviewing import FindingPlace
from workflows.web.access import Permission, Person, needs
from workflows.web.as_signed import signed_label
from workflows.web.rendering import node_of
from workflows.web.review_outlines import review_outlines
from workflows.web.showing import job_of, job_view_of, not_shown, showing_of

__all__ = ["router"]

router = APIRouter()
Looking = Annotated[Person, Depends(needs(Permission.LOOK))]
_PART = "/studies/{study_uid}/jobs/{job_key}/parts/{part}"
_NO_STORE = {"Cache-Control": "no-store"}


@router.get(_PART + "/slices/{index}")
def picture(
    request: Request, study_uid: str, job_key: str, part: int, index: int, person: Looking, window: str = ""
) -> Response:
    """A slice as a PNG in display orientation. `window`: centre,width; the first of its stack if it is empty."""
    job = job_of(request, study_uid, job_key)
    try:
        content = showing_of(request).picture(job, part, index, _window(window))
    except NotShown as error:
        raise not_shown(error) from error
    except LookupError as error:
        raise HTTPException(404, f"There is no such slice: {error}.") from error
    return Response(content, media_type="image/png", headers=_NO_STORE)


@router.get(_PART + "/slices/{index}/values")
def values(request: Request, study_uid: str, job_key: str, part: int, index: int, person: Looking) -> Response:
    """A slice's values in display orientation, which the page windows itself: rows by rows, little-endian, in gzip.

    `X-Kind`: int16, uint16, float32 or rgb8; `X-Rows`, `X-Columns`: its size as shown.
    """
    job = job_of(request, study_uid, job_key)
    try:
        raw = showing_of(request).raw(job, part, index)
    except NotShown as error:
        raise not_shown(error) from error
    except LookupError as error:
        raise HTTPException(404, f"There is no such slice: {error}.") from error
    headers = {
        **_NO_STORE,
        "Content-Encoding": "gzip",
        "X-Kind": raw.kind,
        "X-Rows": str(raw.rows),
        "X-Columns": str(raw.columns),
    }
    return Response(raw.content, media_type="application/octet-stream", headers=headers)


@router.get(_PART + "/outlines/{index}")
def outlines(request: Request, study_uid: str, job_key: str, part: int, index: int, person: Looking) -> JSONResponse:
    """Outlines of the findings of a part on one slice, in source-grid coordinates: column and row, corners of pixels.

    Filled by the even-odd rule they are the mask. What the current review corrects is shown corrected;
    what was signed not to be there is not shown.
    """
    view = job_view_of(request, study_uid, job_key)
    showing, review = showing_of(request), node_of(request).repository.review(study_uid)
    objects = tuple(one.result for one in view.objects)
    try:
        masks = showing.masks(view.job, objects, part)
    except NotShown as error:
        raise not_shown(error) from error
    found: list[dict[str, Any]] = []
    for place, mask in zip(showing.findings(view.job, part), masks, strict=False):
        label = signed_label(review, place, view.job.answers[place.answer].findings[place.finding].label)
        if label is None:
            continue
        corrected = showing.corrected(review, place)
        shown = corrected or mask
        if 0 <= index < shown.shape[0] and (drawn := loops(shown.slice(index))):
            found.append(_outline(label, place, drawn, corrected=corrected is not None))
    found += review_outlines(node_of(request), review, job_key, part, view.job.answers, index)
    return JSONResponse({"slice": index, "findings": found}, headers=_NO_STORE)


def _outline(label: str, place: FindingPlace, drawn: list[Any], *, corrected: bool) -> dict[str, Any]:
    return {
        "place": place.text,
        "label": label,
        "colour": hex_of(label),
        "corrected": corrected,
        "loops": drawn,
    }


def _window(text: str) -> Window | None:
    if not text:
        return None
    try:
        centre, width = (float(one) for one in text.split(","))
        return Window("", centre, width)
    except ValueError as error:
        raise HTTPException(400, "window is a centre and a width, such as window=40,400") from error
