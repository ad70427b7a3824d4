"""A front door without accounts, for a page that one person serves to themselves: a link that works once."""

from __future__ import annotations

import hmac

from fastapi import HTTPException, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from workflows.state.people import make_token
from workflows.web.gate import SAFE_METHODS

__all__ = ["OneLinkDoor", "draw_plainly"]


class OneLinkDoor:
    """Lets in the browser that opened `path` first. What it changes has to be sent by a script of the page, as JSON."""

    def __init__(self) -> None:
        self._link, self._session = make_token(), make_token()
        self._used = False

    @property
    def path(self) -> str:
        """The path that lets a browser in, once."""
        return f"/link/{self._link}"

    async def admit(self, request: Request) -> Response | None:
        """None: this browser may. Raises 401 for another one, and 415 for what a form of another site could send."""
        name = self._cookie_name(request)
        if hmac.compare_digest(request.cookies.get(name, "").encode(), self._session.encode()):
            if request.method not in SAFE_METHODS and request.headers.get("content-type") != "application/json":
                raise HTTPException(415, "send it as application/json")
            return RedirectResponse("/", 303) if request.url.path.startswith("/link/") else None
        opened = hmac.compare_digest(request.url.path.encode(), self.path.encode())
        if not opened or self._used or request.method != "GET":
            raise HTTPException(
                401, "open the address that the command printed; it works once. Start the command anew."
            )
        self._used = True
        response = RedirectResponse("/", 303)
        response.set_cookie(name, self._session, httponly=True, samesite="strict")
        return response

    @staticmethod
    def _cookie_name(request: Request) -> str:
        server = request.scope.get("server")
        return f"medseg-qa-{server[1] if server else 0}"


def draw_plainly(_request: Request, status: int, detail: str) -> Response:
    """An error in plain words, without a template."""
    return PlainTextResponse(f"{detail}\n", status)
