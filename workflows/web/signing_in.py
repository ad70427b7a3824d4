"""Signing in with a password: counted before it is looked at, and the same words whatever was wrong."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

import structlog
from fastapi import Request
from starlette.responses import Response

from workflows.state.people import Account, account_name, digest_of
from workflows.web.access import node_of
from workflows.web.cookies import Cookie, cookie_of, set_cookie
from workflows.web.passwords import hash_password, is_password, needs_new_hash
from workflows.web.told import tell_audit

__all__ = ["Attempt", "remember_device", "try_password"]

log = structlog.get_logger()


@dataclass(frozen=True)
class Attempt:
    """What came of an attempt: the account, or how long to wait. `device`: the browser's token from now on."""

    account: Account | None
    wait_s: float = 0.0
    device: str = ""

    @property
    def sentence(self) -> str:
        """What is said of one that came to nothing: nobody learns from it whether there is such an account."""
        if self.wait_s > 0:
            how_long = f"{self.wait_s:.0f} s" if self.wait_s < 90 else f"{self.wait_s / 60:.0f} min"
            return (
                f"Too many attempts: try again in {max(1, round(self.wait_s)) if self.wait_s < 1 else how_long}. A "
                "browser that you have signed in with before does not wait for others, and an administrator can make "
                "a link that signs you in."
            )
        return "That account and password do not go together."


def try_password(request: Request, typed: str, password: str) -> Attempt:
    """Whether an account and a password go together; recorded either way."""
    repository = node_of(request).repository
    account = account_name(typed)
    counted = account or digest_of(typed)  # what is no name of an account may be a password
    address, device = _address(request), cookie_of(request, Cookie.DEVICE)
    wait_s = repository.begin_attempt(counted, address, device)
    if wait_s > 0:
        log.warning("sign_in_slowed", wait_s=round(wait_s))  # not in the audit: it could be made to overflow
        return Attempt(None, wait_s)
    held = repository.password_of(account) if account else None
    if not is_password(password, held[1] if held else None) or held is None:
        tell_audit(request, account or "", "sign-in refused", "password")
        return Attempt(None)
    found, kept = held
    if needs_new_hash(kept):
        repository.replace_hash(found.account, found.version, hash_password(password))
    return Attempt(found, device=repository.attempt_succeeded(counted, address, device))


def remember_device(request: Request, response: Response, device: str) -> None:
    """Have the browser say next time that it was here."""
    if device:
        set_cookie(request, response, Cookie.DEVICE, device)


def _address(request: Request) -> str:
    """Who asks; of IPv6 the network, since each machine has more addresses than anybody can count."""
    host = request.client.host if request.client else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.version == 6:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
