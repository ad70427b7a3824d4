"""The review page: image, overlay and conversation, with every decision on the keyboard."""

from __future__ import annotations

import io
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, PackageLoader, select_autoescape
from pydantic import BaseModel

from inference.medseg_qa.checks import check_turn
from inference.medseg_qa.compose import ImageFacts
from inference.medseg_qa.errors import MedSegQAError, ReviewError
from inference.medseg_qa.knowledge import load_knowledge
from inference.medseg_qa.plots import mask_colour, overlay
from inference.medseg_qa.records import Turn
from inference.medseg_qa.review.store import Decision, Item, ReviewStore

__all__ = ["make_review_app"]

_SIDE = 560


class EditedTurn(BaseModel):
    """Question and answer as a reader left them."""

    question: str
    answer: str


class Verdict(BaseModel):
    """What the page sends."""

    reader: str
    decision: Decision
    reason: str = ""
    turns: list[EditedTurn] | None = None


def make_review_app(directory: Path, store: ReviewStore) -> FastAPI:
    """The page over one set and its queue. It asks nobody to sign in: who serves it puts a front door before it."""
    app = FastAPI(title="MedSeg-QA review", docs_url=None, redoc_url=None, openapi_url=None)
    pages = Environment(loader=PackageLoader("inference.medseg_qa.review"), autoescape=select_autoescape())
    pages.globals["mask_colour"] = mask_colour

    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")

    @app.exception_handler(MedSegQAError)
    def refused(request: Request, error: MedSegQAError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, status_code=409)

    @app.get("/")
    def page(reader: str = "", at: Annotated[int | None, Query(ge=0)] = None) -> HTMLResponse:
        summary = store.summary()
        position = store.next_position(reader) if at is None else at if at < summary.items else None
        item = store.item(directory, position, reader) if reader and position is not None else None
        html = pages.get_template("review.html").render(reader=reader, item=item, summary=summary)
        return HTMLResponse(html, headers={"Cache-Control": "no-store"})

    @app.get("/image/{position}")
    def picture(position: int, masks: bool = True) -> Response:
        record = store.item(directory, position, "").record
        shown = record if masks else replace(record, targets=())
        buffer = io.BytesIO()
        overlay(directory, shown, _SIDE).save(buffer, format="PNG")
        return Response(buffer.getvalue(), media_type="image/png")

    @app.post("/verdict/{position}")
    def decide(position: int, verdict: Verdict) -> JSONResponse:
        item = store.item(directory, position, verdict.reader)
        turns = _edited(item, verdict.turns) if verdict.decision is Decision.EDIT else None
        store.decide(item, verdict.reader, verdict.decision, verdict.reason.strip(), turns)
        return JSONResponse({"next": store.next_position(verdict.reader, position)})

    @app.get("/history/{position}")
    def history(position: int, reader: str = "") -> JSONResponse:
        item = store.item(directory, position, reader)
        if item.own is None:
            raise ReviewError("the history shows once you have decided, so that your reading is your own")
        return JSONResponse(store.history(item.id))

    @app.get("/summary")
    def summary() -> JSONResponse:
        return JSONResponse(asdict(store.summary()))

    return app


def _edited(item: Item, texts: list[EditedTurn] | None) -> tuple[Turn, ...]:
    """The turns with a reader's texts, checked like any other; raises ReviewError naming turn and fault."""
    turns = item.conversation.turns
    if texts is None or len(texts) != len(turns):
        raise ReviewError(f"an edit keeps the {len(turns)} turns of the conversation")
    edited = tuple(
        replace(turn, question=text.question.strip(), answer=text.answer.strip())
        for turn, text in zip(turns, texts, strict=True)
    )
    facts = ImageFacts.of(item.record, absent=())
    for number, turn in enumerate(edited, start=1):
        faults = check_turn(turn, facts, load_knowledge().labels)
        if faults:
            raise ReviewError(f"turn {number}: {', '.join(fault.value for fault in faults)}")
    return edited
