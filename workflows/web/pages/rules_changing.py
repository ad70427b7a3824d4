"""Edited protocols tried before they go live: their mistakes, and what they would ask otherwise of past studies."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse

from workflows.protocols.replaying import difference
from workflows.state.auditing import AuditAction
from workflows.web.access import Permission, Person, needs
from workflows.web.auditing import recorded
from workflows.web.bodies import takes_body
from workflows.web.difference_page import History, PageFacts, Rules, difference_values
from workflows.web.node_rules import NodeRules, checking, rules_of
from workflows.web.past_studies import PastStudies, past_studies
from workflows.web.rendering import node_of, render
from workflows.web.rules_proposed import Proposal, proposed
from workflows.web.uploads import Brought, brought

__all__ = ["router"]

router = APIRouter(prefix="/rules/change")
_Operator = Annotated[Person, Depends(needs(Permission.OPERATE))]
_MOST_FILES = 50
_DAYS, _MOST_DAYS = 30, 365
_MOST_STUDIES = 2_000
_SHOWN_STUDIES = 200
_one_at_a_time = threading.Lock()
"""A replay takes a processor for seconds; the pages of all others wait for nothing else in this process."""


@router.get("")
def page(request: Request, person: _Operator) -> HTMLResponse:
    """The form."""
    return render(
        request, "rules_change.html", page="rules", days=_DAYS, most_days=_MOST_DAYS, most_files=_MOST_FILES,
        most_studies=_MOST_STUDIES,
    )  # fmt: skip


@router.post("")
@takes_body(megabytes=5)
async def tried(request: Request, person: _Operator) -> HTMLResponse:
    """What uploaded protocols would do; nothing of them is kept, nothing goes live."""
    form = await brought(request, _MOST_FILES)
    return await run_in_threadpool(_tried, request, form, _days_of(form))


def _days_of(form: Brought) -> int:
    written = form.texts.get("days", str(_DAYS)).strip()
    if written.isascii() and written.isdecimal() and len(written) < 5 and 1 <= int(written) <= _MOST_DAYS:
        return int(written)
    raise HTTPException(422, f"Days is a whole number from 1 to {_MOST_DAYS}.")


def _tried(request: Request, form: Brought, days: int) -> HTMLResponse:
    if not _one_at_a_time.acquire(blocking=False):
        raise HTTPException(429, "Another change is being tried just now. Try again in a moment.", {"Retry-After": "5"})
    try:
        rules = rules_of(request)
        proposal = proposed(form.files, rules, checking(node_of(request)))
        if proposal.mistakes:
            return render(request, "_changed.html", proposal=proposal, values=None, past=None)
        past = past_studies(node_of(request), days, _MOST_STUDIES)
        recorded(request, AuditAction.SEARCH, "rules-change", counts={"studies": len(past.studies)})
        values = _values(request, rules, proposal, past, days)
        return render(request, "_changed.html", proposal=proposal, values=values, past=past, **values)
    finally:
        _one_at_a_time.release()


def _values(request: Request, rules: NodeRules, proposal: Proposal, past: PastStudies, days: int) -> dict[str, Any]:
    """What the template of a difference needs."""
    now = datetime.now(UTC)
    at_most = node_of(request).settings.protocols.at_most
    found = difference(past.studies, rules.protocols, proposal.after, at_most, past.cost)
    facts = PageFacts(
        history=History(f"the last {days} days" if days > 1 else "the last day", now - timedelta(days=days), now),
        made_at=now,
        software=version("medseg-node"),
        cost=past.cost,
        limit=_SHOWN_STUDIES,
    )
    before = Rules("in service", rules.protocols, rules.files.digest)
    return difference_values(found, before, Rules("with the change", proposal.after), facts)
