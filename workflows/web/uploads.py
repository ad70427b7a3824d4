"""Files that a form brings along: bounded, kept in memory alone, gone with the request."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from fastapi import HTTPException, Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

__all__ = ["Brought", "Upload", "brought", "plain_name"]

_MOST_FIELDS = 8
_LONGEST_FIELD = 1024
_LONGEST_NAME = 80
_NO_NAME = "file"


@dataclass(frozen=True)
class Upload:
    """A file. `name`: the last part of what the browser called it, made of harmless characters."""

    name: str
    content: bytes


@dataclass(frozen=True)
class Brought:
    """What a form brings: its files, no two of one name, and its texts."""

    files: tuple[Upload, ...]
    texts: dict[str, str]


class _InMemory(MultiPartParser):
    """Starlette's parser spools to disk what is larger than this; a route's own bound is smaller."""

    spool_max_size = 1 << 30


async def brought(request: Request, most_files: int) -> Brought:
    """The files and texts of a multipart form. How many bytes at most says `bodies.takes_body`.

    Raises 422 for what is no such form, for no file, and for more than `most_files`.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise HTTPException(422, "Choose at least one file.")
    parser = _InMemory(
        request.headers, request.stream(), max_files=most_files, max_fields=_MOST_FIELDS, max_part_size=_LONGEST_FIELD
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        told = str(error)
        many = f"Choose at most {most_files} files at once." if "Too many files" in told else "The form is broken."
        raise HTTPException(422, f"{many} Load the page again if this comes again.") from error
    try:
        parts = [part for _, part in form.multi_items() if isinstance(part, UploadFile) and part.filename]
        contents = [await part.read() for part in parts]
        texts = {name: value for name, value in form.multi_items() if isinstance(value, str)}
    finally:
        await form.close()
    if not parts:
        raise HTTPException(422, "Choose at least one file.")
    names = _apart(plain_name(part.filename or "") for part in parts)
    return Brought(tuple(map(Upload, names, contents)), texts)


def plain_name(name: str) -> str:
    """The last part of a path of any system, of letters, digits, dots and dashes; never hidden, never empty."""
    last = re.split(r"[/\\]", name)[-1]
    return re.sub(r"[^A-Za-z0-9._-]+", "_", last).strip("._")[-_LONGEST_NAME:].lstrip("._") or _NO_NAME


def _apart(names: Iterator[str]) -> Iterator[str]:
    """Names, those that stood before with a number before them."""
    seen: set[str] = set()
    for number, name in enumerate(names, start=1):
        own = name if name not in seen else f"{number}-{name}"
        seen.add(own)
        yield own
