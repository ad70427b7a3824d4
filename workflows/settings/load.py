"""Settings from a TOML file and the environment.

Not pydantic-settings: see docs/decisions.md.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from workflows.errors import SettingsError
from workflows.settings.mistakes import LISTS, Location, mistakes_of
from workflows.settings.sections import NodeSettings, Settings, is_no_path

__all__ = ["load_settings"]

PREFIX = "MEDSEG_NODE__"
_PATHS: dict[tuple[str, ...], tuple[str, ...]] = {  # settings that are paths, and what stands there without being one
    ("node", "data_dir"): ("",),
    ("protocols", "directory"): ("",),
    ("web", "certificate"): ("",),
    ("web", "key"): ("",),
    ("audit", "syslog", "ca"): ("",),
    ("audit", "syslog", "certificate"): ("",),
    ("audit", "syslog", "key"): ("",),
}
_NESTED = (("web", "oidc"), ("audit", "syslog"))  # sections within sections


def load_settings(path: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the TOML file, lay the environment over it, and check the whole.

    X those lists as JSON. A relative path in the file, the default data_dir too, is relative
        to the file's folder; one in `environ`, and data_dir where there is no file, to the current directory.
        Raises SettingsError with every mistake: file and line, or the variable, then what to do.
    """
    text, values = _read(path) if path is not None else ("", {})
    mistakes, variables = _override(values, os.environ if environ is None else environ)
    settings = None
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        mistakes += mistakes_of(error, path, text, variables)
    if settings is None or mistakes:
        raise SettingsError("\n".join(mistakes))
    return settings


def _read(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
        values = tomllib.loads(text)
    except OSError as error:
        why = f"{path}: cannot be read ({error.strerror}); give another file with --config"
        raise SettingsError(why) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path}: not TOML: {error}") from error
    _place(values, path.resolve().parent)
    return text, values


def _place(values: dict[str, Any], folder: Path) -> None:
    """Make the relative paths of a file's `values` absolute; they are relative to its `folder`."""
    node, database = values.setdefault("node", {}), values.get("database")
    if isinstance(node, dict):
        node.setdefault("data_dir", str(NodeSettings.model_fields["data_dir"].default))
    for (*sections, key), names in _PATHS.items():
        table: Any = values
        for section in sections:
            table = table.get(section) if isinstance(table, dict) else None
        written = table.get(key) if isinstance(table, dict) else None
        if isinstance(table, dict) and isinstance(written, str) and written not in names:
            table[key] = str(folder / Path(written).expanduser())
    predictors = values.get("predictors")
    models = [values.get("model"), *(predictors if isinstance(predictors, list) else ())]
    for model in (one for one in models if isinstance(one, dict)):
        for key in ("checkpoint", "token_file", "ca_file"):
            written = model.get(key)
            if isinstance(written, str) and written and not (key == "checkpoint" and is_no_path(written)):
                model[key] = str(folder / Path(written).expanduser())
    url = database.get("url") if isinstance(database, dict) else None
    if isinstance(database, dict) and isinstance(url, str) and url.startswith("sqlite:///"):
        file = url.removeprefix("sqlite:///")
        database["url"] = url if file in ("", ":memory:") else f"sqlite:///{folder / file}"


def _override(values: dict[str, Any], environ: Mapping[str, str]) -> tuple[list[str], dict[Location, str]]:
    """Lay variables over `values`; return what is wrong with them, and which variable gave which setting."""
    mistakes: list[str] = []
    given: dict[Location, str] = {}
    for name in sorted(name for name in environ if name.startswith(PREFIX)):
        sections, key = _named(name.removeprefix(PREFIX).lower())
        if sections[0] in LISTS and not key:
            try:
                values[sections[0]] = json.loads(environ[name])
                given[(sections[0],)] = name
            except json.JSONDecodeError as error:
                mistakes.append(f"{name}: not JSON: {error}")
        elif sections[0] in LISTS or not key or (table := _table(values, sections)) is None:
            mistakes.append(f"{name}: names no setting; {PREFIX}SECTION__KEY does, lists as JSON in {PREFIX}ARCHIVES")
        else:
            table[key] = _from_text(environ[name])
            given[(*sections, key)] = name
    return mistakes, given


def _named(written: str) -> tuple[tuple[str, ...], str]:
    """Sections and key of `section__key` or `section__section__key`; the key "" where there is none."""
    section, _, key = written.partition("__")
    inner, _, rest = key.partition("__")
    if rest and (section, inner) in _NESTED:
        return (section, inner), rest
    return (section,), key


def _table(values: dict[str, Any], sections: tuple[str, ...]) -> dict[str, Any] | None:
    """The values of a section, which is made if it is not there; None: something else stands there."""
    table: Any = values
    for section in sections:
        table = table.setdefault(section, {}) if isinstance(table, dict) else None
    return table if isinstance(table, dict) else None


def _from_text(text: str) -> Any:
    """A list written as JSON or TOML; else the text itself, from which pydantic makes numbers and truth values."""
    if text.lstrip().startswith("["):
        try:
            return tomllib.loads(f"list = {text}")["list"]
        except tomllib.TOMLDecodeError:
            return text
    return text
