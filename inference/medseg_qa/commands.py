"""The command medseg-qa: build, stats, check, sample, export and review.

Exit 2 where the call or what it names is wrong; 1 where the disk or an endpoint gave out, or `check` finds leaks.
"""

from __future__ import annotations

import ipaddress
import json
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from inference.medseg_qa.builder import BuildOptions, BuildReport, build
from inference.medseg_qa.errors import AnnotatorError, BuildError, BuildStopped, MedSegQAError, ReviewError
from inference.medseg_qa.export import ExportFormat, export
from inference.medseg_qa.sources import Opener, open_source
from inference.progress import Counter

__all__ = ["make_app"]


FrontDoor = Callable[[Any, str], tuple[Any, str]]
"""Puts a front door before an ASGI application that listens on a host: the application to serve, and the path by which
one comes in."""


def make_app(extra_sources: tuple[Opener, ...] = (), front_door: FrontDoor | None = None) -> typer.Typer:
    """The command line application; `extra_sources` open folders that this package cannot, such as DICOM.

    `front_door`: stands before the review page; without one the page listens on the loopback interface only.
    """
    app = typer.Typer(no_args_is_help=True, add_completion=False, help="Build, check and review MedSeg-QA sets.")
    _add_build(app, extra_sources)
    app.command("stats")(_stats)
    app.command("check")(_check)
    app.command("sample")(_sample)
    app.command("export")(_export)
    _add_review(app, front_door)
    return app


def _add_build(app: typer.Typer, extra_sources: tuple[Opener, ...]) -> None:
    @app.command("build")
    def build_set(
        images: Annotated[
            Path,
            typer.Option(
                help="Folder with a manifest, image and mask folders, NIfTI, DICOM; reviewed:CONFIG: a node's reviews."
            ),
        ],
        out: Annotated[Path, typer.Option(help="Folder to write; it must not exist.")],
        seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
        allow_unknown_labels: Annotated[
            bool, typer.Option("--allow-unknown-labels", help="Ask openly for labels without knowledge.")
        ] = False,
        zero_shot: Annotated[list[str] | None, typer.Option(help="Label to hold out; repeatable.")] = None,
        most_per_set: Annotated[
            int | None,
            typer.Option(min=1, metavar="N", help="Only that many images of each data set and split, for a trial."),
        ] = None,
        force: Annotated[bool, typer.Option("--force", help="Replace a set that stands in the output folder.")] = False,
        annotator: Annotated[str, typer.Option(help="template, openai or transformers.")] = "template",
        model: Annotated[str, typer.Option(help="Model name, or folder of a local model.")] = "",
        base_url: Annotated[str | None, typer.Option(help="OpenAI-compatible endpoint.")] = None,
        cache: Annotated[Path, typer.Option(help="Responses kept for resuming.")] = Path(".medseg-qa-cache"),
        requests_per_minute: Annotated[
            float, typer.Option(min=0.1, metavar="N", help="Rate limit of the endpoint.")
        ] = 600.0,
        timeout_s: Annotated[float, typer.Option(min=0.1, metavar="S", help="Longest wait for one reply.")] = 60.0,
        price_in: Annotated[float, typer.Option(help="Price of a million tokens sent, for the cost count.")] = 0.0,
        price_out: Annotated[float, typer.Option(help="Price of a million tokens received.")] = 0.0,
    ) -> None:
        """Build a set: records.jsonl, images/, masks/."""
        from inference.medseg_qa.annotators.choose import EndpointLimits, choose_annotator

        source, target = images.resolve(), out.resolve()
        if source == target or source in target.parents or target in source.parents:
            raise _failed(BuildError(f"{out} and {images} lie in one another; name a folder beside the images"))
        options = BuildOptions(seed, allow_unknown_labels, tuple(zero_shot or ()), force, most_per_set)
        with _Phases() as report_progress:
            try:
                limits = EndpointLimits(requests_per_minute, timeout_s, price_in, price_out)
                chosen = choose_annotator(
                    annotator, model=model, base_url=base_url, cache=cache, seed=seed, limits=limits
                )
                report = build(
                    open_source(images, extra_sources), out, options, annotator=chosen, progress=report_progress
                )
            except MedSegQAError as error:
                raise _failed(error) from error
        _print_report(report)


def _stats(
    directory: Path,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON only.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Also write charts to this PNG.")] = None,
) -> None:
    """Counts per modality, label, question kind, turns, length and mask size."""
    from inference.medseg_qa.plots import plot_statistics
    from inference.medseg_qa.stats import statistics

    try:
        counts = statistics(directory)
    except MedSegQAError as error:
        raise _failed(error) from error
    if as_json:
        typer.echo(json.dumps(counts, indent=2, sort_keys=True))
    else:
        _print_statistics(counts)
    if plot is not None:
        try:
            plot_statistics(counts, plot)
        except OSError as error:
            raise _failed(error) from error


def _check(directory: Path) -> None:
    """Fail if anything leaks between the splits."""
    from inference.medseg_qa.leaks import find_leaks

    try:
        leaks = find_leaks(directory)
    except MedSegQAError as error:
        raise _failed(error) from error
    for leak in leaks:
        typer.echo(leak)
    typer.echo(f"{len(leaks)} leaks")
    raise typer.Exit(1 if leaks else 0)


