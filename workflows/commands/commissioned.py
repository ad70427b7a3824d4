"""What a commissioning run says on a terminal: a table for each series, a line for each mark."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dicom_node.commissioning.check import SeriesVerdict
from dicom_node.commissioning.page import COLUMNS, shown_off
from workflows.commands.commission import Commissioned

__all__ = ["show_commissioned"]


def show_commissioned(done: Commissioned, console: Console) -> None:
    """Print the verdict of each series and object, the marks, and where the report lies."""
    for series in done.verdict.series:
        word = "[green]ok[/]" if series.ok else "[bold red]FAIL[/]"
        console.print(f"[bold]{escape(series.name)}[/] {word}", highlight=False)
        for one in series.objects:
            colour = "green" if one.ok else "red"
            console.print(f"  [{colour}]{escape(one.what):<10}[/] {escape(one.detail)}", highlight=False)
        if series.marks:
            console.print(_table(series), highlight=False)
    if done.not_shown:
        console.print(f"[yellow]{done.not_shown} instances were not shown by query[/]", highlight=False)
    if done.verdict.strays:
        console.print(f"[yellow]{done.verdict.strays} instances came back that were not sent[/]", highlight=False)
    if done.commitment:
        colour = "red" if done.not_committed else "default"
        console.print(f"[{colour}]storage commitment: {escape(done.commitment)}[/]", highlight=False)
    told = done.verdict.told
    verdict = f"[bold {'green' if done.verdict.ok else 'red'}]{told[:1].lower()}{told[1:]}[/]"
    console.print(f"{verdict}: archive {escape(done.archive)}, profile {done.profile}", highlight=False)
    if done.verdict.unchecked:
        console.print(f"[yellow]{escape(done.verdict.unchecked)}[/]", highlight=False)
    console.print(escape(done.ending), highlight=False)
    console.print(f"report: {escape(str(done.report))}", highlight=False)


def _table(series: SeriesVerdict) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("  mark", *(name for _, name in COLUMNS), "on images", "side"):
        table.add_column(name)
    for mark in series.marks:
        came = [*(shown_off(mark, way, series.unit) for way, _ in COLUMNS), _beside(mark.slices, mark.true_slices)]
        cells = [f"  {mark.mark}", *came, _beside(mark.side, mark.true_side)]
        table.add_row(*map(escape, cells), style="" if mark.ok else "red")
    return table


def _beside(came: str, true: str) -> str:
    """What came back, and what it should be where that differs."""
    return came or "-" if came == true else f"{came or '-'} (not {true})"
