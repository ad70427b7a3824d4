"""Agreement as rows: JSON, CSV, and short texts for a person. There is no trace of a patient in any of them."""

from __future__ import annotations

import csv
from dataclasses import asdict
from io import StringIO
from typing import Any

from workflows.state.agreeing import CaseKind
from workflows.steps.agreement_statistics import AgreementGroup, AgreementSummary, Proportion, Spread

__all__ = ["as_csv", "as_json", "per_cent", "value_and_interval"]

_NUMBERS = 4


def as_json(summary: AgreementSummary) -> dict[str, Any]:
    """The summary as JSON has it. Proportions from 0 to 1; bounds of 95 % intervals; null where nothing can be said."""
    return {
        "by": summary.grouping.value,
        "all": _group(summary.all),
        "groups": [_group(group) for group in summary.groups],
        "weeks": [{"week": week.monday.isoformat(), "accepted": _plain(week.accepted)} for week in summary.weeks],
    }


def as_csv(summary: AgreementSummary) -> str:
    """A header and a line for each group, and one for all."""
    text = StringIO()
    writer = csv.writer(text)
    rows = [_row(summary, group) for group in (*summary.groups, summary.all)]
    writer.writerow(rows[0])
    for row in rows:
        writer.writerow(["" if value is None else _safe(value) for value in row.values()])
    return text.getvalue()


def _row(summary: AgreementSummary, group: AgreementGroup) -> dict[str, Any]:
    row: dict[str, Any] = {"by": summary.grouping.value, "group": group.name}
    row |= {"reviews": group.reviews, "findings": group.findings}
    for kind, part in group.verdicts.items():
        row |= _columns(kind.value.replace("-", "_"), part)
    row |= _columns(CaseKind.MISSED.value, group.missed)
    row["missed_of"] = group.missed.of
    for name, values in (("dice", group.dice), ("difference_ml", group.difference_ml)):
        row |= {f"{name}_{key}": _rounded(value) for key, value in asdict(values).items()}
    return {**row, "note": group.few}


def _columns(name: str, part: Proportion) -> dict[str, Any]:
    return {
        name: part.count,
        f"{name}_part": _rounded(part.value),
        f"{name}_low": _rounded(part.low),
        f"{name}_high": _rounded(part.high),
    }


def _group(group: AgreementGroup) -> dict[str, Any]:
    return {
        "name": group.name,
        "reviews": group.reviews,
        "findings": group.findings,
        "verdicts": {kind.value: _plain(part) for kind, part in group.verdicts.items()},
        "missed": _plain(group.missed),
        "dice": _plain(group.dice),
        "difference_ml": _plain(group.difference_ml),
        "note": group.few,
    }


def _plain(values: Proportion | Spread) -> dict[str, Any]:
    return {name: _rounded(value) for name, value in asdict(values).items()}


def _rounded(value: Any) -> Any:
    return round(value, _NUMBERS) if isinstance(value, float) else value


def _safe(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula begins with an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def per_cent(part: Proportion) -> str:
    """`83 % (76 to 88)`, or a dash where there is nothing to say."""
    if part.value is None or part.low is None or part.high is None:
        return "-"
    return f"{part.value * 100:.0f} % ({part.low * 100:.0f} to {part.high * 100:.0f})"


def value_and_interval(values: Spread, digits: int, unit: str = "") -> str:
    """`0.91 (0.88 to 0.93)`: the median and its interval; without one the median and how many values there are."""
    if values.median is None:
        return "-"
    unit = f" {unit}" if unit else ""
    if values.low is None or values.high is None:
        return f"{values.median:.{digits}f}{unit} (of {values.count})"
    return f"{values.median:.{digits}f}{unit} ({values.low:.{digits}f} to {values.high:.{digits}f})"
