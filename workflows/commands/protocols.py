"""medseg-node protocols: reading protocols, checked and tried before they go live."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from workflows.bootstrap import checked_rules
from workflows.commands import keeping, trying
from workflows.commands.protocol_checks import reused_versions
from workflows.errors import CallError, ProtocolMistake
from workflows.logs import configure_logging
from workflows.protocols.checking import CheckedRules, check_rules
from workflows.protocols.document_schema import schema_text
from workflows.settings import Settings, load_settings

__all__ = ["protocols_app", "register"]

Config = Annotated[Path | None, typer.Option("--config", help="TOML file; MEDSEG_NODE__SECTION__KEY overrides it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
protocols_app = typer.Typer(no_args_is_help=True, help="Reading protocols.")
out = Console(soft_wrap=True)
err = Console(stderr=True, soft_wrap=True)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    trying.register(protocols_app)
    keeping.register(protocols_app)
    app.add_typer(protocols_app, name="protocols")


def _settings(config: Path | None) -> Settings:
    settings = load_settings(config)
    configure_logging(settings.node.log_format)
    return settings


@protocols_app.command("check")
def check(
    directory: Annotated[Path, typer.Argument(metavar="DIR|FILE", help="A folder of protocols, or one of them.")],
    config: Config = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 where there are warnings.")] = False,
    every: Annotated[bool, typer.Option("--all", help="List the protocols that are off, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check reading protocols: every mistake with its line, their examples, and warnings; 2 if there is a mistake.

    With --config also the names of predictors and archives, what the model has learned, and versions that were others.

    Example: medseg-node protocols check deploy/protocols
    """
    settings = None if config is None else _settings(config)
    if settings is None:
        rules = check_rules(directory)
    else:
        rules = checked_rules(settings, directory)
        rules = replace(rules, warnings=(*rules.warnings, *reused_versions(directory, rules, settings)))
    if as_json:
        print(json.dumps(_as_json(rules), indent=2, ensure_ascii=False))
    else:
        _show(rules, every=every)
        if settings is None:
            _show_unchecked(rules)
    if rules.mistakes or (strict and rules.warnings):
        raise typer.Exit(2 if rules.mistakes else 1)


@protocols_app.command("schema")
def schema(
    to: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write it there instead.")] = None,
) -> None:
    """Print the JSON Schema of protocol files, by which editors complete and complain.

    Each file names it in its first line: `# yaml-language-server: $schema=protocol.schema.json`.

    Example: medseg-node protocols schema --out deploy/protocols/protocol.schema.json
    """
    if to is None:
        print(schema_text(), end="")
        return
    try:
        to.write_text(schema_text(), encoding="utf-8")
    except OSError as error:
        raise CallError(f"{to} cannot be written: {error.strerror}") from error


def _show(rules: CheckedRules, *, every: bool = False) -> None:
    off = [protocol.name for protocol in rules.protocols if protocol.off_because and not every]
    if rules.protocols:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in ("protocol", "version", "", "priority", "questions", "examples"):
            table.add_column(column, justify="right" if column in ("priority", "questions", "examples") else "left")
        for protocol in rules.protocols:
            if protocol.off_because and not every:
                continue
            passed = rules.passed.get((protocol.name, protocol.version), 0)
            examples = f"{passed} of {len(protocol.examples)}" if protocol.examples else "none"
            table.add_row(
                escape(protocol.name), escape(protocol.version), "off" if protocol.off_because else "on",
                str(protocol.rank), str(len(protocol.questions)), examples,
            )  # fmt: skip
        out.print(table)
        if off:
            passed = sum(rules.passed.get((one.name, one.version), 0) for one in rules.protocols if one.off_because)
            told = f"{len(off)} {'protocol is' if len(off) == 1 else 'protocols are'} off"
            out.print(f"{told} (checked too; {passed} of their examples hold); --all lists them", highlight=False)
    _show_told(rules.warnings, "yellow")
    _show_told(rules.mistakes, "red")


def _show_told(told: Sequence[ProtocolMistake], style: str) -> None:
    for one in told:
        err.print(escape(str(one)), style=style, highlight=False)


def _show_unchecked(rules: CheckedRules) -> None:
    """What a configuration would be needed for."""
    predictors = {question.predictor for protocol in rules.protocols for question in protocol.questions} - {""}
    archives = {name for protocol in rules.protocols for name in protocol.results.archives}
    for kind, section, names in (("predictor", "predictors", predictors), ("archive", "archives", archives)):
        if names:
            told = f"not checked: {kind} {', '.join(sorted(names))}; --config FILE compares them with its [[{section}]]"
            err.print(escape(told), highlight=False)


def _as_json(rules: CheckedRules) -> dict[str, Any]:
    return {
        "protocols": [
            {
                "name": protocol.name,
                "version": protocol.version,
                "title": protocol.title,
                "off": protocol.off_because or None,
                "priority": protocol.rank,
                "questions": len(protocol.questions),
                "examples": len(protocol.examples),
                "passed": rules.passed.get((protocol.name, protocol.version), 0),
                "digest": protocol.digest,
            }
            for protocol in rules.protocols
        ],
        "mistakes": [_mistake_json(one) for one in rules.mistakes],
        "warnings": [_mistake_json(one) for one in rules.warnings],
    }


def _mistake_json(mistake: ProtocolMistake) -> dict[str, Any]:
    return {"file": str(mistake.file), "line": mistake.line, "message": mistake.message}
