"""Who may sign in, and who is signed in: accounts, sessions, one-time secrets. `accounts.py` has their transactions."""

from __future__ import annotations

import hashlib
import re
import secrets
import unicodedata
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

__all__ = [
    "Account", "AccountSource", "OneTimeKind", "Role", "SignedIn", "account_name", "digest_of", "make_token",
]  # fmt: skip

_ACCOUNT = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")


class Role(Enum):
    """What a person is to the node; each may do what the one before may."""

    VIEWER = "viewer"
    REVIEWER = "reviewer"
    ADMINISTRATOR = "administrator"


class AccountSource(Enum):
    """Who knows the person: the node itself, by a password, or an OpenID Connect provider."""

    LOCAL = "local"
    OIDC = "oidc"


class OneTimeKind(Enum):
    """What a secret that works once is for."""

    LINK = "link"
    FLOW = "flow"


@dataclass(frozen=True)
class Account:
    """Somebody who may sign in. `name`: as DICOM has it (PS3.5 6.2, VR PN). `disabled_at`: since when not any more.

    `version` grows with every change that ends the sessions: of password, role, or being disabled.
    """

    account: str
    name: str
    role: Role
    source: AccountSource
    version: int
    created_at: datetime
    disabled_at: datetime | None
    has_password: bool
    signed_in_at: datetime | None


@dataclass(frozen=True)
class SignedIn:
    """A session that holds. `csrf`: what every changing request of it carries."""

    account: Account
    csrf: str
    expires_at: datetime


def account_name(text: str) -> str | None:
    """The name of an account as it is kept: in small letters, without spaces around; None: it cannot be one."""
    name = unicodedata.normalize("NFKC", text).strip().casefold()
    return name if _ACCOUNT.fullmatch(name) else None


def make_token() -> str:
    """A secret that nobody guesses: 256 bits, as text for cookies and addresses."""
    return secrets.token_urlsafe(32)


def digest_of(token: str) -> str:
    """What is kept of a token: whoever reads the database cannot sign in with it."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
