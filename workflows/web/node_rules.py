"""The rules of a node as the pages need them: in service, refused, warned of, with the text of each.

The pages change nothing: what is in service says the database, as those roles left it that plan studies.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from fastapi import Request

from workflows.bootstrap import Node, checked_rules
from workflows.errors import ProtocolMistake
from workflows.protocols.checking import CheckedRules
from workflows.protocols.rule_files import RuleFiles, read_rule_files
from workflows.protocols.schema import ReadingProtocol
from workflows.state.rules import RefusedEdit
from workflows.steps.rules_in_service import stored_files
from workflows.web.rendering import node_of

__all__ = ["NodeRules", "checking", "rules_of", "text_of"]

_lock = threading.Lock()


@dataclass(frozen=True)
class NodeRules:
    """`files`: the protocols in service, byte for byte. `taken_at`: since when they are; None: nothing was planned
    yet, and the folder is shown as it would be taken. `refused`: the edit that waits for its mistakes to be mended.
    """

    checked: CheckedRules
    files: RuleFiles
    taken_at: datetime | None
    refused: RefusedEdit | None

    @property
    def protocols(self) -> tuple[ReadingProtocol, ...]:
        """What the next study is planned by."""
        return self.checked.protocols

    @property
    def mistakes(self) -> tuple[ProtocolMistake, ...]:
        """Why an edited folder, or the first one, is not in service."""
        return self.checked.mistakes if self.refused is None else self.refused.mistakes

    def named(self, name: str) -> ReadingProtocol | None:
        """The protocol of a name."""
        return next((one for one in self.protocols if one.name == name), None)

    def text_of(self, protocol: ReadingProtocol) -> str:
        """Its file."""
        return text_of(self.files.contents.get(self.files.file_of(protocol.digest), b""))


def text_of(contents: bytes) -> str:
    """A file's text; what is no UTF-8 in it is marked."""
    return contents.decode("utf-8", "replace")


def checking(node: Node) -> Callable[..., CheckedRules]:
    """What checks a folder of protocols against this node's settings."""
    return partial(checked_rules, node.settings)


def rules_of(request: Request) -> NodeRules:
    """The rules as they stand now; checked anew only where they are others than at the last look."""
    node, state = node_of(request), request.app.state
    stored, refused = node.repository.protocols_in_service(), node.repository.refused_edit()
    directory = node.settings.protocols.directory
    files = read_rule_files(directory) if stored is None else stored_files(stored, directory)
    with _lock:
        known: tuple[str, CheckedRules] | None = getattr(state, "checked_rules", None)
        if known is None or known[0] != files.digest:
            known = state.checked_rules = files.digest, files.checked(checking(node))
    return NodeRules(known[1], files, None if stored is None else stored.taken_at, refused)
