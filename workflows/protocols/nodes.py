"""YAML nodes, which know their lines -> texts, patterns and ranges, and every mistake instead of the first."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from inference.suggestions import similar_name
from workflows.errors import ProtocolMistake
from workflows.protocols.schema import NumberRange, TextPattern

__all__ = ["NodeReader", "kind_of", "line_of"]

_RANGE = ("minimum", "maximum")
# What PyYAML says, and what a person has to do about it.
_YAML_REMEDIES = (
    ("escape", "write regular expressions in single quotes"),
    (r"'\t'", "indent with spaces, not with tabs"),
    ("mapping values are not allowed", "check the indentation, and put a text that holds ': ' in quotes"),
    ("cannot start any token", "put the text in quotes"),
    ("alias", "put a text that begins with * or & in quotes"),
    ("another document", "one file holds one protocol; remove what follows ---"),
)
_YAML_REMEDY = "check brackets, quotes and indentation from here on"

_MOST_CHARACTERS, _MOST_NODES = 1 << 19, 100_000


class _TooLarge(Exception):
    """A file larger than any protocol, or one that its aliases make so; the message says what to do."""


class NodeReader:
    """Reads the nodes of one file and collects what is wrong with them.

    `examples`: what to write where a key is missing.
    """

    def __init__(self, file: Path, examples: Mapping[str, str]) -> None:
        self.file = file
        self.mistakes: list[ProtocolMistake] = []
        self._examples = examples

    def composed(self, keys: Sequence[str]) -> yaml.Node | None:
        """The file's root node; None, and a mistake, where there is none."""
        line, text = 1, ""
        try:
            text = self._contents()
            root = yaml.compose(text, Loader=yaml.SafeLoader)
            if root is not None and not _is_small(root):
                raise _TooLarge(f"its aliases make more than {_MOST_NODES:,} entries of it: write out what is meant")
            if root is not None:
                return root
            message = f"the file is empty: a protocol has {', '.join(keys)}"
        except yaml.MarkedYAMLError as error:
            line, message = _not_yaml(error)
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            message = "not YAML: a control character stands here; remove it"
        except RecursionError:
            message = "brackets or lists are nested too deep for a protocol: close them"
        except _TooLarge as error:
            message = str(error)
        except UnicodeDecodeError:
            message = "not UTF-8; save the file in that encoding"
        except OSError as error:
            message = f"cannot be read: {error.strerror}"
        self.mistakes.append(ProtocolMistake(self.file, line, message))
        return None

    def _contents(self) -> str:
        with self.file.open(encoding="utf-8") as stream:
            text = stream.read(_MOST_CHARACTERS + 1)
        if len(text) > _MOST_CHARACTERS:
            raise _TooLarge(f"the file has more than {_MOST_CHARACTERS:,} characters: divide the protocol")
        return text

    def wrong(self, node: yaml.Node, message: str) -> None:
        """Note a mistake at the line of `node`."""
        self.mistakes.append(ProtocolMistake(self.file, line_of(node), message))

    def mapping(
        self, node: yaml.Node, what: str, known: tuple[str, ...], required: tuple[str, ...] = ()
    ) -> dict[str, yaml.Node]:
        """The values of a mapping by their keys. `what` is what a person calls the mapping."""
        if not isinstance(node, yaml.MappingNode):
            self.wrong(node, f"{what} is {kind_of(node)}; write a mapping with {', '.join(known)}")
            return {}
        values: dict[str, yaml.Node] = {}
        misspelt: set[str | None] = set()
        for key, value in node.value:
            if key.value not in known:
                near = similar_name(str(key.value), known)
                misspelt.add(near)
                hint = f"did you mean {near!r}?" if near else f"{what} has {', '.join(known)}"
                self.wrong(key, f"unknown key {key.value!r}; {hint}")
            elif key.value in values:
                self.wrong(key, f"key {key.value!r} stands on line {line_of(values[key.value])} too: keep one")
            else:
                values[key.value] = value
        for key in required:
            if key not in values and key not in misspelt:
                self.wrong(node, f"{what} lacks {key!r}; write, for example, {self._examples[key]}")
        return values

    def text(self, node: yaml.Node, what: str) -> str:
        """A text that is not empty; "" where there is none."""
        if isinstance(node, yaml.ScalarNode) and node.value.strip():
            return str(node.value).strip()
        self.wrong(node, f"{what} is {kind_of(node)}; write a text")
        return ""

    def entries(self, node: yaml.Node | None, what: str) -> list[yaml.Node]:
        """What a list holds, or what stands in place of a list of one."""
        if isinstance(node, yaml.SequenceNode):
            if not node.value:
                remedy = "write something into it" if what == "modality" else "write something into it, or leave it out"
                self.wrong(node, f"{what} is an empty list; {remedy}")
            return list(node.value)
        return [node] if node is not None else []

    def texts(self, node: yaml.Node | None, what: str) -> tuple[str, ...]:
        """One text or a list of them."""
        return tuple(text for entry in self.entries(node, what) if (text := self.text(entry, what)))

    def patterns(self, node: yaml.Node | None, what: str) -> tuple[TextPattern, ...]:
        """One regular expression or a list of them."""
        patterns = []
        for entry in self.entries(node, what):
            if not (text := self.text(entry, what)):
                continue
            try:
                everything = re.search(text, "") is not None
            except re.error as error:
                self.wrong(entry, f"{what}: {text!r} is not a regular expression: {error}")
                continue
            if everything:
                self.wrong(entry, f"{what}: {text!r} matches every text; say what has to stand there")
            elif not text.isprintable():
                why = r"in double quotes YAML makes one of \b"
                self.wrong(entry, f"{what}: {text!r} holds a control character ({why}); write it in single quotes")
            patterns.append(TextPattern(text))
        return tuple(patterns)

    def number_range(self, node: yaml.Node | None, what: str) -> NumberRange:
        """A mapping with `minimum`, `maximum` or both; without a node every number lies in it."""
        if node is None:
            return NumberRange()
        bounds: dict[str, float] = {}
        given = self.mapping(node, what, _RANGE)
        for key, value in given.items():
            written = value.value if isinstance(value, yaml.ScalarNode) else ""
            try:
                number = float(written)
            except ValueError:
                number = math.nan
            if not math.isfinite(number) or number < 0:
                self.wrong(value, f"{what}: {key} is {kind_of(value)}; write a number, 0 or more")
            else:
                bounds[key] = number
        if isinstance(node, yaml.MappingNode) and not node.value:
            self.wrong(node, f"{what} is empty; write minimum, maximum or both, or leave it out")
        if "minimum" in bounds and bounds["minimum"] > bounds.get("maximum", math.inf):
            self.wrong(node, f"{what}: minimum is above maximum, so nothing could match; exchange them")
        return NumberRange(**bounds)


