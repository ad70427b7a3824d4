"""What `protocols test`, `replay` and `keep` show people: tables, and trees of the grounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from workflows.protocols.changes import NOT_THERE
from workflows.protocols.costing import Cost
from workflows.protocols.keeping import KeptExample
from workflows.protocols.matching import grounds
from workflows.protocols.replaying import Difference, KnownStudy, ProtocolChange, Replayed
from workflows.protocols.schema import ReadingProtocol
from workflows.protocols.summing import Summary
from workflows.protocols.truth import Truth
from workflows.protocols.verdicts import Ground, Verdict
from workflows.steps.trying_rules import LoadedRules

__all__ = ["grounds_json", "show_difference", "show_grounds", "show_kept", "show_summary", "show_tried", "tried_json"]

_WIDTH = 160
_COLOURS = {Truth.YES: "green", Truth.NO: "red", Truth.UNKNOWN: "yellow"}


def show_tried(tried: Replayed, out: Console, *, every: bool = False) -> None:
    """A study and what each protocol says of it and of its series; what is asked comes first.

    `every`: those that are off too; else they stand in one line.
    """
    study = tried.study
    out.print(_named(study), style="bold", markup=False, highlight=False)
    numbers = {one.series_uid: number for number, one in enumerate(study.header.series, start=1)}
    table = _table("series", "protocol", "asked", "because", "missing", "look at")
    shown = [one for one in tried.verdicts if every or not one.is_off]
    for verdict in sorted(shown, key=lambda one: (not one.asked, numbers.get(one.series_uid or "", 0))):
        table.add_row(
            escape(_series_told(study, verdict.series_uid)),
            escape(verdict.named),
            "[green]yes[/]" if verdict.asked else "no",
            escape(verdict.reason),
            escape(", ".join(verdict.missing)),
            escape("; ".join(verdict.flags)),
        )
    _print(table, out)
    _print_left_out([one.protocol for one in tried.verdicts if one.is_off and not every], "off", out)
    protocols = {one.protocol for one in tried.verdicts if one.asked}
    series = {one.series_uid for one in tried.verdicts if one.asked}
    told = f"{_count(len(series), 'series')} of {len(numbers)} asked by {_count(len(protocols), 'protocol')}"
    out.print(told if series else "nothing matches: no protocol asks a series of this study", highlight=False)


def show_grounds(study: KnownStudy, protocol: ReadingProtocol, out: Console) -> None:
    """Every condition of a protocol with what the study says to it."""
    found = grounds(study.header, protocol)
    tree = Tree(f"[bold]{escape(protocol.name)} {escape(protocol.version)}[/] {escape(protocol.title)}")
    if protocol.off_because:
        tree.add(escape(f"off: {protocol.off_because}"))
    _grow(tree, found.when, "the study")
    for series in study.header.series:
        if (ground := found.series.get(series.series_uid)) is not None:
            _grow(tree, ground, _series_told(study, series.series_uid))
    _print(tree, out)


def _grow(tree: Tree, ground: Ground, name: str = "") -> None:
    colour, where = _COLOURS[ground.truth], name or ground.where
    missing = f" [yellow]missing: {escape(', '.join(ground.missing))}[/]" if ground.missing else ""
    told = f" {escape(ground.told)}" if ground.told else ""
    branch = tree.add(f"[{colour}]{ground.truth.value}[/] [bold]{escape(where)}[/]{told}{missing}")
    for one in ground.beneath:
        _grow(branch, one)


def tried_json(tried: Replayed) -> dict[str, Any]:
    """A study with its series and all verdicts, for `--json`."""
    study = tried.study
    return {
        "study_uid": study.header.study_uid,
        "accession_number": study.accession_number,
        "study_description": study.header.study_description,
        "received_at": None if study.received_at is None else study.received_at.isoformat(),
        "series": [
            {
                "series_uid": one.series_uid,
                "modality": one.modality,
                "series_description": one.series_description,
                "instances": one.instances,
            }
            for one in study.header.series
        ],
        "verdicts": [verdict.as_json() for verdict in tried.verdicts],
    }


def grounds_json(study: KnownStudy, protocol: ReadingProtocol) -> dict[str, Any]:
    """Every condition of a protocol with what the study says to it, for `--json`."""
    found = grounds(study.header, protocol)
    return {
        "protocol": protocol.name,
        "version": protocol.version,
        "when": _ground_json(found.when),
        "series": {uid: _ground_json(ground) for uid, ground in found.series.items()},
    }


def _ground_json(ground: Ground) -> dict[str, Any]:
    return {
        "where": ground.where,
        "truth": ground.truth.value,
        "told": ground.told,
        "missing": list(ground.missing),
        "beneath": [_ground_json(one) for one in ground.beneath],
    }


def show_summary(
    summary: Summary, rules: LoadedRules, cost: Cost, limit: int, out: Console, *, every: bool = False
) -> None:
    """What one set of protocols makes of a history. `every`: rows of protocols that are off too."""
    out.print(_rules_told(rules), markup=False, highlight=False)
    flagged = f", {_count(summary.flagged, 'study', 'studies')} to be looked at" if summary.flagged else ""
    out.print(
        f"{_count(summary.studies, 'study', 'studies')}: {summary.matched:,} asked, {summary.unmatched:,} that nothing "
        f"matches{flagged}",
        highlight=False,
    )
    minutes = ("model minutes",) if summary.minutes is not None else ()
    table = _table("protocol", "studies", "series", "questions", "header incomplete", *minutes)
    off_ones = [one.name for one in summary.protocols if one.off_because and not every]
    for one in sorted(summary.protocols, key=lambda one: (-one.series, one.name)):
        if one.name in off_ones:
            continue
        off = f" off: {one.off_because}" if one.off_because else ""
        counts = (f"{count:,}" for count in (one.studies, one.series, one.questions, one.unknown))
        table.add_row(escape(f"{one.name} {one.version}{off}"), *counts, *([_minutes(one.minutes)] if minutes else []))
    _print(table, out)
    _print_left_out(off_ones, "off", out)
    if summary.unmatched:
        _print_rows(
            ("studies", "nothing matches these", "one of them"),
            [
                (f"{one.studies:,}", f"{one.modalities} {one.study_description}".strip() or "no description",
                 one.accession_number or one.study_uid)
                for one in summary.kinds[:limit]
            ],
            out,
        )  # fmt: skip
        _print_rows(
            ("studies", "because", "said by"),
            [(f"{one.studies:,}", one.reason, _few(one.protocols)) for one in summary.reasons[:limit]],
            out,
        )
    for name, count in summary.missing[:limit]:
        out.print(f"missing where it mattered: {name}, in {_count(count, 'study', 'studies')}", markup=False)
    out.print(_cost_told(cost, None, summary.minutes), highlight=False)


def show_difference(
    found: Difference,
    before: LoadedRules,
    after: LoadedRules,
    cost: Cost,
    limit: int,
    out: Console,
    *,
    every: bool = False,
) -> None:
    """What a change of rules would do. `every`: rows of protocols that ask nothing, before and after, too."""
    out.print(f"before: {_rules_told(before)}", markup=False, highlight=False)
    out.print(f"after:  {_rules_told(after)}", markup=False, highlight=False)
    studies = found.by_study()
    otherwise = f", {found.otherwise:,} of them with other questions" if found.otherwise else ""
    signs = f"[green]+{len(found.added):,}[/] [red]-{len(found.removed):,}[/] the same {found.same:,} series{otherwise}"
    counted = f"{_count(found.studies, 'study', 'studies')}, {len(studies):,} of them change"
    out.print(f"{counted}: {signs}", highlight=False)
    out.print(
        f"nothing matches {found.unmatched_before:,} studies before, {found.unmatched_after:,} after", highlight=False
    )
    minutes = ("model minutes before", "after") if found.minutes_after is not None else ()
    table = _table("protocol", "version", "change", *minutes)
    idle = [one.name for one in found.protocols if one.is_idle and not every]
    for one in sorted(found.protocols, key=lambda one: (-one.added - one.removed, -one.otherwise, one.name)):
        if one.name in idle:
            continue
        took = [_minutes(one.minutes_before), _minutes(one.minutes_after)] if minutes else []
        table.add_row(escape(one.name), escape(_versions(one)), _change(one), *took)
    _print(table, out)
    _print_left_out(idle, "unchanged and asked nothing", out)
    for study in studies[:limit]:
        out.print(_named(study.study), style="bold", markup=False, highlight=False)
        for change in study.changes:
            sign = "[yellow]=[/]" if change.questions else "[green]+[/]" if change.added else "[red]-[/]"
            out.print(f"  {sign} {escape(change.protocol)}: {escape(_series_told(change.study, change.series_uid))}")
            out.print(f"      before: {escape(_reason(change.before))}", highlight=False)
            out.print(f"      after:  {escape(_reason(change.after))}", highlight=False)
            for told in () if change.questions is None else change.questions.told:
                out.print(f"      question {escape(told)}", highlight=False)
            for told in (
                *(f"missing: {name}" for name in change.missing),
                *(f"look at: {one}" for one in change.flags),
            ):
                out.print(f"      {escape(told)}", style="yellow", highlight=False)
    if len(studies) > limit:
        out.print(f"{limit} of {len(studies):,} changed studies; --limit {len(studies)} lists all", highlight=False)
    out.print(_cost_told(cost, found.minutes_before, found.minutes_after), highlight=False)


def show_kept(kept: KeptExample, text: str, out: Console) -> None:
    """An example, and what became of what could tell whose it is."""
    out.print(text.rstrip("\n"), markup=False, highlight=False)
    for note in kept.notes:
        what = "kept" if note.kept else "not kept"
        out.print(f"{what}: {note.attribute}: {note.told}", markup=False, highlight=False)
    out.print(
        f"left out: {kept.left_out} attributes that no rule asks; names, IDs, dates and UIDs always", highlight=False
    )


# --- Words ------------------------------------------------------------------------------------------------------------


def _change(one: ProtocolChange) -> str:
    otherwise = f", {one.otherwise:,} with other questions" if one.otherwise else ""
    added = f"[green]+{one.added:,}[/]" if one.added else "+0"
    removed = f"[red]-{one.removed:,}[/]" if one.removed else "-0"
    return f"{added} {removed} the same {one.same:,}{otherwise}"


def _versions(one: ProtocolChange) -> str:
    if one.before is None or one.after is None:
        return f"{one.after} new" if one.before is None else f"{one.before} taken away"
    return one.after if one.before == one.after else f"{one.before} to {one.after}"


def _reason(verdict: Verdict | None) -> str:
    if verdict is None:
        return f"not asked: {NOT_THERE}"
    between = ", " if verdict.reason.startswith("as unknown") else ": "
    return f"{'asked' if verdict.asked else 'not asked'}{between}{verdict.reason}"


def _named(study: KnownStudy) -> str:
    received = None if study.received_at is None else f"received {study.received_at.astimezone():%Y-%m-%d %H:%M}"
    number = study.accession_number or None
    what = f"{study.modalities} {study.header.study_description}".strip() or None
    return ", ".join(filter(None, [number, what, received, f"study {study.header.study_uid}"]))


def _series_told(study: KnownStudy, series_uid: str | None) -> str:
    if series_uid is None:
        return "the whole study"
    for number, one in enumerate(study.header.series, start=1):
        if one.series_uid == series_uid:
            return f"{number} {one.modality} {one.series_description}".rstrip() + f" ({one.instances})"
    return series_uid


def _rules_told(rules: LoadedRules) -> str:
    off = sum(bool(one.off_because) for one in rules.protocols)
    told = [f"{_count(len(rules.protocols) - off, 'protocol')}{f' and {off} off' if off else ''}", rules.told]
    return ", ".join(filter(None, [rules.name, *told, f"digest {rules.digest[:12]}"]))


def _cost_told(cost: Cost, before: float | None, after: float | None) -> str:
    if not cost.jobs or after is None:
        return "model minutes: not measured here yet; the node keeps the model's time of each job that it answers"
    median = f"{1000 * cost.seconds_a_slice_and_question:.3g} ms"
    each = f"{median} a slice and question, the median of {_count(cost.jobs, 'job')}"
    told = f"{after:,.1f}" if before is None else f"{before:,.1f} before, {after:,.1f} after"
    return f"model minutes: {told} ({each} of this node)"


def _minutes(minutes: float | None) -> str:
    return "" if minutes is None else f"{minutes:,.1f}"


def _few(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _count(count: int, one: str, many: str = "") -> str:
    if one == "series":
        return f"{count:,} series"
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def _print_left_out(names: Sequence[str], what: str, out: Console) -> None:
    """The protocols that have no row, in one line."""
    if names:
        several = f"{_count(len(names), 'protocol')} {'is' if len(names) == 1 else 'are'}"
        every = sorted(dict.fromkeys(names))
        out.print(f"{several} {what}: {_few(every)}; --all shows them", markup=False, highlight=False)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    numbers = ("studies", "series", "questions", "header incomplete", "model minutes", "model minutes before", "after")
    for name in columns:
        counted = name in numbers and not (name == "series" and "because" in columns)
        table.add_column(name, justify="right" if counted else "left", overflow="fold")
    return table


def _print(shown: Table | Tree, out: Console) -> None:
    Console(width=max(out.width, _WIDTH), file=out.file).print(shown, highlight=False)


def _print_rows(columns: Sequence[str], rows: Sequence[Sequence[str]], out: Console) -> None:
    table = _table(*columns)
    for row in rows:
        table.add_row(*map(escape, row))
    _print(table, out)
