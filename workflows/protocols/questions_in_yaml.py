"""A YAML loader that takes a question in brackets, `[How large is it?]`, and stops where a file grows without end."""

from __future__ import annotations

from typing import Any

import yaml

__all__ = ["DEEPEST", "MOST_NODES", "QuestionLoader", "TooLarge"]

DEEPEST, MOST_NODES = 40, 50_000

_ENDS = "\0 \t\r\n\x85\u2028\u2029"


class TooLarge(Exception):
    """A file larger or deeper than any protocol; the message says what to do."""


class QuestionLoader(yaml.SafeLoader):
    """PyYAML's safe loader, in whose bare texts a question mark is a letter as any other (YAML 1.2, 7.3.3).

    Raises `TooLarge` as soon as brackets or lists are nested deeper than `DEEPEST` or there are more than `MOST_NODES`
    entries: PyYAML itself takes seconds for that.
    """

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._nodes = 0

    def fetch_flow_collection_start(self, token: Any) -> None:
        """A bracket or a brace that opens."""
        super().fetch_flow_collection_start(token)
        self._require_flat(self.flow_level)

    def add_indent(self, column: int) -> bool:
        """A list or a mapping that begins further to the right."""
        added: bool = super().add_indent(column)
        self._require_flat(len(self.indents))
        return added

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """A value, and what is in it."""
        self._nodes += 1
        if self._nodes > MOST_NODES:
            raise TooLarge(f"the file has more than {MOST_NODES:,} entries: divide the protocol")
        composed: yaml.Node | None = super().compose_node(parent, index)
        return composed

    def _require_flat(self, depth: int) -> None:
        if depth > DEEPEST:
            where = f"line {self.line + 1}"
            raise TooLarge(f"brackets or lists are nested too deep ({where}): a protocol needs at most {DEEPEST}")

    def scan_plain(self) -> yaml.ScalarToken:
        """A bare text, as PyYAML's scanner reads it, with question marks."""
        chunks: list[str] = []
        spaces: list[str] = []
        start_mark = end_mark = self.get_mark()
        indent = self.indent + 1
        while self.peek() != "#":
            length = 0
            while not self._ends_plain(length):
                length += 1
            if length == 0:
                break
            self.allow_simple_key = False
            chunks += [*spaces, self.prefix(length)]
            self.forward(length)
            end_mark = self.get_mark()
            spaces = self.scan_plain_spaces(indent, start_mark) or []
            if not spaces or (not self.flow_level and self.column < indent):
                break
        return yaml.ScalarToken("".join(chunks), True, start_mark, end_mark)

    def _ends_plain(self, length: int) -> bool:
        """Whether a bare text ends before the letter that stands so far ahead."""
        letter = self.peek(length)
        if letter == ":":
            return self.peek(length + 1) in _ENDS + (",[]{}" if self.flow_level else "")
        return letter in _ENDS or bool(self.flow_level and letter in ",[]{}")
