"""Example text: an example as YAML, and put into a protocol's file without touching anything else in it. Pure."""

from __future__ import annotations

from typing import Any

import yaml

from workflows.protocols.questions_in_yaml import QuestionLoader

__all__ = ["ExampleNotPlaced", "example_text", "with_example"]

_WIDTH = 110


class ExampleNotPlaced(Exception):
    """A file that an example cannot be put into; the message says why and what to do."""


def example_text(example: dict[str, Any], indent: int = 2) -> str:
    """An item of `examples`, a line for each key and each series; the hyphen stands after `indent` blanks."""
    lead, inner = " " * indent, " " * (indent + 2)
    lines: list[str] = []
    for key, value in example.items():
        if key == "series":
            lines.append(f"{inner}series:")
            lines += [line for one in value for line in _flow(f"{inner}  - ", one)]
        else:
            lines += _flow(f"{inner}{key}: ", value)
    lines[0] = f"{lead}- {lines[0].lstrip()}"
    return "\n".join(lines) + "\n"


def with_example(text: str, example: dict[str, Any]) -> str:
    """The file with one example more, after those that it has; all else stays as it is, comments too.

    Raises ExampleNotPlaced for a text that is no mapping, or whose `examples` is written inside of brackets.
    """
    node = _root(text)
    examples = next((value for key, value in node.value if key.value == "examples"), None)
    if text and not text.endswith("\n"):
        text += "\n"
    if examples is None:
        return f"{text}\nexamples:\n{example_text(example)}"
    lines = text.splitlines(keepends=True)
    empty = isinstance(examples, yaml.ScalarNode) or not examples.value
    if empty:
        first = next(key for key, _ in node.value if key.value == "examples").start_mark.line
        after = max(examples.end_mark.line, first)
        return "".join([*lines[:first], "examples:\n", example_text(example), *lines[after + 1 :]])
    if not isinstance(examples, yaml.SequenceNode) or examples.flow_style:
        raise ExampleNotPlaced("its examples are not a list with hyphens: write one example a line, each after `- `")
    indent = examples.start_mark.column
    end = _last_line(examples.value[-1]) + 1
    return "".join([*lines[:end], example_text(example, indent), *lines[end:]])


def _root(text: str) -> yaml.MappingNode:
    try:
        node = yaml.compose(text, Loader=QuestionLoader)
    except yaml.YAMLError as error:
        raise ExampleNotPlaced("it is not YAML: `medseg-node protocols check` says where") from error
    if not isinstance(node, yaml.MappingNode) or node.flow_style:
        raise ExampleNotPlaced("it is no reading protocol: `medseg-node protocols check` says why")
    return node


def _last_line(node: yaml.Node) -> int:
    """The last line, from 0, on which something of a node stands; marks of blocks end where the next thing begins."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _last_line(last[1] if isinstance(last, tuple) else last)
    end = node.end_mark
    return int(end.line) - (1 if end.column == 0 and end.line > node.start_mark.line else 0)


def _flow(lead: str, value: Any) -> list[str]:
    """`value` in one line where it fits, after `lead`; a long mapping in several, broken between its keys."""
    whole = _dumped(value)
    if not isinstance(value, dict) or len(lead) + len(whole) <= _WIDTH:
        return [f"{lead}{whole}"]
    lines = [f"{lead}{{"]
    for number, key in enumerate(value, start=1):
        part = _dumped({key: value[key]})[1:-1] + ("}" if number == len(value) else ", ")
        if len(lines[-1]) + len(part.rstrip()) > _WIDTH and lines[-1].strip() != "- {":
            lines.append(" " * (len(lead) + 1))
        lines[-1] += part
    return [line.rstrip() for line in lines]


def _dumped(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, sort_keys=False, width=10**9)
    return text.removesuffix("...\n").rstrip("\n")
