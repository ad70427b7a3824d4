"""Purge: the node forgets studies, because a person or a rule of the house wants it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from workflows.bootstrap import Node, repository_to_read
from workflows.commands.reread import operator
from workflows.commands.selection import json_asks_nothing, selection_of
from workflows.data_folder import DataFolder
from workflows.errors import CallError
from workflows.logs import configure_logging
from workflows.settings import load_settings
from workflows.state.repository import Repository
from workflows.state.views import EVERY_STUDY, Selection
from workflows.steps.purge import purge_study

__all__ = ["Candidate", "candidates", "register"]

out = Console(soft_wrap=True)


@dataclass(frozen=True)
class Candidate:
    """A study that was selected, what of it is on the disk, and what became of it.

    `bytes`: of its instances; `kept_bytes`: of its results and kept headers.
    """

    study_uid: str
    state: str
    instances: int
    bytes: int
    results: int
    kept_bytes: int
    ready: bool
    outcome: str


def candidates(repository: Repository, folder: DataFolder, selection: Selection) -> list[Candidate]:
    """The studies of a selection, and which of them can be purged now."""
    found = (repository.purgeable(view.study.study_uid) for view in repository.study_views(selection))
    return [
        Candidate(
            study_uid=one.study_uid,
            state=one.state,
            instances=one.instances,
            bytes=one.bytes,
            results=one.results,
            kept_bytes=_bytes_under(folder.results / one.study_uid) + _bytes_under(folder.headers / one.study_uid),
            ready=not one.refused,
            outcome=f"refused: {one.refused}" if one.refused else "would be purged",
        )
        for one in found
        if one is not None
    ]


def _bytes_under(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _purged(chosen: Sequence[Candidate], node: Node) -> Iterable[Candidate]:
    for one in chosen:
        done = purge_study(one.study_uid, operator(), node.repository, node.store, node.folder) if one.ready else None
        if not one.ready:
            yield one
        elif done is None:
            yield Candidate(**{**asdict(one), "outcome": "gone already"})
        elif done.refused:
            yield Candidate(**{**asdict(one), "ready": False, "outcome": f"refused: {done.refused}"})
        else:
            yield Candidate(**{**asdict(one), "outcome": "purged"})


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("purge")(purge)


def purge(
    config: Annotated[
        Path | None, typer.Option("--config", help="TOML file; MEDSEG_NODE__SECTION__KEY overrides it.")
    ] = None,
    study: Annotated[str | None, typer.Option("--study", metavar="UID", help="Study Instance UID.")] = None,
    accession: Annotated[str | None, typer.Option("--accession", metavar="N", help="Accession number.")] = None,
    patient: Annotated[
        str | None, typer.Option("--patient", metavar="ID", help="Patient ID of any of its instances.")
    ] = None,
    older_than: Annotated[
        str | None, typer.Option("--older-than", metavar="AGE", help="Last instance before that: 30d, 12h, 4w.")
    ] = None,
    state: Annotated[str | None, typer.Option("--state", help="A study's state, such as FAILED.")] = None,
    protocol: Annotated[
        str | None, typer.Option("--protocol", metavar="NAME", help="Asked by this reading protocol.")
    ] = None,
    since: Annotated[str | None, typer.Option("--since", help="Last instance since then: 2d, or 2026-11-01.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="Last instance until then: 2d, or 2026-11-01.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be purged, and do nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; with --yes or --dry-run.")] = False,
) -> None:
    """Remove studies from the node for good: images, results, kept headers, and all that the database has of them.

    What archives have of them stays there; a study that comes again is read as if it were new. Who purged what is kept
    in the audit, with UIDs and no names. A study that is being worked on is refused.

    Example: medseg-node purge --older-than 90d --state DELIVERED --dry-run
    """
    settings = load_settings(config)
    configure_logging(settings.node.log_format)
    if older_than is not None and until is not None:
        raise CallError("--older-than and --until say the same: give one of them")
    json_asks_nothing(as_json=as_json, yes=yes, dry_run=dry_run)
    selection = selection_of(study, accession, state, protocol, since, until or older_than, patient)
    if selection == EVERY_STUDY:
        raise CallError("name the studies: --study, --accession, --patient, --older-than, --state, --since or --until")
    chosen = candidates(repository_to_read(settings), DataFolder(settings.node.data_dir), selection)
    if study is not None and not chosen:
        raise CallError(f"no study {study} was received here; `medseg-node status` lists those that were")
    if not as_json:
        _print(chosen)
    if not dry_run and any(one.ready for one in chosen):
        if not yes:
            typer.confirm(f"purge {sum(one.ready for one in chosen)} studies for good?", abort=True)
        chosen = list(_purged(chosen, Node(settings)))
        if not as_json:
            _print(chosen)
    if as_json:
        print(json.dumps([asdict(one) for one in chosen], indent=2))
    if chosen and not any(one.ready for one in chosen):
        raise typer.Exit(1)


def _print(chosen: Sequence[Candidate]) -> None:
    for one in chosen:
        size = f"{one.instances} instances, {_mb(one.bytes)}; {one.results} results, {_mb(one.kept_bytes)}"
        out.print(f"{one.study_uid}  {one.state}  {size}: {one.outcome}", markup=False, highlight=False)
    ready = [one for one in chosen if one.ready]
    total = _mb(sum(one.bytes + one.kept_bytes for one in ready))
    out.print(f"{len(ready)} of {len(chosen)} studies, {total} in all", markup=False, highlight=False)


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
