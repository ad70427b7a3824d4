"""What is said when something goes wrong: a page to a browser that opens one, JSON `{"detail"}` to everybody else."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from workflows.errors import DatabaseUnavailable, RowRefused
from workflows.web.access import Forbidden
from workflows.web.auditing import audit_forbidden
from workflows.web.rendering import render

__all__ = ["draw_failure", "handle_failures", "opens_a_page"]

_TITLES = {
    400: "That could not be read",
    401: "Sign in first",
    403: "Not for this account",
    404: "There is nothing here",
    405: "That cannot be done here",
    409: "It has changed meanwhile",
    413: "That is too much at once",
    421: "Another name",
    422: "Something is missing",
    429: "Too many attempts",
    500: "The node failed",
    502: "The provider does not answer",
    503: "The node is not ready",
}
_REMEDIES = {
    "Not Found": "The address leads nowhere, or to a study that is not kept any more.",
    "Method Not Allowed": "This address does not take that kind of request.",
}


def opens_a_page(request: Request) -> bool:
    """Whether a person's browser waits for a page: it navigates, and no script of ours asks."""
    mode = request.headers.get("sec-fetch-mode")
    if mode is not None:
        return mode == "navigate"
    return "text/html" in request.headers.get("accept", "")


def draw_failure(request: Request, status: int, detail: Any, headers: dict[str, str] | None = None) -> Response:
    """The answer. `detail`: a sentence; for a script also what it should know, as JSON."""
    if opens_a_page(request):
        sentence = detail if isinstance(detail, str) else HTTPStatus(status).phrase
        page = render(
            request,
            "error.html",
            status,
            number=status,
            title=_TITLES.get(status, HTTPStatus(status).phrase),
            sentence=_REMEDIES.get(sentence, sentence),
        )
        page.headers.update(headers or {})
        return page
    return JSONResponse({"detail": detail}, status, headers)


def handle_failures(app: FastAPI) -> None:
    """Have the application answer errors like that. None says where in the program it was, or repeats what was sent."""

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        if isinstance(error, Forbidden):
            await run_in_threadpool(audit_forbidden, request, error.person.account, error.permission.name)
        return draw_failure(request, error.status_code, error.detail, dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    async def not_as_expected(request: Request, error: RequestValidationError) -> Response:
        places = [f"{_place(one['loc'])}: {one['type'].replace('_', ' ')}" for one in error.errors()[:5]]
        return draw_failure(request, 422, f"What was sent is not as it should be ({'; '.join(places)}).")

    @app.exception_handler(DatabaseUnavailable)
    async def away(request: Request, _error: DatabaseUnavailable) -> Response:
        sentence = "The node's database does not answer. Nothing was changed; try again in a moment."
        return draw_failure(request, 503, sentence, {"Retry-After": "5"})

    @app.exception_handler(RowRefused)
    async def not_kept(request: Request, _error: RowRefused) -> Response:
        return draw_failure(request, 422, "The node cannot keep this: a part of it is too long, or is no text.")


def _place(location: tuple[str | int, ...]) -> str:
    """Where in a request: names that routes gave; one that was sent is cut."""
    return " ".join(str(part)[:40] for part in location)
