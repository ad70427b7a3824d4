"""The cookies of the pages: which session a browser has, which form it was given, whether it was here before."""

from __future__ import annotations

from enum import Enum

from fastapi import Request
from starlette.responses import Response

from workflows.web.access import base_path_of

__all__ = ["Cookie", "cookie_of", "drop_cookie", "set_cookie"]


class Cookie(Enum):
    """Its name, how long it lasts in seconds (None: as long as the browser runs), and from where it is sent.

    The session's is LAX, so that a link from another system to a study opens it; such a link changes nothing. No
    script reads any of them.
    """

    SESSION = ("session", None, "lax")
    FORM = ("form", None, "strict")
    FLOW = ("flow", 600, "lax")
    DEVICE = ("device", 180 * 86400, "strict")


def cookie_of(request: Request, cookie: Cookie) -> str:
    """Its value, or "". What is too long to be ours is not."""
    value = request.cookies.get(_name(request, cookie), "")
    return value if len(value) <= 128 else ""


def set_cookie(request: Request, response: Response, cookie: Cookie, value: str) -> None:
    """Have the browser keep it; over TLS for this host alone and never without (RFC 6265bis, `__Host-`)."""
    _, lasts, same_site = cookie.value
    response.set_cookie(
        _name(request, cookie),
        value,
        max_age=lasts,
        path=_path(request),
        secure=_tls(request),
        httponly=True,
        samesite="lax" if same_site == "lax" else "strict",
    )


def drop_cookie(request: Request, response: Response, cookie: Cookie) -> None:
    """Have the browser forget it."""
    response.delete_cookie(_name(request, cookie), path=_path(request), secure=_tls(request), httponly=True)


def _name(request: Request, cookie: Cookie) -> str:
    """Without TLS with the port in it: cookies do not tell ports apart, and two nodes may run on one machine."""
    if _tls(request):
        return f"__Host-medseg-{cookie.value[0]}"
    server = request.scope.get("server")
    return f"medseg-{cookie.value[0]}-{server[1] if server else 0}"


def _tls(request: Request) -> bool:
    return str(request.scope.get("scheme")) == "https"


def _path(request: Request) -> str:
    return "/" if _tls(request) else base_path_of(request) or "/"
