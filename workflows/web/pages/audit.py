"""The audit, for administrators: its rows, whether it is whole, and how far its receiver is."""

from __future__ import annotations

from datetime import UTC, datetime, time
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Request
from starlette.responses import HTMLResponse

from workflows.bootstrap import receiver_of
from workflows.state.auditing import AuditAction, AuditFilter, Outcome
from workflows.web.access import Permission, Person, needs
from workflows.web.auditing import looked_at_audit, recorded
from workflows.web.rendering import node_of, render

__all__ = ["router"]

router = APIRouter()
_ROWS = 100
_FAULTS = 20
Administrator = Annotated[Person, Depends(needs(Permission.ADMINISTER))]


@router.get("/audit")
def page(
    request: Request,
    person: Administrator,
    who: str = "",
    action: str = "",
    study: str = "",
    since: str = "",
    until: str = "",
    before: int | None = None,
) -> HTMLResponse:
    """The last rows that a filter chooses, the newest first; `before`: those with smaller numbers."""
    looked_at_audit(request)
    wrong, first, last = _days(since, until)
    chosen = AuditFilter(who or None, action or None, study or None, first, last)
    repository = node_of(request).repository
    rows = [] if wrong else repository.latest_audit(chosen, _ROWS + 1, before)
    asked = {"who": who, "action": action, "study": study, "since": since, "until": until}
    older = ""
    if len(rows) > _ROWS:
        rows = rows[:_ROWS]
        older = urlencode({**{name: value for name, value in asked.items() if value}, "before": rows[-1].number})
    return render(
        request,
        "audit.html",
        rows=rows,
        asked=asked,
        older=older,
        first=before is None,
        wrong=wrong,
        actions=[one.value for one in AuditAction],
        head=repository.audit_head(),
        receiver=_receiver(request),
        success=Outcome.SUCCESS,
    )


@router.post("/audit/verify")
def verify(request: Request, person: Administrator) -> dict[str, Any]:
    """Read the whole chain and say whether it is as it was recorded."""
    repository = node_of(request).repository
    faults, head = repository.verify_audit(), repository.audit_head()
    outcome = Outcome.SERIOUS_FAILURE if faults else Outcome.SUCCESS
    recorded(request, AuditAction.AUDIT_VERIFY, head.text, outcome=outcome, counts={"faults": len(faults)})
    told = [{"number": fault.number, "what": fault.what} for fault in faults[:_FAULTS]]
    return {"rows": head.count, "checkpoint": head.text, "count": len(faults), "faults": told}


def _days(since: str, until: str) -> tuple[str, datetime | None, datetime | None]:
    """From the beginning of one day to the end of another, in UTC; or what is wrong with them."""
    try:
        first = _midnight(since)
        last = None if not until else datetime.combine(datetime.fromisoformat(until).date(), time.max, UTC)
    except ValueError:
        return "A day is written as 2026-11-30.", None, None
    return "", first, last


def _midnight(day: str) -> datetime | None:
    return datetime.combine(datetime.fromisoformat(day).date(), time.min, UTC) if day else None


def _receiver(request: Request) -> dict[str, Any]:
    """How far the audit record repository is, for the page."""
    node = node_of(request)
    if not node.settings.audit.syslog.host:
        return {"name": "", "state": "none", "told": "", "waiting": 0, "sent_at": None}
    state = node.repository.audit_receiver()
    waiting = node.repository.audit_head().count - state.number
    return {
        "name": receiver_of(node.settings).name,
        "state": "fail" if state.told else "run" if waiting else "done",
        "told": state.told,
        "waiting": waiting,
        "sent_at": state.sent_at,
    }
