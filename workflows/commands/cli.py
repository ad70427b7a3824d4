"""medseg-node: the command. Exit codes: 0 done, 1 the work failed, 2 wrong call or configuration."""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import asdict
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import structlog
import typer
from rich.console import Console
from rich.markup import escape

from dicom_node.errors import DicomNodeError, ListenError
from dicom_node.results.profiles import Profile
from dicom_node.volumes.frames import MIDDLE_FRAME, FrameChoice
from inference.errors import CheckpointError, DeviceMissing, InferenceError, InputRefused
from workflows.bootstrap import Node, repository_to_read
from workflows.commands import agreement, audit, operate, protocols, pull, purge, quarantine, users, web
from workflows.commands import ask as asking
from workflows.commands import commission as commissioning
from workflows.commands import demo as demonstration
from workflows.commands import doctor as examination
from workflows.commands import reread as rereading
from workflows.commands.commissioned import show_commissioned
from workflows.commands.doctor import Outcome
from workflows.commands.protocol_checks import refused_edit_told
from workflows.commands.reporting import explain_study, named_studies, status_of_all
from workflows.commands.selection import json_asks_nothing, with_selectors
from workflows.commands.telling import explained, progress_told, told_answer
from workflows.data_folder import DataFolder
from workflows.errors import CallError, ProtocolErrors, SettingsError, WorkflowError, defect
from workflows.logs import configure_logging
from workflows.quarantine import Quarantine
from workflows.roles.running import sole_supervisor
from workflows.roles.scheduler import run_scheduler
from workflows.roles.scp import run_scp
from workflows.roles.supervisor import Supervisor
from workflows.roles.worker import run_worker
from workflows.settings import Settings, load_settings
from workflows.state.views import EVERY_STUDY, Selection
from workflows.steps.room import told_of_room

__all__ = ["main"]

app = typer.Typer(
    name="medseg-node", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="A PACS-integrated DICOM worker for reasoning segmentation: studies in, SEG and SR back.",
)  # fmt: skip


def _show_version(asked: bool) -> None:
    if asked:
        print(f"medseg-node {version('medseg-node')}")
        raise typer.Exit


@app.callback()
def _node(
    asked: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Print the version.")
    ] = False,
) -> None:
    """A PACS-integrated DICOM worker for reasoning segmentation: studies in, SEG and SR back."""


for commands in (quarantine, protocols, operate, pull, purge, web, users, audit, agreement):
    commands.register(app)

