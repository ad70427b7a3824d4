"""medseg-node: the command. Exit codes: 0 done, 1 the work failed, 2 wrong call or configuration."""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import structlog
import typer
from rich.console import Console
from rich.markup import escape

from dicom_node.errors import DicomNodeError, ListenError
from inference.errors import CheckpointError, DeviceMissing, InferenceError, InputRefused
from workflows.bootstrap import Node, configure_logging, repository_to_read
from workflows.commands import ask as asking
from workflows.commands import demo as demonstration
from workflows.commands import doctor as examination
from workflows.commands.doctor import Outcome
from workflows.commands.reporting import explain_study, explained, seen, status_of_all
from workflows.errors import CallError, DatabaseUnavailable, ProtocolErrors, SettingsError, WorkflowError
from workflows.protocols.loader import load_directory
from workflows.roles.supervisor import Supervisor
from workflows.roles.worker import CeleryWaker, make_app, run_worker
from workflows.settings import Settings, load_settings
from workflows.steps.complete import complete_quiet_studies, wake_due
from workflows.steps.receive import reconcile

__all__ = ["main"]

app = typer.Typer(
    name="medseg-node", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="A PACS-integrated DICOM worker for reasoning segmentation: studies in, SEG and SR back.",
)  # fmt: skip
protocols_app = typer.Typer(no_args_is_help=True, help="Reading protocols.")
app.add_typer(protocols_app, name="protocols")

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
    """Run every role on this machine; restart one that dies, drain them on SIGTERM."""
    node = Node(_settings(config))
    examination.require_usable(node, "port", "checkpoint", "protocols")
    roles = {
        "scp": ["scp"],
        "scheduler": ["scheduler"],
        "io": ["worker", "--role", "io"],
        "inference": ["worker", "--role", "inference"],
    }
    node.repository()  # one migration, not four at once
    Supervisor({name: _forward(config, *words) for name, words in roles.items()}).run()


@app.command()
def scp(config: Config = None) -> None:
    """Run the storage SCP: C-ECHO and C-STORE."""
    node = Node(_settings(config))
    reconcile(node.store, node.repository())
    with node.storage_scp():
        _until_told_to_stop()


@app.command()
def worker(role: Annotated[Role, typer.Option(help="What this worker does.")], config: Config = None) -> None:
    """Run a Celery worker for one role."""
    node = Node(_settings(config))
    examination.require_usable(node, *(("checkpoint",) if role is Role.INFERENCE else ("checkpoint", "protocols")))
    run_worker(node, role.value)


@app.command()
def scheduler(config: Config = None) -> None:
    """Complete quiet studies and wake whatever is due."""
    node = Node(_settings(config))
    waker, repository = CeleryWaker(make_app(node)), node.repository()
    stop = _stop_event()
    while not stop.wait(node.settings.node.scheduler_interval_s):
        try:
            complete_quiet_studies(repository, node.settings, waker)
            wake_due(repository, waker)
        except DatabaseUnavailable as error:
            log.error("database_unavailable", reason=str(error))


@app.command()
def status(config: Config = None, as_json: AsJson = False) -> None:
    """List the studies and where they stand."""
    studies = status_of_all(repository_to_read(_settings(config)))
    if as_json:
        print(json.dumps(studies, indent=2))
        return
    for study in studies:  # a UID is needed whole: `explain` takes it
        progress = study["progress"]
        done = f"  {progress['done']} of {progress['of']} jobs done" if progress["of"] else ""
        head = f"[bold]{study['state']:<10}[/] {study['study_uid']}  generation {study['generation']}{done}"
        out.print(f"{head}  {escape(study['protocol'] or '')}", highlight=False)
        out.print(f"{'':<11}{escape(study['reason'])}", highlight=False)
    if not studies:
        out.print("no studies yet")
    _print_terms(job["terms"] for study in studies for job in study["jobs"])


def _print_terms(terms: Iterable[str | None]) -> None:
    for term in sorted({term for term in terms if term}):
        out.print(f"[bold red]{escape(term)}[/]")


