"""The routes of a served model: who it is, whether it lives, and what it sees.

Every request is checked before the model sees it: token, length, then all that the message declares. An error that
nobody foresaw is told by its kind alone, and the next request is answered as if nothing had been.
"""

from __future__ import annotations

import asyncio
import hmac
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from inference.card import ModelCard
from inference.errors import InferenceError, InputRefused, OutOfMemory, QuestionRefused
from inference.interface import Answer, Model, Predictor, SliceStack
from inference.serve.turns import Full, Turns
from inference.wire.frame import CONTENT_TYPE, MOST_BYTES, BadMessage, pack, unpack
from inference.wire.messages import (
    PROTOCOL,
    Description,
    answers_message,
    description_message,
    questions_from,
    stack_from,
    targets_message,
    texts,
)

__all__ = ["Served", "create_app"]

log = structlog.get_logger()

_RETRY_AFTER_S = 15


@dataclass(frozen=True)
class Served:
    """What is served, and to whom. `token`: empty: to everybody who reaches it. `waiting`: requests beside the one.

    `body_s`: seconds in which a request must be there. `most_bytes`: the largest that is taken.
    """

    model: Model | Predictor
    token: str = ""
    most_bytes: int = MOST_BYTES
    waiting: int = 2
    body_s: float = 120.0

    @property
    def description(self) -> Description:
        """What the other side learns of it."""
        card = getattr(self.model, "card", None)
        return Description(self.model.description, card if isinstance(card, ModelCard) else None, self.most_bytes)


