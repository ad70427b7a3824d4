"""Rules in service: an edited folder of reading protocols is taken whole, or refused whole while the old set stays.

look        the folder's files, byte for byte, with one digest (protocols/rule_files.py)
still?      a new digest counts once two looks `settle_s` apart had it: files are not being written any more
check       all mistakes at once; a broken example is one (protocols/checking.py)
take        each version is stored by its digest, and the set is in service: `protocols_taken`
refuse      what was in service stays; the mistakes are kept and told once: `protocols_refused`

After a start with files that have mistakes the set that was in service last comes from the database. A node that never
had one does not begin. Each process that plans has its own look; what is told once a change, the database decides.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from workflows.errors import DatabaseUnavailable, ProtocolErrors, ProtocolMistake, SettingsError, defect
from workflows.protocols.checking import CheckedRules
from workflows.protocols.rule_files import RuleFiles, read_rule_files
from workflows.protocols.schema import ReadingProtocol
from workflows.state.repository import Repository
from workflows.state.rules import ProtocolSet, ProtocolVersion

__all__ = ["SETTLE_S", "RulesInService", "not_what_they_were", "stored_files"]

log = structlog.get_logger()

SETTLE_S = 2.0
"""How far two looks at an edited folder are apart, in seconds, that must find the same."""
_LOOKS = 10
"""At a start: more often nobody waits for a folder that goes on changing."""


@dataclass(frozen=True)
class _Taken:
    digest: str
    protocols: tuple[ReadingProtocol, ...]


class RulesInService:
    """The reading protocols in service of one process. May be asked from several threads.

    `check`: `check_rules` with what the settings name. `clock`: seconds that never go back.
    """

    def __init__(
        self,
        directory: Path,
        repository: Callable[[], Repository],
        check: Callable[[Path], CheckedRules],
        *,
        settle_s: float = SETTLE_S,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.directory = directory
        self._repository, self._check = repository, check
        self.settle_s, self._clock, self._pause = settle_s, clock, pause
        self._lock = threading.Lock()
        self._taken: _Taken | None = None
        self._seen: tuple[str, float] | None = None  # another digest than that in service, and when it was seen first
        self._failed = ""  # why the last look failed
        self._refused = ""  # digest of the edit that stands refused

    def protocols(self) -> tuple[ReadingProtocol, ...]:
        """What is in service now, after a look at the folder.

        Raises ProtocolErrors where nothing can be put into service, SettingsError where the files cannot be checked at
        a start, and DatabaseUnavailable.
        """
        with self._lock:
            if self._taken is None:
                self._taken = self._first()
            else:
                self._look_or_go_on(self._taken)
            return self._taken.protocols

    # --- While the process runs ---------------------------------------------------------------------------------------

    def _look_or_go_on(self, taken: _Taken) -> None:
        """A look that fails, such as one that finds no room for a copy, stops no planning: what is in service stays."""
        try:
            self._look(taken)
        except DatabaseUnavailable:
            raise
        except Exception as error:
            told = defect(error)
            if told != self._failed:
                log.exception("protocols_not_looked_at", reason=told, directory=str(self.directory))
            self._failed = told
        else:
            self._failed = ""

    def _look(self, taken: _Taken) -> None:
        found, now = read_rule_files(self.directory), self._clock()
        if found.digest == taken.digest:
            self._seen = None
            if self._refused:
                self._repository().forget_refused_edit()
                log.info("protocols_edit_undone", digest=taken.digest[:12], refused=self._refused[:12])
                self._refused = ""
        elif found.digest == self._refused:
            return
        elif self._seen is None or self._seen[0] != found.digest:
            self._seen = found.digest, now
        elif now - self._seen[1] >= self.settle_s:
            checked = found.checked(self._check)
            if checked.mistakes:
                self._refuse(found, checked.mistakes)
            else:
                self._taken = self._take(found, checked, taken.protocols)
            self._seen = None

    def _take(self, found: RuleFiles, checked: CheckedRules, before: Sequence[ReadingProtocol] = ()) -> _Taken:
        repository = self._repository()
        changed = not_what_they_were(checked.protocols, found, repository, self._check)
        if repository.take_protocols(found.digest, list(_versions(checked.protocols, found))):
            log.info("protocols_taken", **_counts(found, checked.protocols), warnings=len(checked.warnings))
            if gone := sorted(_on(before) - _on(checked.protocols)):  # meant, or a copy that was not whole
                log.warning("protocols_gone", names=gone)
            if checked.warnings:
                log.warning("protocols_warned", warnings=[str(warning) for warning in checked.warnings])
            for warning in changed:
                log.warning("protocol_not_what_it_was", told=str(warning))
        self._refused = ""
        return _Taken(found.digest, checked.protocols)

    def _refuse(self, found: RuleFiles, mistakes: Sequence[ProtocolMistake], *, at_start: bool = False) -> None:
        news = self._repository().refuse_protocols(found.digest, mistakes)
        if news or at_start:
            told = [str(mistake) for mistake in mistakes]
            log.error("protocols_refused", digest=found.digest[:12], count=len(told), mistakes=told)
        self._refused = found.digest

    # --- At its start -------------------------------------------------------------------------------------------------

    def _first(self) -> _Taken:
        """What is in service from the start on. Studies wait while this host has no room for a copy of the files."""
        try:
            return self._begin()
        except OSError as error:
            raise SettingsError(f"the protocols in {self.directory} cannot be checked: {error}") from error

    def _begin(self) -> _Taken:
        stored = self._repository().protocols_in_service()
        found = read_rule_files(self.directory)
        if stored is not None and found.digest != stored.digest:
            found = self._still(found)
        checked = found.checked(self._check)
        if not checked.mistakes:
            taken = self._take(found, checked)
            log.info("protocols_in_service", **_counts(found, checked.protocols))
            return taken
        if stored is None or found.digest == stored.digest:
            raise ProtocolErrors(checked.mistakes)
        before = stored_files(stored, self.directory).checked(self._check)
        if before.mistakes:  # the settings have changed too: what these name is not there any more
            raise ProtocolErrors(checked.mistakes)
        self._refuse(found, checked.mistakes, at_start=True)
        log.error(
            "protocols_of_before_in_service",
            digest=stored.digest[:12],
            taken_at=stored.taken_at.isoformat(),
            protocols=len(before.protocols),
            remedy=f"mend the files in {self.directory}; `medseg-node protocols check` lists the mistakes",
        )
        return _Taken(stored.digest, before.protocols)

    def _still(self, found: RuleFiles) -> RuleFiles:
        """The folder once two looks found the same; after many, the last look."""
        for _ in range(_LOOKS):
            self._pause(self.settle_s)
            again = read_rule_files(self.directory)
            if again.digest == found.digest:
                break
            found = again
        return found


def stored_files(stored: ProtocolSet, directory: Path) -> RuleFiles:
    """The files of a set as the database has them, as if they lay in a folder."""
    return RuleFiles(directory, {version.file: version.contents for version in stored.versions})


def not_what_they_were(
    protocols: Sequence[ReadingProtocol],
    found: RuleFiles,
    repository: Repository,
    check: Callable[[Path], CheckedRules],
) -> tuple[ProtocolMistake, ...]:
    """A warning for each protocol under whose name and version jobs were planned that were asked otherwise.

    Its title, its examples, why it is off and the comments of its file may change without a new version.
    """
    before = repository.protocol_versions()
    return tuple(
        ProtocolMistake(
            found.directory / found.file_of(protocol.digest),
            0,
            f"{version.named} is not what it was on {version.first_used_at:%Y-%m-%d}: raise its version",
        )
        for protocol in protocols
        for version in _latest_otherwise(protocol, before, repository, check)
    )


def _latest_otherwise(
    protocol: ReadingProtocol,
    before: Sequence[ProtocolVersion],
    repository: Repository,
    check: Callable[[Path], CheckedRules],
) -> list[ProtocolVersion]:
    """The latest of the versions of the same name and version that asked studies otherwise, if there is one."""
    same = [one for one in before if (one.name, one.version) == (protocol.name, protocol.version)]
    others = [one for one in same if one.digest != protocol.digest]
    planned = repository.planned_with([one.digest for one in others]) if others else set()
    others = [one for one in others if one.digest in planned]
    return [one for one in others if _what_they_ask(_loaded(one, check)) != _what_they_ask([protocol])][:1]


def _loaded(version: ProtocolVersion, check: Callable[[Path], CheckedRules]) -> Sequence[ReadingProtocol]:
    """The protocol of a stored file; none where today's node has mistakes to tell of it."""
    return RuleFiles(Path(), {version.file: version.contents}).checked(check).protocols


def _on(protocols: Sequence[ReadingProtocol]) -> set[str]:
    return {protocol.name for protocol in protocols if not protocol.off_because}


def _what_they_ask(protocols: Sequence[ReadingProtocol]) -> list[ReadingProtocol]:
    return [replace(one, title="", examples=(), off_because="", digest="") for one in protocols]


def _versions(protocols: Sequence[ReadingProtocol], found: RuleFiles) -> Iterator[ProtocolVersion]:
    for protocol in protocols:
        file = found.file_of(protocol.digest)
        yield ProtocolVersion(
            protocol.digest, protocol.name, protocol.version, protocol.title, file, found.contents[file]
        )


def _counts(found: RuleFiles, protocols: Sequence[ReadingProtocol]) -> dict[str, object]:
    off = sum(bool(protocol.off_because) for protocol in protocols)
    questions = sum(len(protocol.questions) for protocol in protocols if not protocol.off_because)
    return {"digest": found.digest[:12], "protocols": len(protocols), "off": off, "questions": questions}
