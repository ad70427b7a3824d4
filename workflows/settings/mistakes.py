"""What a person reads about a setting that is wrong: where it stands, what is wrong, what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from inference.suggestions import similar_name
from workflows.settings.sections import Settings

__all__ = ["LISTS", "Location", "mistakes_of"]

Location = tuple[str | int, ...]
LISTS = ("peers", "archives", "predictors")  # sections that may stand several times


def mistakes_of(
    error: ValidationError, path: Path | None, text: str, variables: Mapping[Location, str]
) -> Iterator[str]:
    """A line for each mistake of `text`, the file `path`, and of `variables`, by the setting that each one gave."""
    for mistake in error.errors(include_url=False):
        location: Location = mistake["loc"]
        variable = next((variables[location[:n]] for n in range(1, 4) if location[:n] in variables), None)
        line = _line_of(text, location)
        where = variable or (f"{path}:{line}" if line else str(path or "settings"))
        name = _written(location)
        if mistake["type"] == "tuple_type" and name.startswith("[["):
            yield f"{where}: {location[0]} is a list: begin each entry with {name}, in two brackets"
        elif mistake["type"] == "extra_forbidden":
            yield f"{where}: {name} is no setting; {_near(location)}"
        elif mistake["type"] == "missing":
            yield f"{where}: {name} is missing"
        else:
            message = mistake["msg"].removeprefix("Value error, ")
            yield f"{where}: {name}: {message}" if name else f"{where}: {message}"


def _written(location: Location) -> str:
    """A setting as a person writes it: `[node] port`, `[[archives]] 2 host`."""
    if not location:
        return ""
    inner = _sections_of(location)
    section = f"[[{location[0]}]]" if location[0] in LISTS else f"[{'.'.join(inner)}]"
    rest = location[len(inner) :]
    return " ".join([section, *(str(part + 1) if isinstance(part, int) else part for part in rest)])


def _sections_of(location: Location) -> list[str]:
    """The section that a setting stands in: `web`, or `web` and `oidc`."""
    sections: list[str] = []
    owner: Any = Settings
    for part in location:
        field = owner.model_fields.get(part) if isinstance(part, str) else None
        kind: Any = None if field is None else next(iter(get_args(field.annotation)), field.annotation)
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            break
        sections.append(str(part))
        owner = kind
    return sections or [str(location[0])]


def _near(location: Location) -> str:
    owner: Any = Settings
    for part in location[:-1]:
        if isinstance(part, str):
            kind = owner.model_fields[part].annotation
            owner = next(iter(get_args(kind)), kind)
    near = similar_name(str(location[-1]), owner.model_fields)
    return f"did you mean {near!r}?" if near else f"there are {', '.join(owner.model_fields)}"


def _line_of(text: str, location: Location) -> int | None:
    """The line on which a setting stands, or at least its section's; tomllib keeps none."""
    if not location:
        return None
    sections = _sections_of(location)
    section = ".".join(sections)
    key = next((part for part in location[len(sections) :] if isinstance(part, str)), None)
    wanted = next((part for part in location if isinstance(part, int)), 0)
    current, count, section_line = "", -1, None
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[+\s*([\w.-]+)\s*\]+", line):
            current = header[1]
            count += current == section
            section_line = number if current == section and count == wanted else section_line
            continue
        written = re.match(r"\s*\"?([\w-]+)\"?\s*=", line)
        if written is None:
            continue
        here = current == section and count == wanted and written[1] == key
        if here or (not current and written[1] == section):
            return number
    return section_line
