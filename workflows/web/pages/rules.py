"""The reading protocols in service as pages: the list, and each as a person reads it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import HTMLResponse, Response

from workflows.web.access import Permission, Person, needs
from workflows.web.failures import draw_failure
from workflows.web.node_rules import rules_of, text_of
from workflows.web.rendering import node_of, render
from workflows.web.rules_model import rule_rows, rule_told

__all__ = ["router"]

router = APIRouter(prefix="/rules")
_Operator = Annotated[Person, Depends(needs(Permission.OPERATE))]
_COUNTED_DAYS = 30


@router.get("")
def page(request: Request, person: _Operator) -> HTMLResponse:
    """What is in service, what is refused, what is warned of."""
    node, rules = node_of(request), rules_of(request)
    asked = node.repository.series_asked(datetime.now(UTC) - timedelta(days=_COUNTED_DAYS))
    since = {one.digest: one.first_used_at for one in node.repository.protocol_versions()}
    rows = rule_rows(rules.protocols, asked, since)
    return render(
        request,
        "rules.html",
        page="rules",
        rules=rules,
        rows=rows,
        off=sum(bool(row.protocol.off_because) for row in rows),
        days=_COUNTED_DAYS,
        folder=str(node.settings.protocols.directory),
    )


@router.get("/{name:path}")
@router.get("/named/{name:path}")  # of the two that is tried first
def one(request: Request, person: _Operator, name: str) -> Response:
    """One protocol: its conditions, questions and examples in words, its file, and its earlier versions."""
    rules = rules_of(request)
    protocol = rules.named(name)
    if protocol is None:
        return draw_failure(request, 404, "No protocol of this name is in service; Rules lists those that are.")
    versions = node_of(request).repository.protocol_versions(name)
    return render(
        request,
        "rule.html",
        page="rules",
        rule=rule_told(protocol, rules.protocols),
        text=rules.text_of(protocol),
        used=next((one for one in versions if one.digest == protocol.digest), None),
        earlier=[(one, text_of(one.contents)) for one in versions if one.digest != protocol.digest],
    )
