"""medseg-node agreement: how often reviewers agree with what was answered."""

from __future__ import annotations

import json
import socket
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from workflows.bootstrap import Node, repository_to_read
from workflows.commands.reread import operator
from workflows.commands.selection import moment_of
from workflows.errors import CallError
from workflows.logs import configure_logging
from workflows.settings import load_settings
from workflows.state.agreeing import AgreementFilter, CaseKind, Grouping
from workflows.state.auditing import AuditAction, AuditEvent
from workflows.steps.agreement import count_reviews
from workflows.steps.agreement_report import as_csv, as_json, per_cent, value_and_interval
from workflows.steps.agreement_statistics import AgreementGroup, AgreementSummary, summed_up

__all__ = ["register"]


class By(StrEnum):
    """By what verdicts are put together."""

    QUESTION = "question"
    FINDING = "finding"
    PROTOCOL = "protocol"
    WEIGHTS = "weights"
    SCANNER = "scanner"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("agreement")(agreement)


def agreement(
    config: Annotated[
        Path | None, typer.Option("--config", help="TOML file; MEDSEG_NODE__SECTION__KEY overrides it.")
    ] = None,
    by: Annotated[By, typer.Option("--by", help="What to put together.")] = By.FINDING,
    question: Annotated[str | None, typer.Option("--question", metavar="TEXT", help="Only this question.")] = None,
    finding: Annotated[str | None, typer.Option("--finding", metavar="LABEL", help="Only this finding.")] = None,
    protocol: Annotated[
        str | None, typer.Option("--protocol", metavar="NAME", help="Only this protocol, with its version.")
    ] = None,
    weights: Annotated[str | None, typer.Option("--weights", metavar="NAME", help="Only these weights.")] = None,
    scanner: Annotated[str | None, typer.Option("--scanner", metavar="NAME", help="Only this scanner.")] = None,
    since: Annotated[str | None, typer.Option("--since", help="Written from then on: 4w, 30d, 2026-11-01.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="Written before then: 4w, 30d, 2026-11-01.")] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json_too: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say how often reviewers accept, correct or reject what was answered, with 95 % intervals.

    Counted is the last written review of each study. Neither table nor export names a patient or a study.

    Example: medseg-node agreement --by protocol --since 4w
    """
    if csv and as_json_too:
        raise CallError("--csv and --json exclude each other: give one of them")
    settings = load_settings(config)
    configure_logging(settings.node.log_format)
    repository_to_read(settings)  # where no node has run nothing is made
    node = Node(settings)
    count_reviews(node.repository, node.folder)
    chosen = AgreementFilter(
        question, finding, protocol, weights, scanner, moment_of(since, "--since"), moment_of(until, "--until")
    )
    summary = summed_up(node.repository.agreement_cases(chosen), Grouping(by.value))
    if csv or as_json_too:
        form = "agreement.csv" if csv else "agreement.json"
        node.repository.record_event(
            AuditEvent(operator(), AuditAction.EXPORT, form, address=socket.gethostname(), details={"by": by.value})
        )
        print(as_csv(summary) if csv else json.dumps(as_json(summary), indent=2), end="" if csv else "\n")
        return
    _print(summary)


def _print(summary: AgreementSummary) -> None:
    out = Console(soft_wrap=True)
    if not summary.all.reviews:
        out.print("no review is like that, or none is written yet")
        return
    table = Table(box=None, pad_edge=False)
    for name in (summary.grouping.value, "reviews", "findings", "accepted", "outline", "name", "not there", "missed"):
        table.add_column(name)
    table.add_column("Dice")
    table.add_column("difference, ml")
    for group in (*summary.groups, summary.all):
        table.add_row(*_cells(group))
    Console(width=max(out.width, 160)).print(table, highlight=False)


def _cells(group: AgreementGroup) -> list[str]:
    verdicts = [_told(group, kind) for kind in group.verdicts]
    missed = str(group.missed.count) if group.few else per_cent(group.missed)
    dice = value_and_interval(group.dice, 2)
    difference = value_and_interval(group.difference_ml, 1)
    name = f"{group.name} ({group.few})" if group.few else group.name
    return [name, str(group.reviews), str(group.findings), *verdicts, missed, dice, difference]


def _told(group: AgreementGroup, kind: CaseKind) -> str:
    part = group.verdicts[kind]
    return str(part.count) if group.few else per_cent(part)
