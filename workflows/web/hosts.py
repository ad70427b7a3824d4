"""Which names the pages answer to, and which origins may change anything: against DNS rebinding and foreign pages."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

__all__ = ["Hosts", "Refusal"]

_LOCAL = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Refusal:
    """Why a request is not taken: an HTTP status and a sentence."""

    status: int
    detail: str


class Hosts:
    """The names: `localhost`, the address that a request came to, and those that the settings name."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        cleaned = (name.strip("[]").rstrip(".").lower() for name in names)
        self._named = frozenset(name for name in cleaned if name not in ("", "0.0.0.0", "::"))

    def refuse_host(self, scope: Scope) -> Refusal | None:
        """Whether the Host header is none of ours (RFC 9110, 7.4); None: it is."""
        given = Headers(scope=scope).getlist("host")
        name = _name_of(given[0]) if len(given) == 1 else None
        if name is None:
            return Refusal(400, "the request names no host, or several: open the page by its address")
        if name in self._named or name in _LOCAL or name == _own_address(scope):
            return None
        return Refusal(
            421, "this node does not answer to that name: open it by another one, or have it listed in [web] hosts"
        )

    def refuse_origin(self, scope: Scope) -> Refusal | None:
        """Whether a request that changes something comes from another site's page; None: it does not.

        By Sec-Fetch-Site, which no page can set, and by Origin; a form of a page without referrer says `null` there
        (Fetch, 3.2). What sends neither is no browser.
        """
        headers = Headers(scope=scope)
        foreign = Refusal(403, "the request comes from another site's page; open the page of the node and try again")
        site, origins = headers.get("sec-fetch-site"), headers.getlist("origin")
        if site not in (None, "same-origin"):
            return foreign
        if not origins or (site == "same-origin" and origins == ["null"]):
            return None
        netloc = urlsplit(origins[0]).netloc.lower() if len(origins) == 1 and "://" in origins[0] else ""
        return None if netloc and netloc == headers.get("host", "").lower() else foreign  # a proxy must keep Host


def _name_of(netloc: str) -> str | None:
    """The name in `name:port`, in small letters; None: it is none."""
    try:
        parts = urlsplit(f"//{netloc}")
        _ = parts.port
    except ValueError:
        return None
    if not parts.hostname or parts.username is not None or parts.path or parts.query or parts.fragment:
        return None
    return parts.hostname.rstrip(".").lower()


def _own_address(scope: Scope) -> str | None:
    """The address that the request came to. Never a name: whoever asks may say what it is."""
    server = scope.get("server")
    if not server:
        return None
    try:
        return str(ipaddress.ip_address(server[0]))
    except ValueError:
        return None
