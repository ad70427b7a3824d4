"""docs/settings.md from the settings themselves: python tests/unit/docs/settings_page.py > docs/settings.md."""

from __future__ import annotations

import json
from collections.abc import Iterator
from enum import Enum
from typing import Any, get_args

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from workflows.settings import CHECKOUT, Settings

HEAD = """\
# Settings

One TOML file, given with `--config FILE`; `deploy/config/medseg-node.toml` shows every setting with a comment. Without
a file the defaults below make an embedded node on this machine. A variable overrides the file:
`MEDSEG_NODE__NODE__PORT=104` sets `[node] port`, `MEDSEG_NODE__WEB__OIDC__ISSUER=...` sets `[web.oidc] issuer`;
`[[peers]]`, `[[archives]]` and `[[predictors]]` are given whole, as JSON, in `MEDSEG_NODE__PEERS`,
`MEDSEG_NODE__ARCHIVES` and `MEDSEG_NODE__PREDICTORS`.
Relative paths in the file are relative to its folder, and so is the
default `data_dir`: a copy of the file works wherever it lies. Without a file, and in a variable, they are relative to
the current directory. A mistake ends the command with exit code 2 and a line for each mistake: where it stands, what is
wrong, what to do.

This page is made from the code: `python tests/unit/docs/settings_page.py > docs/settings.md`.
"""


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *_sections()])


def _sections() -> Iterator[str]:
    for name, field in Settings.model_fields.items():
        kind: Any = next(iter(get_args(field.annotation)), field.annotation)
        yield from _section(f"[[{name}]]" if field.annotation is not kind else f"[{name}]", kind)


def _section(title: str, kind: Any) -> Iterator[str]:
    """A section's table, and then those of the sections within it."""
    about = kind.__doc__.partition(": ")[2].rstrip(".")
    yield f"## {title}\n\n{about[:1].upper()}{about[1:]}.\n\n| setting | default | meaning |\n|---|---|---|"
    inner = {key: entry.annotation for key, entry in kind.model_fields.items() if _is_section(entry)}
    for key, entry in kind.model_fields.items():
        if key not in inner:
            yield f"| `{key}` | {_default(entry)} | {entry.description} |"
    yield ""
    for key, section in inner.items():
        yield from _section(f"[{title.strip('[]')}.{key}]", section)


def _is_section(entry: FieldInfo) -> bool:
    return isinstance(entry.annotation, type) and issubclass(entry.annotation, BaseModel)


def _default(entry: FieldInfo) -> str:
    if entry.is_required():
        return "required"
    value = entry.default.value if isinstance(entry.default, Enum) else entry.default
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value and isinstance(value, tuple):
        value = json.dumps(value)
    if isinstance(value, bool):
        value = str(value).lower()
    text = str(value).removeprefix(f"{CHECKOUT}/")
    return "empty" if value in ("", (), None) else f"`{text}`"


if __name__ == "__main__":
    print(page(), end="")
