"""Mistakes: what pydantic says of a document -> mistakes with their lines, in words of the file. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import InitErrorDetails

from workflows.errors import ProtocolMistake
from workflows.protocols.nodes import Written

__all__ = ["mistakes_of", "named"]

_MOST = 200
"""Mistakes of one file: more than a person reads, and less than what a file of aliases could make."""
_LISTS = {"questions": "question", "examples": "example"}


def mistakes_of(
    error: ValidationError | None, written: Written, faults: Sequence[InitErrorDetails] = ()
) -> list[ProtocolMistake]:
    """What pydantic, the YAML and our own checks (`faults`) found: each once, in order of lines."""
    details: list[Any] = [] if error is None else list(error.errors(include_url=False, include_input=False))
    if faults:
        ours = ValidationError.from_exception_data("protocol", list(faults))
        details += ours.errors(include_url=False, include_input=False)
    found = dict.fromkeys([*written.mistakes, *(_mistake(detail, written) for detail in details)])
    told = sorted(found, key=lambda mistake: mistake.line)
    if len(told) > _MOST:
        last = ProtocolMistake(written.file, 0, f"and {len(told) - _MOST:,} more mistakes: mend these first")
        told = [*told[:_MOST], last]
    return told


def _mistake(detail: Mapping[str, Any], written: Written) -> ProtocolMistake:
    loc, kind = tuple(detail["loc"]), detail["type"]
    message = detail.get("ctx", {}).get("message") if kind in ("mistake", "key") else f"{{what}}: {detail['msg']}"
    message = str(message).replace("{what}", named(loc)).replace("{in}", named(loc[:-1]))
    return ProtocolMistake(written.file, written.line(loc, of_key=kind == "key"), message)


def named(loc: Sequence[int | str]) -> str:
    """What a person calls a value: `text of question 1`, `example 2`, `at_least`."""
    if not loc:
        return "a protocol"
    if len(loc) >= 2 and loc[0] in _LISTS and isinstance(loc[1], int):
        entry = f"{_LISTS[str(loc[0])]} {loc[1] + 1}"
        beneath = [part for part in loc[2:] if isinstance(part, str)]
        if not beneath:
            return entry
        return f"{beneath[0]} of {entry}" if len(beneath) == 1 else beneath[-1]
    return next((part for part in reversed(loc) if isinstance(part, str)), "a value")
