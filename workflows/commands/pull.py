"""`pull`: fetch from an archive what was never routed to this node."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from workflows.bootstrap import Node
from workflows.commands.commission import archive_named
from workflows.commands.reread import operator
from workflows.commands.selection import json_asks_nothing, moment_of
from workflows.errors import CallError
from workflows.logs import configure_logging
from workflows.settings import load_settings
from workflows.steps.pull import Pulled, Puller, PullState, PullStudy, PullWish

__all__ = ["register"]

out = Console(soft_wrap=True)
err = Console(stderr=True, soft_wrap=True)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("pull")(pull)


def pull(
    archive: Annotated[str, typer.Option("--archive", metavar="NAME", help="Name of an archive of the settings.")],
    config: Annotated[
        Path | None, typer.Option("--config", help="TOML file; MEDSEG_NODE__SECTION__KEY overrides it.")
    ] = None,
    study: Annotated[str, typer.Option("--study", metavar="UID", help="Study Instance UID.")] = "",
    accession: Annotated[str, typer.Option("--accession", metavar="N", help="Accession number.")] = "",
    patient: Annotated[str, typer.Option("--patient", metavar="ID", help="Patient ID.")] = "",
    since: Annotated[str | None, typer.Option("--since", help="Study Date since then: 2d, or 2026-11-01.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="Study Date until then: 2d, or 2026-11-01.")] = None,
    modality: Annotated[str, typer.Option("--modality", help="Only studies with a series of it, such as CT.")] = "",
    description: Annotated[
        str, typer.Option("--description", metavar="TEXT", help="Only studies whose description has this text.")
    ] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many studies are fetched.")] = 100,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be fetched, and do nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; with --yes or --dry-run.")] = False,
) -> None:
    """Fetch from an archive the studies that were never routed here, or came in part only.

    The archive is asked as its settings say (QIDO-RS where it has `dicomweb_url`, else C-FIND), the newest study first.
    What is here already and the node's own results are left out. What failed is named; the same call tries it again.

    Exit code 1: something could not be asked for or did not come.

    Example: medseg-node pull --archive pacs --since 2d --modality CT --dry-run
    """
    settings = load_settings(config)
    configure_logging(settings.node.log_format)
    json_asks_nothing(as_json=as_json, yes=yes, dry_run=dry_run)
    chosen = archive_named(settings, archive)
    wish = _wish(study, accession, patient, since, until, modality, description)
    puller = Node(settings).puller(chosen, operator())
    with err.status(f"asking {archive}") as status:
        found = []
        for number, one in enumerate(puller.find(wish, limit), start=1):
            status.update(f"asking {archive}: {number} studies")
            found.append(one)
    missing = [one for one in found if one.study.state is PullState.MISSING]
    if not as_json:
        _show([one.study for one in found])
        _show_sum(found, missing, limit)
    if missing and not dry_run:
        if not yes:
            count = sum(one.study.missing for one in missing)
            typer.confirm(f"fetch {count} instances of {len(missing)} studies from {archive}?", abort=True)
        fetched = _fetch(puller, missing, as_json=as_json)
        after = {one.study_uid: one for one in fetched}
    else:
        after = {}
    studies = [after.get(one.study.study_uid, one.study) for one in found]
    if as_json:
        print(json.dumps([_as_json(one) for one in studies], indent=2))
    wrong = [one for one in studies if one.went_wrong]
    if wrong and not as_json:
        out.print(f"{len(wrong)} studies are not here yet; the same call tries them again, or one of them alone:")
        line = f"  medseg-node pull --archive {archive} --study {wrong[0].study_uid}"
        out.print(line, markup=False, highlight=False)
    if wrong or (not studies and (study or accession)):
        raise typer.Exit(1)


def _wish(
    study: str,
    accession: str,
    patient: str,
    since: str | None,
    until: str | None,
    modality: str,
    description: str,
) -> PullWish:
    """Raises CallError for a selection that no archive can be asked by."""
    try:
        return PullWish(
            study_uid=study.strip(),
            accession_number=accession.strip(),
            patient_id=patient.strip(),
            since=_day(since, "--since"),
            until=_day(until, "--until"),
            modality=modality.strip(),
            description=description.strip(),
        )
    except ValueError as error:
        raise CallError(f"{error}: give --study, --accession, --patient, --since or --until") from error


def _day(text: str | None, option: str) -> date | None:
    moment = moment_of(text, option)
    return None if moment is None else moment.astimezone().date()


def _fetch(puller: Puller, missing: Iterable[Pulled], *, as_json: bool) -> list[PullStudy]:
    fetched = []
    with err.status("fetching") as status:
        for one in missing:
            status.update(f"fetching {one.study.study_uid}, {one.study.missing} instances")
            fetched.append(puller.fetch(one))
            if not as_json:
                _show(fetched[-1:])
    return fetched


def _show(studies: Sequence[PullStudy]) -> None:
    for one in studies:
        what = " ".join(part for part in ("/".join(one.modalities), one.description) if part)
        day = one.study_date or "no date"
        style = "red" if one.went_wrong else None
        out.print(f"{one.study_uid}  {day}  {what}: {one.outcome}", markup=False, highlight=False, style=style)


def _show_sum(found: Sequence[Pulled], missing: Sequence[Pulled], limit: int) -> None:
    if not found:
        out.print("the archive names no study like that")
        return
    count = sum(one.study.missing for one in missing)
    out.print(f"{len(missing)} of {len(found)} studies lack {count} instances", highlight=False)
    if len(missing) >= limit:
        out.print(f"there may be more: --limit {limit}", highlight=False)


def _as_json(study: PullStudy) -> dict[str, Any]:
    return {**asdict(study), "modalities": list(study.modalities), "missing": study.missing, "state": study.state.value}
