"""What `doctor` says of the reading protocols: what is in service, which edit is refused, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from workflows.bootstrap import checked_rules, repository_to_read
from workflows.commands.checks import Warned
from workflows.errors import DatabaseUnavailable, ProtocolErrors, ProtocolMistake, SettingsError
from workflows.protocols.checking import CheckedRules
from workflows.protocols.rule_files import RuleFiles, read_rule_files
from workflows.protocols.schema import ReadingProtocol
from workflows.settings import COMMISSIONING, Settings
from workflows.state.engine import find_database
from workflows.state.repository import Repository
from workflows.state.rules import ProtocolSet
from workflows.steps.rules_in_service import not_what_they_were, stored_files

__all__ = ["check_protocols", "check_protocols_for_a_start", "refused_edit_told", "reused_versions"]

_NOT_USED = "not used: a commissioning node asks every image series"


def check_protocols(settings: Settings) -> str:
    """What the folder holds and what is in service. Raises SettingsError for an edit that is refused, with all of its
    mistakes; Warned for what will not do what its writer expects."""
    if settings.model.checkpoint == COMMISSIONING:
        return _NOT_USED
    known = _known(settings)
    found, checked = _checked(settings)
    if checked.mistakes:
        count = len(checked.mistakes)
        mistakes = "1 mistake" if count == 1 else f"{count} mistakes"
        refused = f"the files in {settings.protocols.directory} are refused, {mistakes}"
        raise SettingsError("\n".join([f"{refused}; {known.told(settings)}", *map(_line, checked.mistakes)]))
    told = f"{_names(checked.protocols)}; {known.told_beside(found, settings)}"
    if warnings := (*checked.warnings, *_reused(checked.protocols, found, known.repository, settings)):
        raise Warned("\n".join([told, *map(_line, warnings)]))
    return told


def check_protocols_for_a_start(settings: Settings) -> str:
    """Whether a node would have protocols if it started: those of the folder, or else those that were in service last.

    Raises ProtocolErrors, and Warned where the database that may have them does not answer.
    """
    if settings.model.checkpoint == COMMISSIONING:
        return _NOT_USED
    _, checked = _checked(settings)
    if not checked.mistakes:
        return "usable"
    try:
        stored = _known(settings).stored
    except DatabaseUnavailable as error:
        raise Warned(str(error)) from error
    if stored is None:
        raise ProtocolErrors(checked.mistakes)
    before = stored_files(stored, settings.protocols.directory).checked(partial(checked_rules, settings))
    if before.mistakes:
        raise ProtocolErrors(checked.mistakes)
    return f"refused; {_in_service(stored, settings)}"


def reused_versions(directory: Path, checked: CheckedRules, settings: Settings) -> tuple[ProtocolMistake, ...]:
    """A warning for each protocol of a folder, or a file, that was in service under its version and asked otherwise.

    None where no node has run with these settings, or its database does not answer.
    """
    found = read_rule_files(directory if directory.is_dir() else directory.parent)
    try:
        return _reused(checked.protocols, found, _known(settings).repository, settings)
    except DatabaseUnavailable:
        return ()


def _reused(
    protocols: Sequence[ReadingProtocol], found: RuleFiles, repository: Repository | None, settings: Settings
) -> tuple[ProtocolMistake, ...]:
    if repository is None:
        return ()
    return not_what_they_were(protocols, found, repository, partial(checked_rules, settings))


@dataclass(frozen=True)
class _Known:
    """What the database knows; no repository: no node of this version has run there yet."""

    repository: Repository | None
    stored: ProtocolSet | None

    def told(self, settings: Settings) -> str:
        return "none was in service before" if self.stored is None else _in_service(self.stored, settings)

    def told_beside(self, found: RuleFiles, settings: Settings) -> str:
        if self.stored is None:
            return "not in service yet"
        if self.stored.digest == found.digest:
            return f"in service since {self.stored.taken_at:%Y-%m-%d %H:%M} UTC"
        return f"edited since, and not in service yet: a node that runs takes it within seconds; {self.told(settings)}"


def _known(settings: Settings) -> _Known:
    if find_database(settings.database_url) is not None:
        return _Known(None, None)
    try:
        repository = repository_to_read(settings)
    except SettingsError:  # none has run here, or one of another version: the check of the node says so
        return _Known(None, None)
    return _Known(repository, repository.protocols_in_service())


def _checked(settings: Settings) -> tuple[RuleFiles, CheckedRules]:
    found = read_rule_files(settings.protocols.directory)
    return found, found.checked(partial(checked_rules, settings))


def _in_service(stored: ProtocolSet, settings: Settings) -> str:
    """What the database has, as it would be loaded today; by its names alone where it could not."""
    loaded = stored_files(stored, settings.protocols.directory).checked(partial(checked_rules, settings))
    names = ", ".join(version.named for version in stored.versions) if loaded.mistakes else _names(loaded.protocols)
    return f"in service since {stored.taken_at:%Y-%m-%d %H:%M} UTC: {names}"


def _names(protocols: Sequence[ReadingProtocol]) -> str:
    """Those that are on; those that are off stand last."""
    ordered = sorted(protocols, key=lambda one: (bool(one.off_because), one.name, one.version))
    return ", ".join(f"{one.name} {one.version}{' (off)' if one.off_because else ''}" for one in ordered)


def refused_edit_told(repository: Repository) -> str:
    """That an edit of the protocols waits for its mistakes to be mended, for `status`; "" where none does."""
    refused = repository.refused_edit()
    if refused is None or not refused.mistakes:
        return ""
    first, more = refused.mistakes[0], len(refused.mistakes) - 1
    others = f" (and {more} more {'mistake' if more == 1 else 'mistakes'})" if more else ""
    folder = f"; `medseg-node protocols check {first.file.parent}` lists all" if more else ""
    return (
        f"the edited protocols are refused since {refused.refused_at:%Y-%m-%d %H:%M} UTC, those of before are in "
        f"service: {first}{others}{folder}"
    )


def _line(mistake: ProtocolMistake) -> str:
    return f"       {mistake}"
