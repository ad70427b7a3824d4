"""Passwords: hashed with argon2id (RFC 9106), compared at the same cost whether the account exists or not."""

from __future__ import annotations

import threading
import unicodedata
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

__all__ = ["LEAST_CHARACTERS", "hash_password", "is_password", "needs_new_hash", "why_no_password"]

LEAST_CHARACTERS = 12
_MOST_CHARACTERS = 256
_HASHER = PasswordHasher()  # RFC 9106, 4, second choice: 64 MiB, three passes, four lanes
_AT_ONCE = threading.BoundedSemaphore(2)  # each takes 64 MiB and a core: many at once wait, and take nothing


def why_no_password(password: str, account: str) -> str:
    """Why this is not taken as a new password; "": it is. Length counts, not kinds of characters (NIST SP 800-63B)."""
    if len(password) < LEAST_CHARACTERS:
        return f"a password has {LEAST_CHARACTERS} characters or more; several words are easy to remember"
    if len(password) > _MOST_CHARACTERS:
        return f"a password has {_MOST_CHARACTERS} characters at most"
    if len(set(password)) < 5:
        return "a password has five different characters or more"
    if account and account in password.casefold() and len(password) - len(account) < 8:
        return "a password is more than the account's name"
    return ""


def hash_password(password: str) -> str:
    """The hash that is kept, with its salt and cost."""
    with _AT_ONCE:
        return _HASHER.hash(_same(password))


def is_password(password: str, kept: str | None) -> bool:
    """Whether it is the password of a hash; None: no such account, which takes as long and is never true."""
    fits = len(password) <= _MOST_CHARACTERS
    with _AT_ONCE:
        try:
            return _HASHER.verify(kept or _nobodys(), _same(password) if fits else "") and fits and kept is not None
        except (VerifyMismatchError, VerificationError, InvalidHashError):
            return False


def needs_new_hash(kept: str) -> bool:
    """Whether the hash was made at another cost than today's."""
    return _HASHER.check_needs_rehash(kept)


def _same(password: str) -> bytes:
    """However a keyboard composes its characters, it is the same password."""
    return unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")


@cache
def _nobodys() -> str:
    return _HASHER.hash("a password that nobody has")