@app.command()
def explain(study_uid: str, config: Config = None, as_json: AsJson = False) -> None:
    """Say what happened to one study and why: what matched, what was seen and not seen, where the results are."""
    found = explain_study(repository_to_read(_settings(config)), study_uid)
    if found is None:
        raise CallError(f"no study {study_uid} was received here; `medseg-node status` lists those that were")
    if as_json:
        print(json.dumps(found, indent=2))
        return
    head, *lines = explained(found)
    out.print(head, style="bold", markup=False, highlight=False)
    for line in lines:
        out.print(line, markup=False, highlight=False)
    _print_terms(job["terms"] for job in found["jobs"])


@app.command()
def ask(
    path: Annotated[Path, typer.Argument(help="A DICOM file, or a folder of them.")],
    question: Annotated[str, typer.Argument(help="What to ask, such as 'Where is the liver?'.")],
    config: Config = None,
    folder: Annotated[
        Path,
        typer.Option("--out", help="Folder for seg.dcm, sr.dcm, overlay.png and answer.json; made if it is not there."),
    ] = Path("out"),
    series_uid: Annotated[
        str | None, typer.Option("--series", help="Series Instance UID; needed where a folder holds several.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Ask the model about a DICOM file or a folder, without any node."""
    with err.status("looking at the files") as status:  # on a terminal; nothing where standard error is none
        answer = asking.ask(path, question, _settings(config), folder, series_uid, tell=status.update)
    if as_json:
        print(json.dumps(answer, indent=2))
        return
    series = answer["series"]
    what = f"{series['modality']} {series['series_description']}".strip()
    lines = [f"{what}, {series['instances']} instances, series {series['series_uid']}", answer["text"]]
    lines += [*seen(answer["findings"], answer["not_seen"] or None), f"written to {folder}"]
    for line in lines:
        out.print(line, markup=False, highlight=False)
    _print_terms([answer["terms"]])


@protocols_app.command("check")
def check(directory: Path) -> None:
    """Check reading protocols and report every mistake with its line."""
    found = load_directory(directory)
    for protocol in found:
        out.print(f"{protocol.name} {protocol.version}: {len(protocol.questions)} questions")


@app.command()
def doctor(config: Config = None) -> None:
    """Check whether a node could run with this configuration; 1 if something fails, a warning is none."""
    checks = examination.examine(_settings(config))
    colours = {Outcome.OK: "green", Outcome.WARNING: "yellow", Outcome.FAILED: "red"}
    for one in checks:
        shown = f"[{colours[one.outcome]}]{one.outcome.value:<4}[/]"
        out.print(f"{shown} {one.name}: {escape(one.detail)}", highlight=False)
    if any(one.outcome is Outcome.FAILED for one in checks):
        raise typer.Exit(1)


@app.command()
def demo(
    config: Config = None,
    study: Annotated[Path | None, typer.Option(help="Folder of DICOM files to send.")] = None,
    archive: Annotated[str | None, typer.Option(help="AE@host:port that gets the results.")] = None,
) -> None:
    """Send a real study through a whole node and show what comes back."""
    settings = load_settings(config)
    configure_logging(settings.node.log_format, logging.WARNING)  # the node's own log is a file that it names
    if not demonstration.run(settings, study, archive, out):
        raise typer.Exit(1)


def _stop_event() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _until_told_to_stop() -> None:
    _stop_event().wait()


def main() -> None:
    """The entry point: errors become exit codes here and nowhere else."""
    try:
        app()
    except ProtocolErrors as error:  # each line begins with its file
        err.print(escape(str(error)), style="red", highlight=False)
        sys.exit(2)
    except (CallError, SettingsError, CheckpointError, DeviceMissing, InputRefused, ListenError) as error:
        err.print(f"[red]{type(error).__name__}[/]: {escape(str(error))}", highlight=False)
        sys.exit(2)
    except (WorkflowError, DicomNodeError, InferenceError, OSError) as error:
        err.print(f"[red]{type(error).__name__}[/]: {escape(str(error))}", highlight=False)
        sys.exit(1)


if __name__ == "__main__":
    main()
