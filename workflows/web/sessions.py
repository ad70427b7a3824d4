"""The front door of the pages: who is signed in, and whether a changing request comes from a page of that session."""

from __future__ import annotations

import hmac
from datetime import timedelta
from urllib.parse import quote, urlsplit

from fastapi import HTTPException, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from workflows.bootstrap import Node
from workflows.errors import DatabaseUnavailable
from workflows.state.people import Account, SignedIn
from workflows.web.access import Person, base_path_of, node_of
from workflows.web.cookies import Cookie, cookie_of, drop_cookie, set_cookie
from workflows.web.failures import opens_a_page
from workflows.web.gate import SAFE_METHODS

__all__ = [
    "OPEN_PATHS", "SessionDoor", "end_session", "is_open", "own_path", "signed_in_still", "start_session",
]  # fmt: skip

OPEN_PATHS = ("/static/", "/login", "/healthz", "/link/", "/sign-in/")
"""What nobody has to sign in for: whole paths, and what lies below those that end with a slash."""
_WITHOUT_DATABASE = ("/static/", "/healthz")
_QUIET = ("/events",)


def is_open(path: str) -> bool:
    """Whether a path, below the one that a proxy shows, needs nobody signed in."""
    return any(path == one or (one.endswith("/") and path.startswith(one)) for one in OPEN_PATHS)


class SessionDoor:
    """Lets in who is signed in. Sends the others to the page to sign in, or answers 401 where a script asks."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._idle = timedelta(minutes=node.settings.web.idle_minutes)

    async def admit(self, request: Request) -> Person | Response | None:
        """The person; a way to sign in; None: nobody, and nobody is needed. Raises 401, 403 (no token), 503."""
        path: str = request.scope["path"]
        if path.startswith(_WITHOUT_DATABASE) and request.method in SAFE_METHODS:
            return None
        signed_in = await self._session(request)
        if signed_in is None and not is_open(path):
            return _way_in(request)
        if request.method not in SAFE_METHODS:
            held = (signed_in.csrf if signed_in else "", cookie_of(request, Cookie.FORM) if is_open(path) else "")
            await _require_token(request, held)
        if signed_in is None:
            return None
        who = signed_in.account
        return Person(who.account, who.name, who.role, signed_in.csrf)

    async def _session(self, request: Request) -> SignedIn | None:
        token = cookie_of(request, Cookie.SESSION)
        if not token:
            return None
        # What a page asks by itself, again and again, is no sign that somebody sits before it.
        touch = request.scope["path"] not in _QUIET and "x-background" not in request.headers
        try:
            return await run_in_threadpool(self._node.repository.session_of, token, self._idle, touch=touch)
        except DatabaseUnavailable as error:
            sentence = "The node's database does not answer. Nothing was changed; try again in a moment."
            raise HTTPException(503, sentence) from error


def _way_in(request: Request) -> Response:
    if request.method not in SAFE_METHODS or not opens_a_page(request):
        raise HTTPException(401, "You are signed out. Sign in again; what you did here is kept in this browser.")
    base = base_path_of(request)
    asked = request.scope["path"] + (f"?{request.url.query}" if request.url.query else "")
    wanted = "" if asked == "/" else f"?next={quote(asked, safe='/')}"
    return RedirectResponse(f"{base}/login{wanted}", 303)


async def _require_token(request: Request, held: tuple[str, ...]) -> None:
    """The token of the session, or of the form that was given before there was one: in a header, or in the form."""
    given = request.headers.get("x-csrf-token", "")
    if not given and request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        field = (await request.form()).get("csrf", "")
        given = field if isinstance(field, str) else ""
    if not any(known and hmac.compare_digest(known.encode(), given.encode()) for known in held):
        raise HTTPException(403, "The page is of an earlier session, or of another site. Load it again and try again.")


def own_path(wanted: str | None) -> str:
    """A path of ours to go on to, or "/": never another site, however it is written."""
    if not wanted or len(wanted) > 2000 or not wanted.isprintable() or not wanted.startswith("/"):
        return "/"
    parts = urlsplit(wanted)
    strange = parts.scheme or parts.netloc or "\\" in wanted or wanted.startswith("//")
    return "/" if strange or parts.path.startswith(("/login", "/logout", "/link/", "/sign-in/")) else wanted


def start_session(request: Request, response: Response, account: Account) -> None:
    """Sign the browser in, with a token of its own; what it had before ends. Raises AccountRefused."""
    node = node_of(request)
    token, _csrf = node.repository.start_session(account, node.settings.web.session_hours)
    if before := cookie_of(request, Cookie.SESSION):
        node.repository.end_session(before)
    set_cookie(request, response, Cookie.SESSION, token)
    drop_cookie(request, response, Cookie.FORM)


def end_session(request: Request, response: Response) -> None:
    """Sign the browser out."""
    if token := cookie_of(request, Cookie.SESSION):
        node_of(request).repository.end_session(token)
    drop_cookie(request, response, Cookie.SESSION)


def signed_in_still(request: Request) -> bool:
    """Whether the session that a long answer is given to still holds: to ask now and then while events are sent."""
    node = node_of(request)
    idle = timedelta(minutes=node.settings.web.idle_minutes)
    return node.repository.session_of(cookie_of(request, Cookie.SESSION), idle, touch=False) is not None