class _Refused(Exception):
    """A request that is answered with a status and a reason."""

    def __init__(self, status: int, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.status, self.kind, self.reason = status, kind, reason


_Reply = tuple[dict[str, Any], list[NDArray[Any]]]
_Work = Callable[[Model | Predictor, SliceStack, Mapping[str, Any]], _Reply]


def create_app(served: Served) -> Starlette:
    """The application of a served model."""
    turns = Turns(served.waiting)

    async def health(_request: Request) -> Response:
        return JSONResponse({"status": "busy" if turns.busy else "ready", "protocol": PROTOCOL})

    async def description(request: Request) -> Response:
        try:
            _require_token(request, served.token)
            return _answer(200, description_message(served.description), [])
        except _Refused as refused:
            return _refusal(refused)

    def answering(work: _Work) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            try:
                return _answer(200, *await _answered(request, served, turns, work))
            except _Refused as refused:
                log.info("request_refused", path=request.url.path, status=refused.status, kind=refused.kind)
                return _refusal(refused)

        return endpoint

    return Starlette(
        routes=[
            Route("/health", health, methods=["GET"]),
            Route("/description", description, methods=["GET"]),
            Route("/locate", answering(_locate), methods=["POST"]),
            Route("/answer", answering(_free_answer), methods=["POST"]),
            Route("/likeness", answering(_likeness), methods=["POST"]),
        ]
    )


async def _answered(request: Request, served: Served, turns: Turns, work: _Work) -> _Reply:
    _require_token(request, served.token)
    if request.headers.get("content-type") != CONTENT_TYPE or request.headers.get("content-encoding"):
        raise _Refused(415, "BadMessage", f"a request is {CONTENT_TYPE}, not compressed")
    try:
        async with turns:
            body = await _body(request, served)
            async with turns.mine:
                return await asyncio.to_thread(_work_on, body, served, work)
    except Full:
        raise _Refused(503, "Busy", "as many requests as may are waiting; come again later") from None


async def _body(request: Request, served: Served) -> bytearray:
    declared = request.headers.get("content-length", "")
    too_large = _Refused(413, "TooLarge", f"at most {served.most_bytes} bytes are taken")
    if declared.isdigit() and int(declared) > served.most_bytes:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(served.body_s):
            async for chunk in request.stream():
                body += chunk
                if len(body) > served.most_bytes:
                    raise too_large
    except TimeoutError:
        raise _Refused(408, "TooSlow", f"the request was not there within {served.body_s:g} s") from None
    except ClientDisconnect:
        raise _Refused(400, "BadMessage", "the request broke off") from None
    return body


def _work_on(body: bytearray, served: Served, work: _Work) -> _Reply:
    """Check a request and have the model answer it; in a thread, one at a time."""
    try:
        message, arrays = unpack(body)
        stack = stack_from(message.get("stack"), arrays)
        digest = served.model.description.digest
        if message.get("digest") != digest:
            raise _Refused(409, "OtherWeights", f"the weights here are {digest}")
        if stack.values.dtype == np.float32 and not all(np.isfinite(plane).all() for plane in stack.values):
            raise InputRefused("the stack holds values that are not finite (NaN or infinity)")
        reply, answered = work(served.model, stack, message)
        return reply | {"digest": digest}, answered
    except _Refused:
        raise
    except BadMessage as error:
        raise _Refused(400, "BadMessage", str(error)) from error
    except NotImplementedError as error:
        raise _Refused(422, "NotImplementedError", "this model looks for labels only, and takes no question") from error
    except QuestionRefused as error:
        raise _Refused(422, "QuestionRefused", str(error)) from error
    except InputRefused as error:
        raise _Refused(422, "InputRefused", str(error)) from error
    except (OutOfMemory, MemoryError) as error:
        raise _Refused(507, "OutOfMemory", str(error) or "the memory is too small for this stack") from error
    except InferenceError as error:
        raise _Refused(500, type(error).__name__, str(error)) from error
    except Exception as error:  # the edge: its text may quote what it was asked
        log.error("model_failed", error=type(error).__name__, trace=traceback.format_tb(error.__traceback__))
        raise _Refused(500, "ModelFailed", f"the model failed with {type(error).__name__}; see its log") from error


def _locate(model: Model | Predictor, stack: SliceStack, message: Mapping[str, Any]) -> _Reply:
    if not hasattr(model, "locate"):
        raise _Refused(404, "NoModel", "a predictor is served here, which takes questions: POST /answer")
    labels = texts(message.get("labels"), "the labels")
    arrays: list[NDArray[Any]] = []
    return {"targets": targets_message(model.locate(stack, labels), arrays)}, arrays


def _free_answer(model: Model | Predictor, stack: SliceStack, message: Mapping[str, Any]) -> _Reply:
    questions = questions_from(message.get("questions"))
    answers: Sequence[Answer]
    answers = model.free_answer(stack, questions) if hasattr(model, "free_answer") else model.answer(stack, questions)
    arrays: list[NDArray[Any]] = []
    return {"answers": answers_message(answers, arrays)}, arrays


def _likeness(model: Model | Predictor, stack: SliceStack, _message: Mapping[str, Any]) -> _Reply:
    likeness = model.likeness(stack) if hasattr(model, "likeness") else None
    if isinstance(likeness, Mapping):
        return {"likeness": {str(label): float(share) for label, share in likeness.items()}}, []
    return {"likeness": None if likeness is None else float(likeness)}, []


def _require_token(request: Request, token: str) -> None:
    given = request.headers.get("authorization", "").encode()
    if token and not hmac.compare_digest(given, f"Bearer {token}".encode()):
        raise _Refused(401, "NoToken", "the token is missing or not the one that is asked for here")


def _answer(status: int, message: dict[str, Any], arrays: Sequence[NDArray[Any]]) -> Response:
    packed = pack(message, arrays)
    headers = {"content-length": str(packed.size)}
    return StreamingResponse(iter(packed), status_code=status, media_type=CONTENT_TYPE, headers=headers)


def _refusal(refused: _Refused) -> Response:
    response = _answer(refused.status, {"error": refused.reason, "kind": refused.kind}, [])
    if refused.status == 503:
        response.headers["retry-after"] = str(_RETRY_AFTER_S)
    if refused.status == 401:
        response.headers["www-authenticate"] = "Bearer"
    return response
