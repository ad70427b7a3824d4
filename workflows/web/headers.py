"""What every answer says to the browser about itself: what it may load, who may frame it, whether it may be kept."""

from __future__ import annotations

from enum import Enum

from fastapi import Request
from starlette.datastructures import MutableHeaders
from starlette.types import Scope

__all__ = ["Allowed", "add_security_headers", "allow"]

_POLICY: dict[str, tuple[str, ...]] = {
    "default-src": ("'none'",),
    "script-src": ("'self'",),
    "style-src": ("'self'",),
    "img-src": ("'self'", "data:", "blob:"),
    "connect-src": ("'self'",),
    "font-src": ("'self'",),
    "form-action": ("'self'",),
    "base-uri": ("'none'",),
    "frame-ancestors": ("'none'",),
}
_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_HSTS = "max-age=31536000"


class Allowed(Enum):
    """What one page may do beyond the policy of all: directive and source (Content Security Policy, level 3)."""

    BLOB_WORKER = ("worker-src", "blob:")
    OWN_WORKER = ("worker-src", "'self'")
    WASM = ("script-src", "'wasm-unsafe-eval'")
    BLOB_CONNECT = ("connect-src", "blob:")
    DATA_CONNECT = ("connect-src", "data:")


def allow(request: Request, *what: Allowed) -> None:
    """Let the page that answers this request do more: called by its route, before it returns."""
    request.state.allowed = (*getattr(request.state, "allowed", ()), *what)


def add_security_headers(headers: MutableHeaders, scope: Scope) -> None:
    """Add what is not there to the headers of an answer. Nothing is kept by a browser that does not say so itself."""
    headers["Content-Security-Policy"] = _policy(scope.get("state", {}).get("allowed", ()))
    for name, value in _ALWAYS.items():
        headers[name] = value
    headers.setdefault("Cache-Control", "no-cache" if scope["path"].startswith("/static/") else "no-store")
    if scope.get("scheme") == "https":
        headers["Strict-Transport-Security"] = _HSTS


def _policy(allowed: tuple[Allowed, ...]) -> str:
    policy = dict(_POLICY)
    for directive, source in dict.fromkeys(one.value for one in allowed):
        policy[directive] = (*policy.get(directive, ()), source)
    return "; ".join(f"{directive} {' '.join(sources)}" for directive, sources in policy.items())
