"""YAML files -> plain values and the line of each; what is no YAML, no UTF-8 or a bomb is told instead."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from workflows.errors import ProtocolMistake
from workflows.protocols.questions_in_yaml import DEEPEST, MOST_NODES, QuestionLoader, TooLarge

__all__ = ["Loc", "Written", "kind_of", "read_yaml"]

Loc = tuple[int | str, ...]
"""Where a value stands: the keys and the places in lists (from 0) that lead to it."""

# What PyYAML says, and what a person has to do about it.
_YAML_REMEDIES = (
    ("escape", "write regular expressions in single quotes"),
    (r"'\t'", "indent with spaces, not with tabs"),
    ("mapping values are not allowed", "check the indentation, and put a text that holds ': ' in quotes"),
    ("cannot start any token", "put the text in quotes"),
    ("alias", "put a text that begins with * or & in quotes"),
    ("another document", "one file holds one protocol; remove what follows ---"),
)
_YAML_REMEDY = "check brackets, quotes and indentation here and above"

_MOST_CHARACTERS = 1 << 19
_NULL = "tag:yaml.org,2002:null"


class Written:
    """One file as it was written: `values` are texts, None for what is empty, lists and mappings by their texts.

    `mistakes`: what cannot be a value, such as a key that stands twice.
    """

    def __init__(self, file: Path, root: yaml.Node, text: str = "") -> None:
        self.file = file
        self.mistakes: list[ProtocolMistake] = []
        self._root, self._lines = root, text.splitlines()
        self._children: dict[int, dict[int | str, tuple[yaml.Node | None, yaml.Node]]] = {}
        self.values: Any = self._value(root, seen=set())

    def line(self, loc: Sequence[int | str], *, of_key: bool = False) -> int:
        """The line of a value, or of its key, or of what it should stand in; the first is 1."""
        node, key = self._node(loc)
        return _line_of(key if of_key and key is not None else node)

    def comment(self, loc: Sequence[int | str]) -> str:
        """What is said behind a value on its line, if nothing else stands between; "" where there is nothing."""
        node, _ = self._node(loc)
        if node.end_mark.line >= len(self._lines):
            return ""
        rest = self._lines[node.end_mark.line][node.end_mark.column :].lstrip(" \t,]}")
        return rest[1:].strip() if rest.startswith("#") else ""

    def _node(self, loc: Sequence[int | str]) -> tuple[yaml.Node, yaml.Node | None]:
        """The node that a place leads to, or as far as it leads, and its key."""
        node, key = self._root, None
        for part in loc:
            pair = self._children_of(node).get(part)
            if pair is not None:
                key, node = pair
        return node, key

    def _children_of(self, node: yaml.Node) -> dict[int | str, tuple[yaml.Node | None, yaml.Node]]:
        """What stands in a node, by key or by place; the first of two keys."""
        if id(node) not in self._children:
            found: dict[int | str, tuple[yaml.Node | None, yaml.Node]] = {}
            if isinstance(node, yaml.SequenceNode):
                found = {place: (None, entry) for place, entry in enumerate(node.value)}
            elif isinstance(node, yaml.MappingNode):
                for key, value in node.value:
                    if isinstance(key, yaml.ScalarNode):
                        found.setdefault(key.value, (key, value))
            self._children[id(node)] = found
        return self._children[id(node)]

    def _value(self, node: yaml.Node, seen: set[int]) -> Any:
        if isinstance(node, yaml.ScalarNode):
            return None if node.tag == _NULL else self._text(node)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(entry, seen) for entry in node.value]
        return self._mapping(node, seen)

    def _text(self, node: yaml.ScalarNode) -> str:
        """What no encoding has cannot be kept in a database: half of a character, as an escape can write it."""
        text = str(node.value)
        try:
            text.encode()
        except UnicodeEncodeError:
            self._wrong(node, "an escape here is no character; write the character itself")
            return text.encode("utf-8", "replace").decode()
        return text

    def _mapping(self, node: yaml.Node, seen: set[int]) -> dict[str, Any]:
        first = id(node) not in seen  # what an alias repeats is wrong once
        seen.add(id(node))
        values: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                if first:
                    self._wrong(key, f"a key is {kind_of(self._value(key, seen))}; write a text")
            elif key.value in values:
                if first:
                    self._wrong(key, f"key {key.value!r} stands on line {lines[key.value]} too: keep one")
            else:
                values[key.value], lines[key.value] = self._value(value, seen), _line_of(key)
        return values

    def _wrong(self, node: yaml.Node, message: str) -> None:
        self.mistakes.append(ProtocolMistake(self.file, _line_of(node), message))


def read_yaml(file: Path, keys: Sequence[str], contents: bytes | None = None) -> Written | ProtocolMistake:
    """A file's values; or why there are none. `keys`: what a protocol has, for an empty one.

    `contents`: its bytes, where they are read already, or are not kept in a file yet.
    """
    line, text = 1, ""
    try:
        text = _decoded(file, contents)
        root = yaml.compose(text, Loader=QuestionLoader)
        if root is not None:
            _require_small(root)
            return Written(file, root, text)
        message = f"the file is empty: a protocol has {', '.join(keys)}"
    except yaml.MarkedYAMLError as error:
        line, message = _quoted(error, text) or _not_yaml(error)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = "not YAML: a control character stands here; remove it"
    except RecursionError:
        message = "brackets or lists are nested too deep for a protocol: close them"
    except TooLarge as error:
        message = str(error)
    except UnicodeDecodeError:
        message = "not UTF-8; save the file in that encoding"
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
    except ValueError as error:  # a path that no file can have, a tag that PyYAML stumbles over
        message = f"not YAML: {str(error)[:100]}; {_YAML_REMEDY}"
    return ProtocolMistake(file, line, message)


def _decoded(file: Path, contents: bytes | None) -> str:
    most = 4 * _MOST_CHARACTERS
    if contents is None:
        with file.open("rb") as stream:
            contents = stream.read(most + 1)
    text = contents[: most + 1].decode("utf-8-sig") if len(contents) <= most else None
    if text is None or len(text) > _MOST_CHARACTERS:
        raise TooLarge(f"the file has more than {_MOST_CHARACTERS:,} characters: divide the protocol")
    return text.replace("\r\n", "\n")


def _require_small(root: yaml.Node) -> None:
    """Whether all that is met is little and flat, counting what an alias repeats as often as it is repeated."""
    met, waiting = 0, [(root, 1)]
    while waiting:
        node, depth = waiting.pop()
        met += 1
        if met > MOST_NODES:
            raise TooLarge(f"its aliases make more than {MOST_NODES:,} entries of it: write out what is meant")
        if depth > DEEPEST:
            raise TooLarge(f"brackets or lists are nested too deep: a protocol needs at most {DEEPEST}")
        if isinstance(node, yaml.SequenceNode):
            waiting.extend((entry, depth + 1) for entry in node.value)
        elif isinstance(node, yaml.MappingNode):
            waiting.extend((part, depth + 1) for pair in node.value for part in pair)


def _quoted(error: yaml.MarkedYAMLError, text: str) -> tuple[int, str] | None:
    """Of a quote that was not closed and met the next one, lines later: where it was opened. None: it was no quote."""
    if error.problem_mark is None or "expected" not in (error.problem or ""):
        return None
    last = None
    try:
        for token in yaml.scan(text, Loader=QuestionLoader):
            if token.start_mark.index >= error.problem_mark.index:
                break
            if isinstance(token, yaml.ScalarToken) and token.style in ("'", '"'):
                last = token
    except (yaml.YAMLError, TooLarge):
        pass
    if last is None or last.end_mark.line != error.problem_mark.line:
        return None
    first, end = last.start_mark.line + 1, last.end_mark.line + 1
    if first == end:
        return (
            end,
            "not YAML: a text goes on behind the quote that ends it; write '' for an apostrophe in single quotes",
        )
    return first, f"not YAML: a quote that opens here ends on line {end} only; close it on its line"


def _not_yaml(error: yaml.MarkedYAMLError) -> tuple[int, str]:
    """The line to look at and what to do there: of what was opened and not closed, where it was opened."""
    problem, mark = error.problem or str(error.context), error.problem_mark
    if error.context_mark is not None and ("flow" in str(error.context) or "end of stream" in problem):
        problem, mark = "a bracket, a brace or a quote that opens here is not closed", error.context_mark
    remedy = next((remedy for said, remedy in _YAML_REMEDIES if said in problem), _YAML_REMEDY)
    return mark.line + 1 if mark is not None else 1, f"not YAML: {problem}; {remedy}"


def _line_of(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def kind_of(value: Any) -> str:
    """What a value is, for a sentence."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return "empty"
    if isinstance(value, str):
        return repr(value if len(value) <= 100 else f"{value[:100]}...")
    return "a list" if isinstance(value, list) else "a mapping"
