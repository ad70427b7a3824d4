"""What --help prints is what was written: rich takes a word in square brackets for markup and swallows it."""

from __future__ import annotations

import re
from typing import Any

import pytest
import typer
from rich.text import Text
from typer.testing import CliRunner

from inference.cli import app as medseg_r
from inference.medseg_qa.commands import make_app
from workflows.commands.cli import app as medseg_node


def commands(command: Any, *words: str) -> list[tuple[tuple[str, ...], Any]]:
    inner = getattr(command, "commands", {}).items()
    return [(words, command), *(found for name, one in inner for found in commands(one, *words, name))]


APPS = {"medseg-node": medseg_node, "medseg-qa": make_app(), "medseg-r": medseg_r}
CASES = [
    pytest.param(app, words, command, id=" ".join((name, *words)))
    for name, app in APPS.items()
    for words, command in commands(typer.main.get_command(app))
]


@pytest.mark.parametrize(
    ("words", "command"), [(words, one) for words, one in commands(typer.main.get_command(medseg_node)) if words]
)
def test_help_of_each_command_of_the_node_has_an_example(words: tuple[str, ...], command: Any) -> None:
    if not hasattr(command, "commands"):  # a group has commands of its own
        assert f"Example: medseg-node {' '.join(words)} " in (command.help or "") + " "


@pytest.mark.parametrize(("app", "words", "command"), CASES)
def test_help_loses_no_bracket(app: typer.Typer, words: tuple[str, ...], command: Any) -> None:
    shown = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"})
    assert shown.exit_code == 0 and "Usage" in shown.output
    assert "[]" not in shown.output
    written = [
        command.help or "",
        command.short_help or "",
        *(getattr(one, "help", "") or "" for one in command.params),
    ]
    printed = re.sub(r"[\s│|]+", "", shown.output)
    for text in filter(None, written):
        assert Text.from_markup(text).plain == text
        for word in re.findall(r"\S*\[\S*", text):
            assert word in printed
