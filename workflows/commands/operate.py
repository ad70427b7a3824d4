"""The operator's hands on work: `requeue` what failed, `cancel` what is under way, `resend` results to archives."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from workflows.bootstrap import Node, repository_to_read
from workflows.commands.reread import operator
from workflows.commands.selection import json_asks_nothing, with_selectors
from workflows.errors import CallError
from workflows.logs import configure_logging
from workflows.settings import Settings, load_settings
from workflows.state.requeueing import StudyOutcome
from workflows.state.views import EVERY_STUDY, Selection
from workflows.steps.operating import Action, Order, carry_out, foresee

__all__ = ["register"]

Config = Annotated[Path | None, typer.Option("--config", help="TOML file; MEDSEG_NODE__SECTION__KEY overrides it.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON; with --yes or --dry-run.")]

_DONE = {Action.REQUEUE: "put back", Action.CANCEL: "cancelled", Action.RESEND: "sent again"}


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (requeue, cancel, resend):
        app.command()(with_selectors(command))


def requeue(
    selection: Selection,
    config: Config = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Put back what failed or was cancelled, as it is: no new generation, the same weights, the same UIDs.

    A job that was not answered is read, one that was answered is sent; a study that could not be planned is planned.
    With --protocol only jobs of that protocol.

    Example: medseg-node requeue --state FAILED --since 2d
    """
    order = Order(Action.REQUEUE, operator(), selection.protocol)
    _carry_out(order, _settings(config), selection, dry_run=dry_run, yes=yes, as_json=as_json)


def cancel(
    selection: Selection,
    config: Config = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Stop jobs that wait, are read or are sent. What an archive has stays there; `requeue` puts them back.

    With --protocol only jobs of that protocol.

    Example: medseg-node cancel --protocol abdominal-ct --state PLANNED
    """
    order = Order(Action.CANCEL, operator(), selection.protocol)
    _carry_out(order, _settings(config), selection, dry_run=dry_run, yes=yes, as_json=as_json)


def resend(
    selection: Selection,
    config: Config = None,
    archive: Annotated[
        str | None, typer.Option("--archive", metavar="NAME", help="Only to this archive of the settings.")
    ] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Send saved results to their archives again: the same bytes, the same UIDs, but nothing that is retracted.

    With --protocol only results of that protocol.

    Example: medseg-node resend --archive pacs --since 2026-11-01
    """
    settings = _settings(config)
    names = [one.name for one in settings.archives]
    if archive is not None and archive not in names:
        raise CallError(f"--archive {archive!r} is none of the settings; there are {', '.join(names) or 'none'}")
    order = Order(Action.RESEND, operator(), selection.protocol, archive)
    _carry_out(order, settings, selection, dry_run=dry_run, yes=yes, as_json=as_json)


def _settings(config: Path | None) -> Settings:
    settings = load_settings(config)
    configure_logging(settings.node.log_format)
    return settings


def _carry_out(
    order: Order, settings: Settings, selection: Selection, *, dry_run: bool, yes: bool, as_json: bool
) -> None:
    """Say what would be done, ask, do it study by study, and say what was done.

    Exit code 1: studies were selected, and nothing of them was to be done.

    Raises CallError for a selection of all studies, and for a study that was never received.
    """
    json_asks_nothing(as_json=as_json, yes=yes, dry_run=dry_run)
    if selection == EVERY_STUDY:
        raise CallError("name the studies: --study, --accession, --state, --protocol, --patient, --since or --until")
    done = _DONE[order.action]
    repository = repository_to_read(settings)
    chosen = foresee(repository, order, repository.study_uids(selection))
    if selection.study_uid is not None and not chosen:
        uid = selection.study_uid
        raise CallError(
            f"no study {uid} is like that, or none was received; `medseg-node status --study {uid}` says which"
        )
    ready = [one for one in chosen if one.ready]
    if ready and not dry_run:
        if not yes:
            jobs = sum(one.jobs for one in ready)
            typer.confirm(f"{len(ready)} of {len(chosen)} studies, {jobs} jobs: to be {done}?", abort=True)
        chosen = carry_out(Node(settings).repository, order, chosen)
    tense = "would be " if dry_run else "will be " if order.action is Action.RESEND else ""  # the others are done
    _show(chosen, f"{tense}{done}", as_json=as_json)
    if chosen and not any(one.ready for one in chosen):
        raise typer.Exit(1)


def _show(chosen: Sequence[StudyOutcome], done: str, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps([asdict(one) for one in chosen], indent=2))
        return
    out = Console(soft_wrap=True)
    for one in chosen:
        told = f"{done}: {one.outcome}" if one.ready else one.outcome
        out.print(f"{one.study_uid}: {told}", markup=False, highlight=False)
    if not chosen:
        out.print("no study is like that")
