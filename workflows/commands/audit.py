"""medseg-node audit: whether the audit is whole, and what stands in it."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TextIO

import typer
from rich.console import Console

from workflows.bootstrap import Node, repository_to_read
from workflows.commands.reread import operator
from workflows.commands.selection import moment_of
from workflows.errors import CallError
from workflows.logs import configure_logging
from workflows.settings import Settings, load_settings
from workflows.state.auditing import AuditAction, AuditEvent, AuditFilter, AuditHead, Detail, Outcome
from workflows.steps.audit import AuditExport, AuditFormat, write_entries

__all__ = ["register"]

commands = typer.Typer(no_args_is_help=True, help="Who did what: prove that it is whole, export it.")
out = Console(soft_wrap=True)

Config = Annotated[Path | None, typer.Option("--config", help="TOML file; MEDSEG_NODE__SECTION__KEY overrides it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_FAULTS_SHOWN = 20


class Form(StrEnum):
    """How rows are written."""

    XML = "xml"
    JSONL = "jsonl"
    CSV = "csv"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(commands, name="audit")


@commands.command()
def verify(
    config: Config = None,
    checkpoint: Annotated[
        list[str] | None,
        typer.Option("--checkpoint", metavar="N:DIGEST", help="End of the chain as it was told earlier; repeatable."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Prove that no row of the audit was changed, removed, inserted or moved since; 1 if one was, with its number.

    What it prints at the end is a checkpoint: kept elsewhere, it also finds an audit that was written anew.

    Example: medseg-node audit verify --checkpoint 1204:9f2c...
    """
    settings = _settings(config)
    known = [_checkpoint(text) for text in checkpoint or ()]
    repository = repository_to_read(settings)
    faults, head = repository.verify_audit(known), repository.audit_head()
    receiver = repository.audit_receiver()
    outcome = Outcome.SERIOUS_FAILURE if faults else Outcome.SUCCESS
    _record(settings, AuditAction.AUDIT_VERIFY, head.text, {"faults": len(faults)}, {}, outcome)
    if as_json:
        told = [{"number": one.number, "what": one.what} for one in faults]
        print(
            json.dumps({"rows": head.count, "checkpoint": head.text, "faults": told, "sent": receiver.number}, indent=2)
        )
    else:
        for fault in faults[:_FAULTS_SHOWN]:
            out.print(fault.what, style="red", markup=False, highlight=False)
        if len(faults) > _FAULTS_SHOWN:
            out.print(f"and {len(faults) - _FAULTS_SHOWN} more; --json lists all", style="red", highlight=False)
        out.print(f"{head.count} rows, {'whole' if not faults else 'NOT as they were recorded'}", highlight=False)
        out.print(f"checkpoint {head.text}", highlight=False)
    if faults:
        raise typer.Exit(1)


@commands.command()
def export(
    config: Config = None,
    since: Annotated[str | None, typer.Option("--since", help="From then on: 2d, 12h, or 2026-11-01.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="Before then: 2d, 12h, or 2026-11-01.")] = None,
    who: Annotated[str | None, typer.Option("--who", metavar="ACCOUNT", help="Of this person.")] = None,
    action: Annotated[str | None, typer.Option("--action", help="Of this kind, such as look or purge.")] = None,
    study: Annotated[str | None, typer.Option("--study", metavar="UID", help="Of this study.")] = None,
    file: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="File to write; else it is printed.")
    ] = None,
    form: Annotated[
        Form, typer.Option("--format", help="xml: messages of PS3.15 A.5, which name patients by ID; jsonl, csv: rows.")
    ] = Form.JSONL,
    as_json: Annotated[bool, typer.Option("--json", help="Say in JSON what was written; with --out.")] = False,
) -> None:
    """Write the audit, or a part of it. That it was exported, and by whom, is recorded too.

    Example: medseg-node audit export --since 30d --format xml --out audit.xml
    """
    if as_json and file is None:
        raise CallError("--json says what was written to --out: name a file")
    settings = _settings(config)
    chosen = AuditFilter(who, action, study, moment_of(since, "--since"), moment_of(until, "--until"))
    repository = repository_to_read(settings)
    head = repository.audit_head()
    naming = Node(settings).audit_naming
    details: dict[str, Detail] = {"format": form.value}
    details |= {
        name: value
        for name, value in {"since": since, "until": until, "of": who, "action": action, "study": study}.items()
        if value is not None
    }
    _record(settings, AuditAction.AUDIT_EXPORT, "standard output" if file is None else file.name, {}, details)
    rows = (entry for entry in repository.audit_rows(chosen) if entry.number <= head.count)
    with _opened(file) as target:
        count = write_entries(rows, AuditFormat(form.value), target, AuditExport(naming, repository.study_facts))
    if as_json:
        print(json.dumps({"rows": count, "file": str(file), "format": form.value, "checkpoint": head.text}, indent=2))
    elif file is not None:
        out.print(f"{count} rows written to {file}; checkpoint {head.text}", markup=False, highlight=False)


@contextmanager
def _opened(file: Path | None) -> Iterator[TextIO]:
    """The file, readable by its owner alone and whole or not there; or standard output."""
    if file is None:
        yield sys.stdout
        return
    partial = file.with_name(f".{file.name}.partial")
    try:
        partial.unlink(missing_ok=True)
        partial.touch(mode=0o600)
        with partial.open("w", encoding="utf-8", newline="") as target:
            yield target
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def _record(
    settings: Settings,
    action: AuditAction,
    subject: str,
    counts: dict[str, int],
    details: dict[str, Detail],
    outcome: Outcome = Outcome.SUCCESS,
) -> None:
    event = AuditEvent(
        operator(), action, subject, outcome=outcome, address=socket.gethostname(), counts=counts, details=details
    )
    Node(settings).repository.record_event(event)


def _checkpoint(text: str) -> AuditHead:
    try:
        return AuditHead.parse(text)
    except ValueError as error:
        raise CallError(f"--checkpoint: {error}") from error


def _settings(config: Path | None) -> Settings:
    settings = load_settings(config)
    configure_logging(settings.node.log_format)
    return settings
