"""The page of what a change of rules would do, and of what rules make of a history: HTML of its own, or a page's part.

`templates/_difference.html` and `_summary.html` are the parts that the web role shows too, with the values that
`difference_values` and `summary_values` give and the sheet `static/difference.css`. `alone.html` puts either into one
file: no script, nothing that is fetched, light or dark as the reader has it, fit to be printed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from workflows.protocols.changes import NOT_THERE, Changed, KnownStudy, ProtocolChange, StudyChanges
from workflows.protocols.costing import Cost
from workflows.protocols.replaying import Difference
from workflows.protocols.schema import ReadingProtocol
from workflows.protocols.summing import Summary
from workflows.protocols.verdicts import Verdict
from workflows.web.dates import day, moment

__all__ = [
    "Bar", "History", "PageFacts", "Rules", "difference_values", "page_of_difference", "page_of_summary",
    "summary_values",
]  # fmt: skip

_LEAST = 1.2  # per cent of the widest bar that a part takes at least, to be seen
_DIGEST = 12


@dataclass(frozen=True)
class Rules:
    """A set of protocols as a page names it. `digest`: of all its files; "" where it is not known.

    `told`: what is said beside its name, such as since when it is in service.
    """

    name: str
    protocols: tuple[ReadingProtocol, ...]
    digest: str = ""
    told: str = ""


@dataclass(frozen=True)
class History:
    """Which studies were looked at. `told`: in words, such as `the last 30 days`; None: from the first, to the last."""

    told: str
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True)
class PageFacts:
    """What a page says beside its figures. `limit`: rows of a table at most.

    `identifiers`: whether accession numbers, UIDs and times of receipt are told; without, studies have numbers.
    """

    history: History
    cost: Cost | None = None
    software: str = ""
    limit: int = 200
    identifiers: bool = True
    made_at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(frozen=True)
class Bar:
    """A protocol's series as a bar: what is removed, then the same, then added; widths in per cent of the widest."""

    removed: float
    same: float
    added: float


def page_of_difference(difference: Difference, before: Rules, after: Rules, facts: PageFacts) -> str:
    """One HTML file of what a change of rules would do."""
    return _alone(
        "_difference.html", "What a change of rules would do", difference_values(difference, before, after, facts)
    )


def page_of_summary(summary: Summary, rules: Rules, facts: PageFacts) -> str:
    """One HTML file of what one set of protocols makes of a history."""
    return _alone("_summary.html", "What the rules make of a history", summary_values(summary, rules, facts))


def difference_values(difference: Difference, before: Rules, after: Rules, facts: PageFacts) -> dict[str, Any]:
    """What `_difference.html` needs."""
    studies = difference.by_study()
    protocols = sorted(difference.protocols, key=lambda one: (-one.added - one.removed, -one.otherwise, one.name))
    idle = [one.name for one in protocols if one.is_idle]
    protocols = [one for one in protocols if not one.is_idle]
    widest = max((one.added + one.removed + one.same for one in protocols), default=0)
    return {
        **_shared(facts),
        "difference": difference,
        "rules": _rules((("Before", before), ("After", after))),
        "rows": [(one, _bar(one, widest), _minutes_apart(one.minutes_before, one.minutes_after)) for one in protocols],
        "idle": idle,
        "minutes": _minutes_apart(difference.minutes_before, difference.minutes_after),
        "changed": [_told_study(one, number, facts) for number, one in enumerate(studies[: facts.limit], start=1)],
        "left_out": max(0, len(studies) - facts.limit),
        "changed_studies": len(studies),
    }


def summary_values(summary: Summary, rules: Rules, facts: PageFacts) -> dict[str, Any]:
    """What `_summary.html` needs."""
    known = sorted(summary.protocols, key=lambda one: (-one.series, one.name))
    protocols = [one for one in known if not one.off_because]
    widest = max((one.series for one in protocols), default=0)
    return {
        **_shared(facts),
        "summary": summary,
        "rules": _rules((("Rules", rules),)),
        "rows": [(one, _share(one.series, widest), minutes_told(one.minutes)) for one in protocols],
        "off": [one.name for one in known if one.off_because],
        "minutes": minutes_told(summary.minutes),
        "kinds": summary.kinds[: facts.limit],
        "reasons": summary.reasons[: facts.limit],
        "missing": summary.missing[: facts.limit],
    }


