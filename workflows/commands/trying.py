"""medseg-node protocols test, replay: rules tried on real studies before they go live; the node is only read."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from workflows.bootstrap import checked_rules, repository_to_read
from workflows.commands import tried
from workflows.commands.reporting import named_studies
from workflows.commands.selection import moment_of
from workflows.data_folder import DataFolder
from workflows.errors import CallError, SettingsError
from workflows.logs import configure_logging
from workflows.protocols.costing import Cost
from workflows.protocols.replaying import Difference, KnownStudy, difference, replay
from workflows.protocols.summing import Summary, summary
from workflows.settings import Settings, load_settings
from workflows.state.repository import Repository
from workflows.steps.replaying_history import NodeHistory, Progress, cost_here, difference_over, summary_over
from workflows.steps.trying_rules import (
    FoundStudy,
    LoadedRules,
    rules_in_folder,
    rules_in_service,
    studies_in,
    study_of_node,
)
from workflows.web.exposure import EXTRA

__all__ = ["Config", "Rules", "register", "rules_of", "settings_of", "studies_of"]

Config = Annotated[Path | None, typer.Option("--config", help="TOML file; MEDSEG_NODE__SECTION__KEY overrides it.")]
Every = Annotated[bool, typer.Option("--all", help="Show the protocols that are off or ask nothing, too.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Rules = Annotated[
    Path | None, typer.Option("--protocols", metavar="DIR", help="Protocols of this folder, not those in service.")
]
out = Console(soft_wrap=True)
err = Console(stderr=True, soft_wrap=True)


def register(protocols_app: typer.Typer) -> None:
    """Add the commands of this module."""
    protocols_app.command("test")(test)
    protocols_app.command("replay")(replay_history)


def test(
    study: Annotated[
        str,
        typer.Option("--study", metavar="DIR|UID|ACCESSION", help="A folder of DICOM files, or a study of the node."),
    ],
    protocols: Rules = None,
    protocol: Annotated[
        str | None, typer.Option("--protocol", metavar="NAME", help="Only this protocol, with why.")
    ] = None,
    why: Annotated[bool, typer.Option("--why", help="Show each condition and what the study says to it.")] = False,
    every: Every = False,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Try reading protocols on one study: what each asks of it, and why, as planning would decide.

    A folder may hold several studies; an accession number may name several.

    Example: medseg-node protocols test --study CT_FOLDER --why
    """
    settings = settings_of(config)
    rules = rules_of(settings, protocols)
    found = studies_of(study, settings)
    named = rules.protocols if protocol is None else (rules.named(protocol),)
    told = []
    for one in found:
        # A cap and questions asked once are decided among all protocols, also where one alone is shown.
        (decided,) = replay([one.known], rules.protocols, settings.protocols.at_most)
        names = {shown.name for shown in named}
        verdicts = tuple(verdict for verdict in decided.verdicts if verdict.protocol in names)
        shown_study = type(decided)(decided.study, verdicts)
        with_why = why or protocol is not None
        if as_json:
            grounds = [tried.grounds_json(one.known, shown) for shown in named] if with_why else []
            told.append({**tried.tried_json(shown_study), **({"grounds": grounds} if with_why else {})})
            continue
        whole = every or protocol is not None
        tried.show_tried(shown_study, out, every=whole)
        for shown in named if with_why else ():
            if shown.off_because and not whole:
                continue
            tried.show_grounds(one.known, shown, out)
    if as_json:
        print(json.dumps(told, indent=2))