Config = Annotated[Path | None, typer.Option("--config", help="TOML file; MEDSEG_NODE__SECTION__KEY overrides it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
log = structlog.get_logger()
out = Console(soft_wrap=True)
err = Console(stderr=True, soft_wrap=True)


class Role(StrEnum):
    """What a worker does: `inference` owns the GPU or the CPU; `io` plans and sends."""

    INFERENCE = "inference"
    IO = "io"


def _settings(config: Path | None) -> Settings:
    settings = load_settings(config)
    configure_logging(settings.node.log_format)
    return settings


def _forward(config: Path | None, *words: str) -> list[str]:
    return [*words, *(["--config", str(config)] if config is not None else [])]


@app.command()
def up(config: Config = None) -> None:
    """Run every role on this machine; replace one that dies or falls silent, drain them on SIGTERM.

    Example: medseg-node up --config /etc/medseg-node/medseg-node.toml
    """
    node = Node(_settings(config))
    roles = {
        "scp": ["scp"],
        "scheduler": ["scheduler"],
        "io": ["worker", "--role", "io"],
        "inference": ["worker", "--role", "inference"],
    }
    if told := web.why_no_pages(node.settings):
        log.warning("no_pages", reason=told)
    else:
        roles["web"] = ["web"]
    command = [sys.executable, "-m", "workflows.commands.cli"]
    run_folder = node.folder.run
    with sole_supervisor(run_folder):
        examination.require_usable(node, "port", "checkpoint", "protocols")
        node.repository.close()  # one migration, not four at once
        Supervisor({name: [*command, *_forward(config, *words)] for name, words in roles.items()}, run_folder).run()


@app.command()
def scp(config: Config = None) -> None:
    """Run the storage SCP: C-ECHO, C-STORE, and what archives answer on storage commitment.

    Example: medseg-node scp --config /etc/medseg-node/medseg-node.toml
    """
    run_scp(Node(_settings(config)), _stop_event())


@app.command()
def worker(role: Annotated[Role, typer.Option(help="What this worker does.")], config: Config = None) -> None:
    """Run a worker for one role.

    Example: medseg-node worker --role io
    """
    node = Node(_settings(config))
    examination.require_usable(node, *(("checkpoint",) if role is Role.INFERENCE else ("checkpoint", "protocols")))
    run_worker(node, role.value, _stop_event())


@app.command()
def scheduler(config: Config = None) -> None:
    """Complete quiet studies and wake whatever is due.

    Example: medseg-node scheduler --config /etc/medseg-node/medseg-node.toml
    """
    run_scheduler(Node(_settings(config)), _stop_event())


@app.command()
@with_selectors
def status(
    selection: Selection,
    config: Config = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many studies.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List the studies and where they stand, those that got an instance last first.

    Example: medseg-node status --state FAILED --since 2d
    """
    settings = _settings(config)
    repository = repository_to_read(settings)
    folder = DataFolder(settings.node.data_dir)
    studies = status_of_all(repository, folder, selection, limit)
    if as_json:
        node = {
            "quarantine": len(Quarantine(folder.quarantine)),
            "room": told_of_room(folder)[0],
            "protocols_refused": refused_edit_told(repository),
        }
        print(json.dumps([{**known, **node} for known in studies], indent=2))
        return
    for known in studies:  # a UID is needed whole: `explain` takes it
        progress = known["progress"]
        done = f"  {progress_told(progress)}" if progress["of"] else ""
        head = f"[bold]{known['state']:<10}[/] {known['study_uid']}  generation {known['generation']}{done}"
        accession = f"accession number {known['accession_number']}  " if known["accession_number"] else ""
        out.print(f"{head}  {escape(accession + (known['protocol'] or ''))}", highlight=False)
        out.print(f"{'':<11}{escape(known['reason'])}", highlight=False)
        if known["remedy"]:
            out.print(f"{'':<11}once its cause is mended: {known['remedy']}", highlight=False)
        if known["attention"]:
            out.print(f"  needs attention: {known['attention']}", style="red", markup=False, highlight=False)
        if known["to_retract"]:
            out.print(f"{'':<11}results are to be retracted: medseg-node explain {known['study_uid']}", highlight=False)
    if told := quarantine.in_quarantine(folder):
        out.print(told, style="red", markup=False, highlight=False)
    if short := told_of_room(folder)[0]:
        out.print(short, style="red", markup=False, highlight=False)
    if refused := refused_edit_told(repository):
        out.print(refused, style="red", markup=False, highlight=False)
    count = repository.count_studies(selection)
    if count > len(studies):
        out.print(f"{len(studies)} of {count} studies; --limit {count} lists all", highlight=False)
    if not studies:
        out.print("no studies yet" if selection == EVERY_STUDY else "no study is like that")
    _print_terms(job["terms"] for known in studies for job in known["jobs"])


def _print_terms(terms: Iterable[str | None]) -> None:
    for term in sorted({term for term in terms if term}):
        out.print(f"[bold red]{escape(term)}[/]")


@app.command()
@with_selectors
def reread(
    selection: Selection,
    config: Config = None,
    as_is: Annotated[
        bool,
        typer.Option("--as-is", help="HELD studies: read each series under its own patient; who wanted it is kept."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be read again, and do nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; with --yes or --dry-run.")] = False,
) -> None:
    """Plan studies again with today's protocols, weights and software; what none of them changes is not asked again.

    New results name those of the same protocol that they replace. A study that is HELD because its series name several
    patients is read with --as-is only; a series that names several patients in itself is never read.

    Example: medseg-node reread --state UNMATCHED --since 7d
    """
    settings = _settings(config)
    json_asks_nothing(as_json=as_json, yes=yes, dry_run=dry_run)
    if selection == EVERY_STUDY:
        raise CallError("name the studies: --study, --accession, --state, --protocol, --patient, --since or --until")
    choose = rereading.candidates_as_is if as_is else rereading.candidates
    chosen = choose(repository_to_read(settings), selection)
    if selection.study_uid is not None and not chosen:
        raise CallError(f"no study {selection.study_uid} was received here; `medseg-node status` lists those that were")
    if any(one.ready for one in chosen) and not (dry_run or yes):
        how = "as they are, each series under its own patient" if as_is else "again"
        typer.confirm(f"read {sum(one.ready for one in chosen)} of {len(chosen)} studies {how}?", abort=True)
    if not dry_run and as_is:
        chosen = rereading.reopen_as_is(Node(settings).repository, chosen, rereading.operator())
    elif not dry_run:
        chosen = rereading.reopen(Node(settings).repository, chosen, rereading.operator())
    if as_json:
        print(json.dumps([asdict(one) for one in chosen], indent=2))
    else:
        for one in chosen:
            out.print(f"{one.study_uid}: {one.outcome}", markup=False, highlight=False)
        if not chosen:
            out.print("no study is like that")
    if chosen and not any(one.ready for one in chosen):
        raise typer.Exit(1)


@app.command()
def explain(
    study: Annotated[
        str, typer.Argument(metavar="STUDY_UID|ACCESSION", help="Study Instance UID, or an accession number.")
    ],
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Say what happened to a study and why: what matched, what was seen and not seen, where each result went.

    An accession number may name several studies; each is explained, that which got an instance last first.

    Example: medseg-node explain A-20917
    """
    settings = _settings(config)
    repository, folder = repository_to_read(settings), DataFolder(settings.node.data_dir)
    found = [one for uid in named_studies(repository, study) if (one := explain_study(repository, folder, uid))]
    if not found:
        raise CallError(
            f"no study has the UID or the accession number {study!r} here; `medseg-node status` lists those that came"
        )
    if as_json:
        print(json.dumps(found[0] if len(found) == 1 else found, indent=2))
        return
    if len(found) > 1:
        out.print(f"{len(found)} studies have the accession number {study}", markup=False, highlight=False)
    for known in found:
        if len(found) > 1:
            out.print(f"study {known['study_uid']}", markup=False, highlight=False)
        head, *lines = explained(known)
        out.print(head, style="bold", markup=False, highlight=False)
        for line in lines:
            out.print(line, markup=False, highlight=False)
    _print_terms(job["terms"] for known in found for job in known["jobs"])


@app.command()
def ask(
    path: Annotated[Path, typer.Argument(help="A DICOM file, or a folder of them.")],
    question: Annotated[str, typer.Argument(help="What to ask, such as 'Where is the liver?'.")],
    config: Config = None,
    folder: Annotated[
        Path,
        typer.Option("--out", help="Folder for the objects, pictures and answer.json; made if it is not there."),
    ] = Path("out"),
    series_uid: Annotated[
        str | None, typer.Option("--series", help="Series Instance UID; needed where a folder holds several.")
    ] = None,
    frames: Annotated[
        str, typer.Option("--frames", help="Which frames of a cine: middle, first, last, all, or 'every 10'.")
    ] = MIDDLE_FRAME.text,
    profile: Annotated[
        Profile | None, typer.Option("--profile", help="Objects for this viewer or archive, not that of the settings.")
    ] = None,
    export: Annotated[
        asking.Export | None, typer.Option("--export", help="Images and masks in this format too: nifti.")
    ] = None,
    follow_ups: Annotated[
        list[str] | None,
        typer.Option("--follow-up", help="What to ask next, in the same conversation; may be given several times."),
    ] = None,
    as_json: AsJson = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an error.")] = False,
) -> None:
    """Ask the model about a DICOM file or a folder, without any node.

    Example: medseg-node ask CT_FOLDER "Where is the liver?" --follow-up "How large is it?" --out answers
    """
    _debug.set(debug)
    try:
        chosen = FrameChoice(frames)
    except ValueError as error:
        raise CallError(f"--frames {error}") from error
    with err.status("looking at the files") as status:  # on a terminal; nothing where standard error is none
        answer = asking.ask(
            path,
            question,
            _settings(config),
            folder,
            series_uid,
            chosen,
            follow_ups=follow_ups or (),
            profile=profile,
            export=export,
            tell=status.update,
        )
    if as_json:
        print(json.dumps(answer, indent=2))
        return
    series = answer["series"]
    what = f"{series['modality']} {series['series_description']}".strip()
    lines = [f"{what}, {series['instances']} instances, series {series['series_uid']}"]
    for place, part in enumerate(answer["parts"], start=1):
        if len(answer["parts"]) > 1:
            lines.append(f"part {place}: {part['name']}")
        elif part["name"]:
            lines.append(part["name"])
        lines += told_answer(part)
        for turn in part.get("follow_ups", ()):
            lines += [f"> {turn['question']}", *told_answer(turn, goes_on=True)]
    lines += [*answer["notes"], f"written to {folder}"]
    for line in [*lines, *answer["passed_over"]]:
        out.print(line, markup=False, highlight=False)
    _print_terms([answer["terms"]])


@app.command()
def doctor(config: Config = None, as_json: AsJson = False) -> None:
    """Check whether a node could run with this configuration; 1 if something fails, a warning is none.

    Example: medseg-node doctor --config medseg-node.toml
    """
    checks = examination.examine(_settings(config))
    if as_json:
        print(json.dumps(examination.as_json(checks), indent=2))
        raise typer.Exit(1 if any(one.outcome is Outcome.FAILED for one in checks) else 0)
    colours = {Outcome.OK: "green", Outcome.WARNING: "yellow", Outcome.FAILED: "red"}
    for one in checks:
        shown = f"[{colours[one.outcome]}]{one.outcome.value:<4}[/]"
        out.print(f"{shown} {one.name}: {escape(one.detail)}", highlight=False)
    if any(one.outcome is Outcome.FAILED for one in checks):
        raise typer.Exit(1)


@app.command()
def commission(
    archive: Annotated[
        str, typer.Option("--archive", metavar="NAME", help="Name of an archive that the settings have.")
    ],
    config: Config = None,
    folder: Annotated[Path, typer.Option("--out", help="Folder for report.pdf and all files of the run.")] = Path(
        "commissioning"
    ),
    keep: Annotated[bool, typer.Option("--keep", help="Leave the study in the archive.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Prove an archive: send it a synthetic body with results, fetch all of it back, and say where each mark lies.

    Exit code 0: all came back as it was; 1: something did not, or the archive does not commit itself to it.

    Example: medseg-node commission --archive pacs
    """
    settings = _settings(config)
    chosen = commissioning.archive_named(settings, archive)
    if not (yes or as_json):
        where = f"{chosen.name} ({chosen.ae_title}@{chosen.host}:{chosen.port})"
        typer.confirm(f"send the study of a synthetic patient to archive {where}?", abort=True)
    connections = commissioning.connections_to(chosen, settings)
    with err.status("making the body") as status:
        done = commissioning.commission(chosen, settings, folder, connections, keep=keep, tell=status.update)
    if as_json:
        print(json.dumps(commissioning.as_json(done), indent=2))
    else:
        show_commissioned(done, out)
    if not done.ok:
        raise typer.Exit(1)


@app.command()
def demo(
    config: Config = None,
    study: Annotated[Path | None, typer.Option(help="Folder of DICOM files to send.")] = None,
    archive: Annotated[str | None, typer.Option(help="AE@host:port that gets the results.")] = None,
) -> None:
    """Send a real study through a whole node and show what comes back.

    Example: medseg-node demo --study DIR
    """
    settings = load_settings(config)
    configure_logging(settings.node.log_format, logging.ERROR)  # the node's own log is a file that it names
    if not demonstration.run(settings, study, archive, out):
        raise typer.Exit(1)


def _stop_event() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def main() -> None:
    """The entry point: errors become a line and an exit code here and nowhere else."""
    try:
        app()
    except Exception as error:
        if _debug.get():
            raise
        if isinstance(error, ProtocolErrors):  # each line begins with its file
            err.print(escape(str(error)), style="red", highlight=False)
        elif isinstance(error, _FORESEEN):
            err.print(f"[red]{escape(str(error))}[/]", highlight=False)
        else:
            err.print(f"[red]{escape(defect(error))}[/]", highlight=False)
        sys.exit(2 if isinstance(error, _WRONG_CALL) else 1)


_WRONG_CALL = (ProtocolErrors, CallError, SettingsError, CheckpointError, DeviceMissing, InputRefused, ListenError)
_FORESEEN = (*_WRONG_CALL, WorkflowError, DicomNodeError, InferenceError, OSError)
_debug: ContextVar[bool] = ContextVar("debug", default=False)


if __name__ == "__main__":
    main()