def _is_small(root: yaml.Node) -> bool:
    """Whether all that a reader meets is little, counting what an alias repeats as often as it is repeated."""
    met, waiting = 0, [root]
    while waiting and met <= _MOST_NODES:
        node = waiting.pop()
        met += 1
        if isinstance(node, yaml.SequenceNode):
            waiting.extend(node.value)
        elif isinstance(node, yaml.MappingNode):
            waiting.extend(part for pair in node.value for part in pair)
    return not waiting


def _not_yaml(error: yaml.MarkedYAMLError) -> tuple[int, str]:
    """The line to look at and what to do there: of what was opened and not closed, where it was opened."""
    problem, mark = error.problem or str(error.context), error.problem_mark
    if error.context_mark is not None and ("flow" in str(error.context) or "end of stream" in problem):
        if "but got '?'" in problem:
            remedy = "put a text that holds ? in quotes inside [ ] or { }: ['How large is it?']"
            return (mark or error.context_mark).line + 1, f"not YAML: {remedy}"
        problem, mark = "a bracket, a brace or a quote that opens here is not closed", error.context_mark
    remedy = next((remedy for said, remedy in _YAML_REMEDIES if said in problem), _YAML_REMEDY)
    return mark.line + 1 if mark is not None else 1, f"not YAML: {problem}; {remedy}"


def line_of(node: yaml.Node) -> int:
    """The line on which `node` begins; the first is 1."""
    return int(node.start_mark.line) + 1


def kind_of(node: yaml.Node) -> str:
    """What `node` is, for a sentence."""
    if isinstance(node, yaml.ScalarNode):
        return repr(node.value) if node.value.strip() else "empty"
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"
