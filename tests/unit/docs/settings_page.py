"""docs/settings.md from the settings themselves: python tests/unit/docs/settings_page.py > docs/settings.md."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Any, get_args

from pydantic.fields import FieldInfo

from workflows.settings import CHECKOUT, Settings

HEAD = """\
# Settings

One TOML file, given with `--config FILE`; `deploy/config/medseg-node.toml` shows every setting with a comment. Without
a file the defaults below make an embedded node on this machine. A variable overrides the file:
`MEDSEG_NODE__NODE__PORT=104` sets `[node] port`; `[[peers]]` and `[[archives]]` are given whole, as JSON, in
`MEDSEG_NODE__PEERS` and `MEDSEG_NODE__ARCHIVES`. Relative paths in the file are relative to its folder, and so is the
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
        title = f"[[{name}]]" if field.annotation is not kind else f"[{name}]"
        about = kind.__doc__.partition(": ")[2].rstrip(".")
        yield f"## {title}\n\n{about[:1].upper()}{about[1:]}.\n\n| setting | default | meaning |\n|---|---|---|"
        for key, entry in kind.model_fields.items():
            yield f"| `{key}` | {_default(entry)} | {entry.description} |"
        yield ""


def _default(entry: FieldInfo) -> str:
    if entry.is_required():
        return "required"
    value = entry.default.value if isinstance(entry.default, Enum) else entry.default
    if isinstance(value, bool):
        value = str(value).lower()
    text = str(value).removeprefix(f"{CHECKOUT}/")
    return "empty" if value in ("", (), None) else f"`{text}`"


if __name__ == "__main__":
    print(page(), end="")
