"""How a remote predictor is reached: its address, the token, the certificates. No token stands in any message."""

from __future__ import annotations

import ipaddress
import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from inference.errors import CheckpointError
from inference.wire.frame import MOST_BYTES

__all__ = [
    "TOKEN_VARIABLE", "RemoteAccess", "checked_address", "is_address", "is_loopback", "read_token", "tls_context",
]  # fmt: skip

TOKEN_VARIABLE = "MEDSEG_R_TOKEN"
"""The environment variable that a token is read from where no file is named."""

_SHORTEST_TOKEN = 16


@dataclass(frozen=True)
class RemoteAccess:
    """How a remote predictor is reached.

    `token_file`: holds the token that it asks for; without one `MEDSEG_R_TOKEN`. `ca_file`: certificates that its own
    is signed by, PEM; without one those of the system. `timeout_s`: in which a whole answer must be there.
    `most_bytes`: the largest answer that is taken.
    """

    token_file: Path | None = None
    ca_file: Path | None = None
    timeout_s: float = 900.0
    most_bytes: int = MOST_BYTES


def is_address(checkpoint: str) -> bool:
    """Whether a checkpoint's name is the address of a remote predictor."""
    return checkpoint.startswith(("http://", "https://"))


def read_token(file: Path | None) -> str:
    """Return the token of a file, or of `MEDSEG_R_TOKEN`, or "". Raises `CheckpointError` for one that is none."""
    try:
        token = file.read_text(encoding="ascii").strip() if file is not None else os.environ.get(TOKEN_VARIABLE, "")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"the token file {file} cannot be read ({type(error).__name__}); name another") from error
    where = str(file) if file is not None else TOKEN_VARIABLE
    if (token or file is not None) and (len(token) < _SHORTEST_TOKEN or not _plain(token)):
        raise CheckpointError(
            f"the token in {where} is not one line of at least {_SHORTEST_TOKEN} ASCII characters without spaces; "
            "make one with: openssl rand -hex 32"
        )
    return token


def checked_address(address: str) -> str:
    """The address without a slash at its end. Raises `CheckpointError`, without quoting what may be a password."""
    try:
        parts = urlsplit(address)
        named = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        named = False
    if not named or parts.scheme not in ("http", "https"):
        raise CheckpointError("the address of a remote predictor is not http://HOST:PORT or https://HOST:PORT")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise CheckpointError(
            f"the address of the remote predictor at {parts.hostname} holds a user, a password or a query; "
            "write the address alone, and the token into a file (token_file)"
        )
    return address.rstrip("/")


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise CheckpointError(f"the CA file {ca_file} cannot be used ({error}); name a PEM file (ca_file)") from error


def _plain(token: str) -> bool:
    return token.isascii() and token.isprintable() and " " not in token