def minutes_told(minutes: float | None) -> str:
    """Such as `4.2 min` or `1,310 min`; "" where nothing was measured."""
    if minutes is None:
        return ""
    return f"{minutes:,.1f} min" if minutes < 100 else f"{minutes:,.0f} min"


@dataclass(frozen=True)
class _Minutes:
    """Minutes before and after, and what lies between them, in words; all "" where nothing was measured."""

    before: str = ""
    after: str = ""
    apart: str = ""


def _minutes_apart(before: float | None, after: float | None) -> _Minutes:
    if before is None or after is None:
        return _Minutes()
    apart = after - before
    sign = "±" if abs(apart) < 0.05 else "+" if apart > 0 else "−"
    return _Minutes(minutes_told(before), minutes_told(after), f"{sign}{minutes_told(abs(apart))}")


def _shared(facts: PageFacts) -> dict[str, Any]:
    cost = facts.cost if facts.cost is not None and facts.cost.jobs else None
    days = [day(at.astimezone().date()) for at in (facts.history.since, facts.history.until) if at is not None]
    return {
        "facts": facts,
        "cost": cost,
        "slice_ms": None if cost is None else 1000 * cost.seconds_a_slice_and_question,
        "period": f"{facts.history.told} ({' to '.join(days)})" if days else facts.history.told,
        "made_at": moment(facts.made_at),
    }


def _rules(sides: Sequence[tuple[str, Rules]]) -> list[dict[str, Any]]:
    return [
        {
            "side": side,
            "name": rules.name,
            "told": rules.told,
            "digest": rules.digest[:_DIGEST],
            "whole_digest": rules.digest,
            "on": sum(not one.off_because for one in rules.protocols),
            "off": sum(bool(one.off_because) for one in rules.protocols),
        }
        for side, rules in sides
    ]


def _bar(protocol: ProtocolChange, widest: int) -> Bar:
    return Bar(*(_share(count, widest) for count in (protocol.removed, protocol.same, protocol.added)))


def _share(count: int, widest: int) -> float:
    """Per cent of the widest bar, wide enough to be seen."""
    return round(max(_LEAST, 96 * count / widest), 2) if count and widest else 0.0


def _told_study(found: StudyChanges, number: int, facts: PageFacts) -> dict[str, Any]:
    study = found.study
    told: dict[str, Any] = {
        "name": f"Study {number}",
        "uid": "",
        "received": "",
        "modalities": study.modalities,
        "description": study.header.study_description,
        "changes": [_told_change(one, study) for one in found.changes],
    }
    if facts.identifiers:
        told["name"] = study.accession_number or "no accession number"
        told["uid"] = study.header.study_uid
        told["received"] = "" if study.received_at is None else _minute(study.received_at)
    return told


def _minute(at: datetime) -> str:
    """A moment where this host stands, such as "29 Nov 2026 08:12"."""
    here = at.astimezone()
    return f"{day(here.date())} {here:%H:%M}"


def _told_change(change: Changed, study: KnownStudy) -> dict[str, Any]:
    series = study.series(change.series_uid)
    numbers = {one.series_uid: number for number, one in enumerate(study.header.series, start=1)}
    named = "" if series is None else series.series_description
    return {
        "added": change.added,
        "protocol": change.protocol,
        "series": named or f"series {numbers.get(change.series_uid, '')}".strip(),
        "what": "" if series is None else f"{series.modality}, {series.instances} instances",
        "before": _reason(change.before),
        "after": _reason(change.after),
        "missing": change.missing,
        "flags": change.flags,
        "questions": () if change.questions is None else change.questions.told,
    }


def _reason(verdict: Verdict | None) -> dict[str, Any]:
    if verdict is None:
        return {"asked": False, "reason": NOT_THERE, "version": ""}
    return {"asked": verdict.asked, "reason": verdict.reason, "version": verdict.version}


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("workflows.web"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _alone(part: str, title: str, values: dict[str, Any]) -> str:
    sheets = files("workflows.web") / "static"
    style = "\n".join((sheets / name).read_text("utf-8") for name in ("alone.css", "difference.css"))
    # The sheets are our own and hold no `<`.
    return (
        _environment()
        .get_template("alone.html")
        .render({"part": part, "title": title, "style": Markup(style), **values})
    )