def _sample(
    directory: Path,
    out: Annotated[Path, typer.Option(help="Contact sheet to write, PNG.")] = Path("medseg-qa-sample.png"),
    count: Annotated[int, typer.Option(min=1, help="How many conversations.")] = 10,
    seed: Annotated[int, typer.Option(help="The same seed shows the same conversations.")] = 0,
    dataset: Annotated[list[str] | None, typer.Option(help="Only this data set; repeatable.")] = None,
) -> None:
    """Print random conversations and draw them beside their images with masks."""
    from inference.medseg_qa.plots import write_contact_sheet

    try:
        shown = write_contact_sheet(directory, out, count, seed, tuple(dataset or ()))
    except (MedSegQAError, OSError) as error:
        raise _failed(error) from error
    for record, conversation in shown:
        typer.echo(f"\n{conversation.id} ({record.modality}, {record.split.value}); {record.licence}")
        for turn in conversation.turns:
            typer.echo(f"  Q {turn.question}\n  A {turn.answer}")
    typer.echo(f"\n{len(shown)} conversations in {out}")


def _export(
    directory: Path,
    out: Annotated[Path, typer.Option(help="Folder to write; it must not exist.")],
    layout: Annotated[ExportFormat, typer.Option("--format")] = ExportFormat.JSONL,
    accepted_in: Annotated[Path | None, typer.Option(help="Review database: accepted items only.")] = None,
) -> None:
    """Write a set as JSON Lines, Hugging Face datasets, LLaVA or LISA layout."""
    from inference.medseg_qa.review.accepted import export_accepted

    try:
        if accepted_in is None:
            count = export(directory, out, layout)
        else:
            count = export_accepted(directory, accepted_in, out, layout)
    except MedSegQAError as error:
        raise _failed(error) from error
    typer.echo(f"{count} records written to {out}")


def _add_review(app: typer.Typer, front_door: FrontDoor | None) -> None:
    @app.command("review")
    def review(
        directory: Path,
        database: Annotated[Path | None, typer.Option(help="Queue file; default DIR/review.sqlite3.")] = None,
        readers: Annotated[int, typer.Option(min=1, max=2, help="Readers per item.")] = 1,
        limit: Annotated[int | None, typer.Option(help="Queue at most this many new items.")] = None,
        host: Annotated[str, typer.Option(help="Address of this machine's loopback interface.")] = "127.0.0.1",
        port: int = 8765,
    ) -> None:
        """Serve the review page on this machine, to whoever opens the address that is printed."""
        import uvicorn

        from inference.medseg_qa.review.app import make_review_app
        from inference.medseg_qa.review.store import ReviewStore

        if not _is_loopback(host):
            raise _failed(ReviewError(f"the page is for this machine only: --host {host} could be reached from others"))
        with socket.socket() as probe:
            if probe.connect_ex((host, port)) == 0:
                raise _failed(ReviewError(f"something listens on {host}:{port} already; name another --port"))
        try:
            store = ReviewStore(database or directory / "review.sqlite3")
            added = store.queue(directory, readers=readers, limit=limit)
        except MedSegQAError as error:
            raise _failed(error) from error
        page, path = make_review_app(directory, store), "/"
        if front_door is not None:
            page, path = front_door(page, host)
        typer.echo(f"{added} items queued; open http://{host}:{port}{path}")
        uvicorn.run(page, host=host, port=port, log_level="warning", access_log=False)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Phases:
    """Progress bars one after the other: a terminal has room for one."""

    def __init__(self) -> None:
        self._shown = ExitStack()
        self._counters: dict[str, Counter] = {}

    def __enter__(self) -> _Phases:
        return self

    def __call__(self, phase: str, done: int, total: int) -> None:
        if phase not in self._counters:
            self._shown.close()
            self._counters[phase] = self._shown.enter_context(Counter(phase))
        self._counters[phase](done, total)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shown.close()


def _failed(error: MedSegQAError | OSError) -> typer.Exit:
    typer.echo(f"error: {error}", err=True)
    return typer.Exit(1 if isinstance(error, (AnnotatorError, BuildStopped)) else 2)


def _print_report(report: BuildReport) -> None:
    typer.echo(f"{report.records} records, {report.pairs} image-mask pairs, {report.turns} turns")
    typer.echo(f"{report.near_duplicate_pairs} near-duplicates; {report.moved_between_splits} images changed split")
    for reason, count in sorted(report.skipped.items()):
        shown = "; ".join(report.details.get(reason, [])[:3])
        typer.echo(f"left out, {reason}: {count} ({shown})")
    for fault, count in sorted(report.faults.items()):
        typer.echo(f"dropped for {fault}: {count}")
    for name, value in sorted(report.annotator_summary.items()):
        typer.echo(f"{report.annotator} {name}: {value:g}")


def _print_statistics(counts: dict[str, object]) -> None:
    console = Console(width=110)
    for name, value in counts.items():
        if not isinstance(value, dict):
            console.print(f"{name}: {value}")
    for name, value in counts.items():
        if not isinstance(value, dict) or name == "labels":
            continue
        table = Table(title=name)
        table.add_column(name)
        table.add_column("count", justify="right")
        for key, count in value.items():
            table.add_row(str(key), str(count))
        console.print(table)
    table = Table(title="labels")
    for column in ("label", "pairs", "turns", "absent turns"):
        table.add_column(column, justify="left" if column == "label" else "right")
    labels = counts["labels"]
    assert isinstance(labels, dict)
    for label, count in labels.items():
        table.add_row(label, str(count["pairs"]), str(count["turns"]), str(count["absent_turns"]))
    console.print(table)
