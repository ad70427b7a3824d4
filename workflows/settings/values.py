"""What sections of the settings are made of: values of several kinds, and the section itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

__all__ = ["AETitle", "Folder", "Section", "listed", "named", "of_scheme"]


def _ae_title(value: str) -> str:
    # PS3.5 6.2, VR AE: spaces at either end mean nothing; no backslash, no control characters, not only spaces.
    title = value.strip(" ")
    if not title or len(title) > 16 or "\\" in title or not title.isascii() or not title.isprintable():
        raise ValueError("an AE title has 1 to 16 printable ASCII characters and no backslash")
    return title


def listed(value: object) -> object:
    """The values of a comma list; what is no text stays as it is."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def of_scheme(url: str, *schemes: str) -> str:
    """A URL that begins with one of the schemes, or nothing; raises ValueError."""
    if url and url.partition("://")[0] not in schemes:
        raise ValueError(f"begins with none of {', '.join(f'{scheme}://' for scheme in schemes)}")
    return url


def named(value: object) -> object:
    """What is not empty; raises ValueError."""
    if value == "":
        raise ValueError("name a folder")
    return value


AETitle = Annotated[str, AfterValidator(_ae_title)]
Folder = Annotated[Path, AfterValidator(lambda path: Path(os.path.abspath(path.expanduser())))]


class Section(BaseModel):
    """A section: frozen, and nothing in it that it does not know."""

    # Without the input in errors: a URL may hold a password.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
