"""Loader: YAML files -> reading protocols, or every mistake of every file at once, with its line."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import InitErrorDetails

from workflows.errors import ProtocolErrors, ProtocolMistake
from workflows.protocols.anatomy import body_parts_alone
from workflows.protocols.condition_reader import loc_of, read_condition
from workflows.protocols.conditions import ALWAYS, AllOf
from workflows.protocols.document import ProtocolDocument
from workflows.protocols.mistakes import mistakes_of
from workflows.protocols.nodes import Written, read_yaml
from workflows.protocols.question_checks import question_faults
from workflows.protocols.schema import ReadingProtocol
from workflows.protocols.translating import ExampleError, protocol_of
from workflows.protocols.values import fault

__all__ = ["ReadFile", "is_rule_file", "load_directory", "load_file", "read_directory", "read_file"]

_LARGEST = 4 << 19
"""Bytes that are read of a file: more than a protocol may have."""
_BESIDE = (
    "put it beside a test that shows the anatomy, in one mapping, such as "
    r"{body_part_examined: CHEST, description: {pattern: '\bthorax\b'}}, or leave it out"
)


@dataclass(frozen=True)
class ReadFile:
    """One file: its protocol, or the mistakes that it has. `written` knows the lines; None where it is no YAML."""

    file: Path
    protocol: ReadingProtocol | None
    mistakes: tuple[ProtocolMistake, ...]
    written: Written | None

    @property
    def identity(self) -> tuple[str, str]:
        """Name and version, known even where something else is wrong."""
        values: Any = self.written.values if self.written is not None else {}
        said = [values.get(key) if isinstance(values, dict) else "" for key in ("name", "version")]
        name, version = (one.strip() if isinstance(one, str) else "" for one in said)
        return name, version

    @property
    def is_off(self) -> bool:
        """Whether it says that it is off."""
        return self.written is not None and isinstance(self.written.values, dict) and "off" in self.written.values

    def line(self, *loc: int | str) -> int:
        """The line of a value."""
        return self.written.line(loc) if self.written is not None else 1


def load_directory(directory: Path, predictors: Collection[str] | None = None) -> tuple[ReadingProtocol, ...]:
    """All protocols of a folder (`*.yaml`, `*.yml`), by name of file. Raises ProtocolErrors with all mistakes.

    `predictors`: the names that a question's `predictor` may be; None: any.
    """
    files = read_directory(directory, predictors)
    if mistakes := tuple(mistake for file in files for mistake in file.mistakes):
        raise ProtocolErrors(mistakes)
    return tuple(file.protocol for file in files if file.protocol is not None)


def load_file(file: Path) -> ReadingProtocol:
    """One protocol. Raises ProtocolErrors."""
    read = read_file(file)
    if read.protocol is None:
        raise ProtocolErrors(read.mistakes)
    return read.protocol


def read_directory(directory: Path, predictors: Collection[str] | None = None) -> tuple[ReadFile, ...]:
    """Every file of a folder, with its mistakes and those between files. Raises ProtocolErrors where there is none."""
    try:
        files = sorted(file for file in directory.iterdir() if is_rule_file(file)) if directory.is_dir() else []
    except OSError as error:
        raise ProtocolErrors((ProtocolMistake(directory, 0, f"cannot be read: {error.strerror}"),)) from error
    if not files:
        why = "no *.yaml files here"
        if not directory.is_dir():
            why = "a file; name the folder it lies in" if directory.is_file() else "no such folder"
        raise ProtocolErrors((ProtocolMistake(directory, 0, f"{why} (the argument, or [protocols] directory)"),))
    return _between([read_file(file, predictors) for file in files])


def is_rule_file(path: Path) -> bool:
    """Whether a file of a folder is to be a protocol: `*.yaml` or `*.yml` in any case, and not hidden."""
    return path.suffix.lower() in (".yaml", ".yml") and not path.name.startswith(".")


def read_file(file: Path, predictors: Collection[str] | None = None, contents: bytes | None = None) -> ReadFile:
    """One file. Raises nothing for what is in it. `contents`: its bytes, where they are not kept in a file yet."""
    if contents is None:
        try:
            if file.exists() and not (file.is_file() or file.is_dir()):
                raise ValueError("it is no file that can be read to its end; remove it")
            with file.open("rb") as stream:
                contents = stream.read(_LARGEST + 1)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            return ReadFile(file, None, (ProtocolMistake(file, 1, f"cannot be read: {why}"),), None)
    written = read_yaml(file, ProtocolDocument.keys_to_write(), contents)
    if isinstance(written, ProtocolMistake):
        return ReadFile(file, None, (written,), None)
    faults = [*_faults(written), *question_faults(written, predictors)]
    document = None
    try:
        document = ProtocolDocument.model_validate(written.values)
    except ValidationError as error:
        mistakes = mistakes_of(error, written, faults)
    else:
        mistakes = mistakes_of(None, written, faults)
    protocol = None
    if document is not None and not mistakes:
        lines = tuple(written.line(("examples", index)) for index in range(len(document.examples)))
        try:
            protocol = protocol_of(document, hashlib.sha256(contents).hexdigest(), lines)
        except ExampleError as error:
            line = written.line(("examples", error.index))
            mistakes = [ProtocolMistake(file, line, f"example {error.index + 1}: {error}")]
    return ReadFile(file, protocol, tuple(mistakes), written)


def _faults(written: Written) -> Iterator[InitErrorDetails]:
    """What is wrong between the keys of a file."""
    values = written.values
    if not isinstance(values, dict):
        return
    for key in ("when", "series"):
        if "select" in values and key in values:
            yield fault(
                ("select",), f"select is of 0.1 and stands beside {key}; write its conditions under series.where"
            )
            break
    if not any(key in values for key in ("when", "series", "select", "sereis", "serie")):
        yield fault((), "a protocol lacks 'series'; write, for example, series: {where: {modality: CT}}")
    series: Any = values.get("series")
    try:
        when = read_condition(values["when"], "when") if "when" in values else ALWAYS
        selects = isinstance(series, dict) and "where" in series
        where = read_condition(series["where"], "series.where") if selects else ALWAYS
    except ValidationError:
        return  # they are told with the whole
    for test in body_parts_alone(AllOf((when, where))):
        yield fault(loc_of(test.where), f"Body Part Examined is often wrong and never decides alone; {_BESIDE}")


def _between(files: Sequence[ReadFile]) -> tuple[ReadFile, ...]:
    """The files, with what is wrong between them: a name that another file has, too."""
    found: list[ReadFile] = []
    for file in files:
        mistake = next((told for other in found if (told := _same_name(file, other))), "")
        if mistake:
            mistakes = (*file.mistakes, ProtocolMistake(file.file, file.line("name"), mistake))
            ordered = tuple(sorted(mistakes, key=lambda one: one.line))
            file = ReadFile(file.file, None, ordered, file.written)
        found.append(file)
    return tuple(found)


def _same_name(file: ReadFile, other: ReadFile) -> str:
    """What is wrong with two files of one name; "" where nothing is."""
    (name, version), (other_name, other_version) = file.identity, other.identity
    if not name or name != other_name or not version or not other_version:
        return ""
    if version == other_version:
        return f"{name} version {version} stands in {other.file.name} too: give one a new name or version"
    if file.is_off or other.is_off:
        return ""
    told = f"{name} stands in {other.file.name} too, as version {other_version}: one version alone may be in service"
    return f"{told}; remove one, or give it `off: an earlier version`"