def replay_history(
    days: Annotated[int | None, typer.Option("--days", min=1, metavar="N", help="Studies of the last N days.")] = None,
    since: Annotated[str | None, typer.Option("--since", help="Received since then: 2d, 12h, or 2026-11-01.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="Received before then: 2d, 12h, or 2026-11-01.")] = None,
    against: Annotated[
        Path | None, typer.Option("--against", metavar="DIR", help="What changes with the protocols of this folder.")
    ] = None,
    protocols: Rules = None,
    study_folder: Annotated[
        Path | None, typer.Option("--study-folder", metavar="DIR", help="Studies of this folder, not the node's.")
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write one HTML page too.")] = None,
    no_identifiers: Annotated[
        bool, typer.Option("--no-identifiers", help="Leave accession numbers, UIDs and times out of the page.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Studies or kinds that are listed at most.")] = 50,
    every: Every = False,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Replay the node's own studies: what would match, what nothing matches, and with --against what changes.

    Studies are those that were planned, by the headers that were kept; decided is as planning decides.

    Example: medseg-node protocols replay --days 30 --against new-protocols --html difference.html
    """
    settings = settings_of(config)
    if html is not None:
        _require_pages()
    before = rules_of(settings, protocols)
    after = None if against is None else rules_in_folder(against, partial(checked_rules, settings))
    first, last, told = _when(days, since, until)
    at_most = settings.protocols.at_most
    done: Summary | Difference
    cost = Cost()
    if study_folder is not None:
        studies = _within([one.known for one in _folder(study_folder)], first, last)
        told = f"studies of {study_folder}"
        if after is None:
            done = summary(studies, before.protocols, at_most)
        else:
            done = difference(studies, before.protocols, after.protocols, at_most)
    else:
        if days is None and since is None:
            raise CallError("say how far back: --days 30, or --since 2026-11-01; or name --study-folder DIR")
        repository = repository_to_read(settings)
        cost = cost_here(repository)
        found = NodeHistory(settings.database_url, settings.node.data_dir.resolve(), first, last)
        with _progress() as progress:
            if after is None:
                done = summary_over(found, before.protocols, at_most, cost, progress=progress)
            else:
                done = difference_over(found, before.protocols, after.protocols, at_most, cost, progress=progress)
    if html is not None:
        _write_page(html, done, before, after, cost, (told, first, last), max(limit, 200), not no_identifiers)
    if as_json:
        print(json.dumps(_json(done, before, after, cost, first, last), indent=2))
    elif not done.studies:
        folder = study_folder is not None
        planned = 0 if folder else sum(1 for _ in repository_to_read(settings).kept_studies(first, last))
        out.print(_nothing(planned, told, folder), markup=False, highlight=False)
    elif isinstance(done, Difference):
        assert after is not None
        tried.show_difference(done, before, after, cost, limit, out, every=every)
    else:
        tried.show_summary(done, before, cost, limit, out, every=every)
    if html is not None:
        err.print(f"written to {html}", markup=False, highlight=False)


def _nothing(planned: int, told: str, folder: bool) -> str:
    """Why there is nothing to replay. `planned`: studies of the node in this time."""
    if folder:
        return f"no {told}: nothing to replay"
    if not planned:
        return f"no study was planned in this time ({told}): nothing to replay"
    studies = "1 study was" if planned == 1 else f"{planned:,} studies were"
    none = "its headers are" if planned == 1 else "the headers of none are"
    known = "not known" if planned == 1 else "known"
    why = "they were planned before headers were kept, and their images are gone or cannot be read"
    return f"{studies} planned in this time ({told}), and {none} {known}, so nothing can be replayed: {why}"


# --- What `keep` needs, too -------------------------------------------------------------------------------------------


def settings_of(config: Path | None) -> Settings:
    """The settings; logging is as they say."""
    settings = load_settings(config)
    configure_logging(settings.node.log_format)
    return settings


def rules_of(settings: Settings, folder: Path | None) -> LoadedRules:
    """The protocols of a folder, or those in service. Raises ProtocolErrors."""
    check = partial(checked_rules, settings)
    if folder is not None:
        return rules_in_folder(folder, check)
    try:
        repository: Repository | None = repository_to_read(settings)
    except SettingsError:  # no node has run here
        repository = None
    return rules_in_service(settings.protocols.directory, repository, check)


def studies_of(name: str, settings: Settings) -> list[FoundStudy]:
    """The studies of a folder, or of the node. Raises CallError where there is none."""
    path = Path(name)
    if path.exists() or path.is_absolute() or path.parts[:1] in ((".",), ("..",), ("~",)) or len(path.parts) > 1:
        return _folder(path.expanduser())
    try:
        repository = repository_to_read(settings)
    except SettingsError as error:
        raise CallError(f"there is no folder {name}, and no node to ask for such a study: {error}") from error
    uids = named_studies(repository, name)
    if not uids:
        raise CallError(
            f"no folder, study UID or accession number {name!r} is known; `medseg-node status` lists the studies"
        )
    folder = DataFolder(settings.node.data_dir.resolve())
    return [study_of_node(uid, repository, folder) for uid in uids]


def _folder(path: Path) -> list[FoundStudy]:
    with err.status(f"looking at the files of {path}") as status:
        found = studies_in(path, lambda count: status.update(f"looked at {count} files") if count % 100 == 0 else None)
    if found.passed_over:
        err.print(f"{found.passed_over} files that are no DICOM were passed over", highlight=False)
    return list(found.studies)


def _within(studies: list[KnownStudy], first: datetime | None, last: datetime | None) -> list[KnownStudy]:
    """Files of a folder were not received: no time leaves any of them out."""
    if first is not None or last is not None:
        raise CallError("--study-folder takes all studies of the folder: leave out --days, --since and --until")
    return studies


def _when(days: int | None, since: str | None, until: str | None) -> tuple[datetime | None, datetime | None, str]:
    if days is not None and since is not None:
        raise CallError("--days and --since exclude each other: give one of them")
    last = moment_of(until, "--until")
    if days is not None:
        first = (last or datetime.now(UTC)) - timedelta(days=days)
        return first, last, "the last day" if days == 1 else f"the last {days} days"
    return moment_of(since, "--since"), last, f"since {since}" if since else "all"


@contextmanager
def _progress() -> Iterator[Progress]:
    """A bar for people who look at a terminal."""
    columns = (TextColumn("studies"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task("studies", total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)


def _json(
    done: Summary | Difference,
    before: LoadedRules,
    after: LoadedRules | None,
    cost: Cost,
    first: datetime | None,
    last: datetime | None,
) -> dict[str, object]:
    rules = {"before": before, "after": after} if after is not None else {"in_service": before}
    return {
        "since": None if first is None else first.isoformat(),
        "until": None if last is None else last.isoformat(),
        "rules": {side: {"name": one.name, "digest": one.digest} for side, one in rules.items() if one is not None},
        "measured": {
            "jobs": cost.jobs,
            "seconds_a_slice_and_question": cost.seconds_a_slice_and_question if cost.jobs else None,
        },
        **done.as_json(),
    }


def _require_pages() -> None:
    if importlib.util.find_spec("jinja2") is None:
        raise SettingsError(f"--html needs jinja2: {EXTRA}")


def _write_page(
    file: Path,
    done: Summary | Difference,
    before: LoadedRules,
    after: LoadedRules | None,
    cost: Cost,
    when: tuple[str, datetime | None, datetime | None],
    limit: int,
    identifiers: bool,
) -> None:
    from workflows.web import difference_page as page

    def side(rules: LoadedRules) -> page.Rules:
        return page.Rules(rules.name, rules.protocols, rules.digest, rules.told)

    facts = page.PageFacts(page.History(*when), cost, version("medseg-node"), limit, identifiers)
    if isinstance(done, Difference):
        assert after is not None
        text = page.page_of_difference(done, side(before), side(after), facts)
    else:
        text = page.page_of_summary(done, side(before), facts)
    file.write_text(text, "utf-8")
