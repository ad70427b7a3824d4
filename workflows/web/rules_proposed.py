"""A change that is proposed: uploaded protocols in place of those of the same name, checked before it is replayed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from workflows.errors import ProtocolMistake
from workflows.protocols.checking import CheckedRules
from workflows.protocols.rule_files import RuleFiles
from workflows.protocols.schema import ReadingProtocol
from workflows.web.node_rules import NodeRules
from workflows.web.uploads import Upload

__all__ = ["Proposal", "proposed"]

_YAML = (".yaml", ".yml")


@dataclass(frozen=True)
class Proposal:
    """`after`: the rules as they would be. `replaced`, `added`: names. With a mistake nothing would go live.

    `warnings`: those that the change brings; what is warned of today stands on the page of rules.
    """

    after: tuple[ReadingProtocol, ...]
    replaced: tuple[str, ...]
    added: tuple[str, ...]
    mistakes: tuple[ProtocolMistake, ...]
    warnings: tuple[ProtocolMistake, ...]


def proposed(uploads: Sequence[Upload], rules: NodeRules, check: Callable[[Path], CheckedRules]) -> Proposal:
    """The rules in service with uploaded files in place of those of the same name. Total: what is wrong is a mistake.

    Files are checked together with those that stay: protocols may overlap, or never be reached because of others.
    """
    wrong = [ProtocolMistake(Path(one.name), 0, "is not called *.yaml: choose files of reading protocols")
             for one in uploads if not one.name.lower().endswith(_YAML)]  # fmt: skip
    if wrong:
        return _refused(rules, wrong)
    alone = RuleFiles(Path(), {one.name: one.content for one in uploads}).checked(check)
    if alone.mistakes:
        return _refused(rules, alone.mistakes)
    names = {one.name for one in alone.protocols}
    staying = [one for one in rules.protocols if one.name not in names]
    files = {_file_of(rules, one): rules.text_of(one).encode() for one in staying}
    together = RuleFiles(Path(), {**files, **{one.name: one.content for one in uploads}}).checked(check)
    if together.mistakes:
        return _refused(rules, together.mistakes)
    known = {one.name for one in rules.protocols}
    warned = {str(one.message) for one in rules.checked.warnings}
    return Proposal(
        after=together.protocols,
        replaced=tuple(sorted(names & known)),
        added=tuple(sorted(names - known)),
        mistakes=(),
        warnings=tuple(one for one in together.warnings if one.message not in warned),
    )


def _refused(rules: NodeRules, mistakes: Sequence[ProtocolMistake]) -> Proposal:
    return Proposal(rules.protocols, (), (), tuple(mistakes), ())


def _file_of(rules: NodeRules, protocol: ReadingProtocol) -> str:
    """A name that no uploaded file has."""
    return f"in service, {rules.files.file_of(protocol.digest)}"
