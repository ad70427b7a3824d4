"""What every request passes before its route, and every answer after it.

Host, origin, size and the front door are looked at here; headers are added, also to errors; one line is logged, with
the route's template and no address, since an address may be typed by anybody and hold anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from fastapi import Request
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from workflows.state.auditing import ASKED_FROM
from workflows.web.access import FrontDoor, Person
from workflows.web.bodies import limited, most_bytes, replayed, whole_body
from workflows.web.headers import add_security_headers
from workflows.web.hosts import Hosts

__all__ = ["SAFE_METHODS", "Draw", "Gate"]

log = structlog.get_logger()

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing (RFC 9110, 9.2.1): they need no CSRF token."""
Draw = Callable[[Request, int, str], Response]
"""Makes the answer that says what went wrong: the request, the status, a sentence."""
_FORM = "application/x-www-form-urlencoded"


class Gate:
    """Around an application: its front door, for whatever reaches it.

    `routes`: where they take more than 1 MB, they say so (`bodies.takes_body`). An error that nobody foresaw is
    answered, and raised again for whoever runs the application.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        door: FrontDoor,
        hosts: Hosts,
        draw: Draw,
        routes: Sequence[BaseRoute] = (),
        base_path: str = "",
    ) -> None:
        self._app, self._door, self._hosts, self._draw = app, door, hosts, draw
        self._routes, self._base_path = routes, base_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        scope = {**scope, **_below(self._base_path, scope), "state": dict(scope.get("state", {}))}
        exchange = _Exchange(scope, send)
        route = self._route_of(scope)
        started = time.monotonic()
        client = scope.get("client")
        asked_from = ASKED_FROM.set(client[0] if client else "")
        try:
            await self._answer(scope, receive, exchange, route)
        finally:
            ASKED_FROM.reset(asked_from)
            person = scope["state"].get("person")
            tell = log.debug if route is None and exchange.status < 400 else log.info  # files that pages share
            tell(
                "page",
                method=scope["method"] if scope["method"] in _METHODS else "other",
                route=getattr(route, "path", "none"),
                status=exchange.status,
                ms=round((time.monotonic() - started) * 1000),
                account=person.account if isinstance(person, Person) else "",
            )

    async def _answer(self, scope: Scope, receive: Receive, exchange: _Exchange, route: BaseRoute | None) -> None:
        request = Request(scope, receive)
        try:
            receive = limited(scope, receive, most_bytes(getattr(route, "endpoint", None)))
            refused = self._hosts.refuse_host(scope)
            if refused is None and scope["method"] not in SAFE_METHODS:
                refused = self._hosts.refuse_origin(scope)
            if refused is not None:
                raise HTTPException(refused.status, refused.detail)
            if request.headers.get("content-type", "").partition(";")[0].strip().lower() == _FORM:
                body = await whole_body(receive)  # the door looks for the token in it, and the route reads it again
                receive, request = replayed(body, receive), Request(scope, replayed(body, receive))
            admitted = await self._door.admit(request)
            if isinstance(admitted, Response):
                await admitted(scope, receive, exchange.send)
                return
            scope["state"]["person"] = admitted
            await self._app(scope, receive, exchange.send)
        except HTTPException as refusal:
            await self._say(request, refusal.status_code, str(refusal.detail), receive, exchange)
        except ClientDisconnect:
            pass  # nobody waits for an answer
        except Exception:
            log.error("page_failed", route=getattr(route, "path", "none"), exc_info=True)
            sentence = "The node failed on this page. What was saved is kept; the log says where it happened."
            await self._say(request, 500, sentence, receive, exchange)
            raise

    async def _say(self, request: Request, status: int, detail: str, receive: Receive, exchange: _Exchange) -> None:
        """Say what went wrong, where no answer has begun yet."""
        if exchange.status == 0:
            await self._draw(request, status, detail)(request.scope, receive, exchange.send)

    def _route_of(self, scope: Scope) -> BaseRoute | None:
        return next((route for route in self._routes if route.matches(scope)[0] is Match.FULL), None)


class _Exchange:
    """The answer on its way out. `status`: 0 until it has begun."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope, self._send = scope, send
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            add_security_headers(MutableHeaders(scope=message), self._scope)
        await self._send(message)


_METHODS = SAFE_METHODS | {"POST", "PUT", "DELETE", "PATCH"}


def _below(base_path: str, scope: Scope) -> dict[str, Any]:
    """The path below the one that a proxy shows the pages under; whether the proxy takes that off or leaves it."""
    path: str = scope["path"]
    if not base_path or not (path == base_path or path.startswith(f"{base_path}/")):
        return {}
    own = path[len(base_path) :] or "/"
    return {"path": own, "raw_path": own.encode()}
