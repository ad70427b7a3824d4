"""medseg-node quarantine: instances that were acknowledged and cannot be indexed."""

from __future__ import annotations

import json
import time
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer
from rich.console import Console

from dicom_node.errors import InstanceRefused
from workflows.bootstrap import Node
from workflows.commands.reread import operator
from workflows.commands.selection import json_asks_nothing
from workflows.data_folder import DataFolder
from workflows.errors import CallError
from workflows.logs import configure_logging
from workflows.quarantine import Quarantine, QuarantinedInstance
from workflows.settings import load_settings
from workflows.steps.setting_aside import give_back

__all__ = ["in_quarantine", "register"]

commands = typer.Typer(no_args_is_help=True, help="Instances that cannot be indexed: list, try again, delete.")
out = Console(soft_wrap=True)
log = structlog.get_logger()

Config = Annotated[Path | None, typer.Option("--config", help="TOML file; MEDSEG_NODE__SECTION__KEY overrides it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Identifiers = Annotated[
    list[str], typer.Argument(metavar="ID...", help="IDs, as `quarantine list` shows them; or all.")
]

_PATIENCE_S = 10.0
_LOOK_S = 0.1


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(commands, name="quarantine")


def in_quarantine(folder: DataFolder) -> str:
    """One line that says that something is in quarantine; "" where nothing is."""
    count = len(Quarantine(folder.quarantine))
    if not count:
        return ""
    what = "1 instance is" if count == 1 else f"{count} instances are"
    return f"{what} in quarantine, received and not indexed: medseg-node quarantine list"


@commands.command("list")
def show(config: Config = None, as_json: AsJson = False) -> None:
    """List the instances in quarantine, and why each is there.

    Example: medseg-node quarantine list --json
    """
    quarantine = _quarantine(config)
    instances = quarantine.instances()
    if as_json:
        print(json.dumps([_as_json(one, quarantine) for one in instances], indent=2))
        return
    for one in instances:
        sender = one.calling_ae_title or "an unknown sender"
        head = f"{one.identifier}  received {one.received_at[:19]} from {sender}, {one.bytes} bytes"
        out.print(head, markup=False, highlight=False)
        out.print(
            f"    study {one.study_uid or 'unknown'}, instance {one.sop_instance_uid or 'unknown'}", highlight=False
        )
        out.print(f"    {one.reason}", markup=False, highlight=False)
    if not instances:
        out.print("nothing is in quarantine")


@commands.command()
def release(identifiers: Identifiers, config: Config = None, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Try to index instances again, as if they had just been received. What still cannot be indexed comes back.

    Example: medseg-node quarantine release 3fb2c41d9a07
    """
    settings = load_settings(config)
    configure_logging(settings.node.log_format)
    node = Node(settings)
    quarantine = Quarantine(node.folder.quarantine)
    chosen = _chosen(quarantine, identifiers)
    if dry_run:
        outcomes = [{"id": one.identifier, "outcome": "would be indexed again"} for one in chosen]
    else:
        with closing(node.journal):
            outcomes = [{"id": one.identifier, "outcome": _release(one, quarantine, node)} for one in chosen]
    _tell(outcomes, as_json)
    if any("cannot be" in one["outcome"] for one in outcomes):
        raise typer.Exit(1)


@commands.command()
def discard(
    identifiers: Identifiers,
    config: Config = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; with --yes or --dry-run.")] = False,
) -> None:
    """Delete instances from quarantine for good. Their senders were told that they are safe.

    Example: medseg-node quarantine discard 3fb2c41d9a07 --dry-run
    """
    json_asks_nothing(as_json=as_json, yes=yes, dry_run=dry_run)
    quarantine = _quarantine(config)
    chosen = _chosen(quarantine, identifiers)
    if chosen and not (dry_run or yes):
        typer.confirm(f"delete {len(chosen)} instances that were acknowledged to their senders?", abort=True)
    for one in chosen:
        if not dry_run:
            quarantine.discard(one)
            log.warning(
                "quarantine_discard",
                study_uid=one.study_uid,
                sop_instance_uid=one.sop_instance_uid,
                wanted_by=operator(),
            )
    outcome = "would be deleted" if dry_run else "deleted"
    _tell([{"id": one.identifier, "outcome": outcome} for one in chosen], as_json)


def _quarantine(config: Path | None) -> Quarantine:
    settings = load_settings(config)
    configure_logging(settings.node.log_format)
    return Quarantine(DataFolder(settings.node.data_dir).quarantine)


def _chosen(quarantine: Quarantine, identifiers: list[str]) -> list[QuarantinedInstance]:
    if identifiers == ["all"]:
        return quarantine.instances()
    chosen = {identifier: quarantine.find(identifier) for identifier in identifiers}
    unknown = [identifier for identifier, one in chosen.items() if one is None]
    if unknown:
        raise CallError(
            f"nothing in quarantine has the ID {', '.join(unknown)}; `medseg-node quarantine list` has them"
        )
    return [one for one in chosen.values() if one is not None]


def _release(one: QuarantinedInstance, quarantine: Quarantine, node: Node) -> str:
    """Hand it to the journal, wait a little for its row, and say what came of it."""
    try:
        give_back(one, quarantine, node.journal)
    except InstanceRefused as error:
        return f"cannot be released: {error}"
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        again = quarantine.find(one.digest)
        if again is not None:
            return f"still {again.reason.removeprefix('it ')}"
        row = node.repository.instance(one.study_uid, one.series_uid, one.sop_instance_uid)
        if row is not None and row.digest == one.digest:
            return "indexed"
        time.sleep(_LOOK_S)
    return "waits to be indexed by the node's scp role, which is not running or is behind"


def _tell(outcomes: list[dict[str, str]], as_json: bool) -> None:
    if as_json:
        print(json.dumps(outcomes, indent=2))
        return
    for one in outcomes:
        out.print(f"{one['id']}: {one['outcome']}", markup=False, highlight=False)
    if not outcomes:
        out.print("nothing is in quarantine")


def _as_json(one: QuarantinedInstance, quarantine: Quarantine) -> dict[str, Any]:
    return {"id": one.identifier, **asdict(one), "path": str(quarantine.path(one))}
