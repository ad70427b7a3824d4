"""Rule files: what a folder of reading protocols holds at one look, byte for byte, with one digest over all of it."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from workflows.errors import ProtocolMistake
from workflows.protocols.checking import CheckedRules
from workflows.protocols.loader import is_rule_file

__all__ = ["RuleFiles", "digest_of_file", "read_rule_files"]

_MOST_BYTES = 4 * 1024 * 1024
"""A file of a thousand questions has less."""


@dataclass(frozen=True)
class RuleFiles:
    """The files of a folder, by name. `unreadable`: why a file could not be read, by name.

    What is checked and taken is this look alone, whatever is written into the folder meanwhile.
    """

    directory: Path
    contents: Mapping[str, bytes]
    unreadable: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the names and contents of all files; another name for a file is another set."""
        lines = {name: digest_of_file(content) for name, content in self.contents.items()}
        lines |= {name: f"unreadable: {why}" for name, why in self.unreadable.items()}
        listed = "".join(f"{name}\0{lines[name]}\n" for name in sorted(lines))
        return hashlib.sha256(listed.encode("utf-8", "surrogateescape")).hexdigest()

    def file_of(self, digest: str) -> str:
        """The name of the file with a digest; "" where there is none."""
        return next((name for name, content in self.contents.items() if digest_of_file(content) == digest), "")

    def checked(self, check: Callable[[Path], CheckedRules]) -> CheckedRules:
        """What `check`, such as `check_rules`, says of a copy of these files; its mistakes name the originals."""
        unread = tuple(ProtocolMistake(self.directory / name, 0, why) for name, why in self.unreadable.items())
        if unread and not self.contents:
            return CheckedRules((), unread, ())
        if not self.contents:
            return check(self.directory)  # it says whether the folder is empty, missing or a file
        with tempfile.TemporaryDirectory(prefix="medseg-protocols-") as copy:
            for name, content in self.contents.items():
                Path(copy, name).write_bytes(content)
            found = check(Path(copy))
        mistakes = (self._of_original(mistake, copy) for mistake in found.mistakes)
        warnings = (self._of_original(warning, copy) for warning in found.warnings)
        return replace(found, mistakes=(*unread, *mistakes), warnings=tuple(warnings))

    def _of_original(self, mistake: ProtocolMistake, copy: str) -> ProtocolMistake:
        file = self.directory / mistake.file.name if mistake.file.name in self.contents else self.directory
        return ProtocolMistake(file, mistake.line, mistake.message.replace(copy, str(self.directory)))


def digest_of_file(contents: bytes) -> str:
    """SHA-256 of a protocol's file, as `ReadingProtocol.digest` has it."""
    return hashlib.sha256(contents).hexdigest()


def read_rule_files(directory: Path) -> RuleFiles:
    """The `*.yaml` and `*.yml` files of a folder, but for hidden ones, such as an editor's; none where it is missing.

    The folder is resolved first: where it is a link that is put elsewhere meanwhile, all files are of one folder.
    """
    contents: dict[str, bytes] = {}
    unreadable: dict[str, str] = {}
    try:
        there = sorted(directory.resolve().iterdir())
    except OSError:
        return RuleFiles(directory, {})
    for path in there:
        if not is_rule_file(path):
            continue
        if path.exists() and not (path.is_file() or path.is_dir()):
            unreadable[path.name] = "is no file that can be read to its end; remove it"  # a pipe would wait for ever
            continue
        try:
            with path.open("rb") as file:
                found = file.read(_MOST_BYTES + 1)
        except OSError as error:
            unreadable[path.name] = f"cannot be read ({error.strerror}); remove it, or let the node's user read it"
            continue
        if len(found) > _MOST_BYTES:
            unreadable[path.name] = f"larger than {_MOST_BYTES // 1024**2} MiB, which no protocol is; remove it"
        else:
            contents[path.name] = found
    return RuleFiles(directory, contents, unreadable)
