"""How much a request may bring along."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope

__all__ = ["BodyTooLarge", "limited", "most_bytes", "replayed", "takes_body", "whole_body"]

_USUAL_MB = 1
_Endpoint = TypeVar("_Endpoint", bound=Callable[..., Any])


class BodyTooLarge(HTTPException):
    """A request brings more than its route takes."""

    def __init__(self, most: int) -> None:
        super().__init__(
            413, f"the request brings more than {most // 1_000_000} MB; this is the most that is taken here"
        )


def takes_body(megabytes: int) -> Callable[[_Endpoint], _Endpoint]:
    """Let a route take more than 1 MB: `@router.post(...)` `@takes_body(megabytes=512)`."""

    def mark(endpoint: _Endpoint) -> _Endpoint:
        endpoint.most_megabytes = megabytes  # type: ignore[attr-defined]
        return endpoint

    return mark


def most_bytes(endpoint: object) -> int:
    """How many bytes a route takes."""
    megabytes: int = getattr(endpoint, "most_megabytes", _USUAL_MB)
    return megabytes * 1_000_000


def limited(scope: Scope, receive: Receive, most: int) -> Receive:
    """`receive`, which raises BodyTooLarge once more than `most` bytes have come. Raises it now where that is known."""
    declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    if declared.isdigit() and int(declared) > most:
        raise BodyTooLarge(most)
    taken = 0

    async def take() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > most:
            raise BodyTooLarge(most)
        return message

    return take


async def whole_body(receive: Receive) -> bytes:
    """All that a request brings, as far as it has come where it breaks off."""
    portions = []
    while (message := await receive())["type"] == "http.request":
        portions.append(message.get("body", b""))
        if not message.get("more_body", False):
            break
    return b"".join(portions)


def replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives `body` again, and after it what comes then."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
