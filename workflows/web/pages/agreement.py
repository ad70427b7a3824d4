"""Agreement: how often reviewers agree with what was answered; tables, plots, CSV and JSON."""

from __future__ import annotations

from datetime import UTC, datetime, time
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, HTTPException, Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from workflows.state.agreeing import AgreementFilter, CaseKind, Grouping
from workflows.steps.agreement import count_reviews
from workflows.steps.agreement_report import as_csv, as_json, per_cent, value_and_interval
from workflows.steps.agreement_statistics import FEW, AgreementSummary, summed_up
from workflows.web.access import Permission, Person, needs
from workflows.web.agreement_plots import interval_plot, trend_plot
from workflows.web.auditing import exported
from workflows.web.rendering import node_of, render

__all__ = ["router"]

router = APIRouter()
Reader = Annotated[Person, Depends(needs(Permission.AGREEMENT))]
_PLOTTED = 12
_KEPT = 64


def _asked(
    by: str = "finding",
    question: str = "",
    finding: str = "",
    protocol: str = "",
    weights: str = "",
    scanner: str = "",
    since: str = "",
    until: str = "",
) -> dict[str, str]:
    """What the address asks for."""
    return {
        "by": by, "question": question, "finding": finding, "protocol": protocol, "weights": weights,
        "scanner": scanner, "since": since, "until": until,
    }  # fmt: skip


Asked = Annotated[dict[str, str], Depends(_asked)]


@router.get("/agreement")
def page(request: Request, person: Reader, asked: Asked) -> HTMLResponse:
    """Tables and plots of what the address asks for."""
    summary = _summary(request, asked)
    groups = summary.groups
    shown = [group for group in groups if not group.few][:_PLOTTED]
    kept = {name: value for name, value in asked.items() if value}
    return render(
        request,
        "agreement.html",
        asked=asked,
        summary=summary,
        groupings=[one.value for one in Grouping],
        kinds=list(CaseKind)[:4],
        per_cent=per_cent,
        told=value_and_interval,
        few=FEW,
        plot=interval_plot([(group.name, group.verdicts[CaseKind.ACCEPT]) for group in shown]),
        trend=trend_plot(summary.weeks),
        query=urlencode(kept),
        switches=[(one.value, urlencode({**kept, "by": one.value})) for one in Grouping],
        filters=[
            (name, asked[name]) for name in ("question", "finding", "protocol", "weights", "scanner") if asked[name]
        ],
        cleared=urlencode({name: value for name, value in kept.items() if name in ("by", "since", "until")}),
        narrowed={group.name: urlencode({**kept, asked["by"]: group.name}) for group in groups},
    )


@router.get("/agreement.csv")
def comma_separated(request: Request, person: Reader, asked: Asked) -> Response:
    """The table as CSV. That it was exported is recorded."""
    summary = _summary(request, asked)
    exported(request, "agreement.csv", count=len(summary.groups))
    headers = {"Content-Disposition": 'attachment; filename="agreement.csv"', "Cache-Control": "no-store"}
    return Response(as_csv(summary), media_type="text/csv; charset=utf-8", headers=headers)


@router.get("/agreement.json")
def plain_json(request: Request, person: Reader, asked: Asked) -> JSONResponse:
    """All of it as JSON. That it was exported is recorded."""
    summary = _summary(request, asked)
    exported(request, "agreement.json", count=len(summary.groups))
    return JSONResponse(as_json(summary), headers={"Cache-Control": "no-store"})


def _summary(request: Request, asked: dict[str, str]) -> AgreementSummary:
    """Count what is new, and sum up. Raises 422 for a grouping or a day that is none."""
    node = node_of(request)
    try:
        grouping = Grouping(asked["by"])
        since = datetime.combine(_day(asked["since"]), time.min, UTC) if asked["since"] else None
        until = datetime.combine(_day(asked["until"]), time.max, UTC) if asked["until"] else None
    except ValueError as error:
        named = ", ".join(one.value for one in Grouping)
        raise HTTPException(422, f"by is one of {named}; a day is written as 2026-11-30") from error
    count_reviews(node.repository, node.folder)
    kept = _kept(request)
    key = (node.repository.agreement_version(), *asked.values())
    if (known := kept.get(key)) is not None:
        return known
    named_only: dict[str, Any] = {
        name: asked[name] or None for name in ("question", "finding", "protocol", "weights", "scanner")
    }
    chosen = AgreementFilter(**named_only, since=since, until=until)
    summary = summed_up(node.repository.agreement_cases(chosen), grouping)
    if len(kept) >= _KEPT:
        kept.clear()
    kept[key] = summary
    return summary


def _kept(request: Request) -> dict[tuple[str, ...], AgreementSummary]:
    """What was summed up, by what was counted and asked: ten thousand reviews take a second, and change seldom."""
    state = request.app.state
    if not hasattr(state, "agreement"):
        state.agreement = {}
    kept: dict[tuple[str, ...], AgreementSummary] = state.agreement
    return kept


def _day(text: str) -> Any:
    return datetime.fromisoformat(text).date()
