"""Who could reach the pages, and whether their passwords would go over the network unprotected. Needs no extra."""

from __future__ import annotations

import importlib.util
import ipaddress

from workflows.errors import SettingsError
from workflows.settings import WebSettings

__all__ = ["is_loopback", "missing_packages", "require_protected"]

_NEEDED = ("argon2", "authlib", "fastapi", "httpx2", "jinja2", "python_multipart", "uvicorn")
EXTRA = "pip install -c constraints.txt -e '.[web]'"


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reachable from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def require_protected(web: WebSettings) -> None:
    """Raise SettingsError where passwords and patients' names would go over a network as they are.

    Fit: an address of this machine only; TLS of our own; or a proxy that ends TLS, which `proxies` names.
    """
    if is_loopback(web.host) or web.certificate is not None or web.proxies:
        return
    raise SettingsError(
        f"[web] host {web.host} can be reached from other machines, and nothing protects what goes there: name "
        "[web] certificate and key, or [web] proxies where a proxy ends TLS, or set host to 127.0.0.1"
    )


def missing_packages() -> str:
    """The packages of the extra `web` that are not installed, with commas; "": all are."""
    return ", ".join(name for name in _NEEDED if importlib.util.find_spec(name) is None)
