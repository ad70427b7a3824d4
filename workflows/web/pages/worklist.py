"""The worklist: a row a study, its filters and tabs, and what changes in it, as server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from workflows.bootstrap import Node
from workflows.errors import DatabaseUnavailable
from workflows.state.auditing import AuditAction
from workflows.state.records import Priority
from workflows.state.worklist_records import Filters, Received, WorklistPage, WorklistRow, WorklistTab
from workflows.steps.worklist_state import NOT_ASKED
from workflows.web import worklist_words
from workflows.web.access import Permission, Person, needs
from workflows.web.auditing import recorded
from workflows.web.cookies import Cookie, cookie_of
from workflows.web.quarantined import Quarantined, quarantined
from workflows.web.refreshing import EVERYTHING, Changes, changes_of
from workflows.web.rendering import node_of, render
from workflows.web.sessions import signed_in_still

__all__ = ["filters_from", "router"]

router = APIRouter()

Looking = Annotated[Person, Depends(needs(Permission.LOOK))]

_LONGEST_QUERY = 200
_LONGEST_VALUE = 128
_MOST_VALUES = 50
_ALIVE_S = 15.0
_STREAM_S = 600.0
_MOST_STREAMS = 24
TAB_NAMES = {
    WorklistTab.REVIEW: "To review",
    WorklistTab.MINE: "Mine",
    WorklistTab.REVIEWED: "Reviewed",
    WorklistTab.ATTENTION: "Needs attention",
    WorklistTab.UNMATCHED: "Not asked",
}


@router.get("/")
def first_page(request: Request, person: Looking) -> RedirectResponse:
    """The worklist is what one opens."""
    return RedirectResponse(f"{node_of(request).settings.web.base_path}/worklist", 303)


@router.get("/worklist")
def worklist(request: Request, person: Looking) -> HTMLResponse:
    """The page; its filters stand in the address, what was searched for does not."""
    chosen: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        chosen.setdefault(name, []).append(value)
    filters = filters_from(chosen, person)
    return render(request, "worklist.html", **_values(filters, _known(request, filters)))


@router.post("/worklist/rows")
def worklist_rows(request: Request, person: Looking, asked: dict[str, Any], live: str = "") -> HTMLResponse:
    """What changes in the page: `{"filters": {name: [value, ...]}, "q": what is searched for}`, as HTML."""
    chosen, query = asked.get("filters", {}), asked.get("q", "")
    if not isinstance(chosen, dict) or not isinstance(query, str):
        raise HTTPException(422, "filters is an object of lists, q is a text")
    lists = {str(name): value if isinstance(value, list) else [value] for name, value in chosen.items()}
    filters = filters_from(lists, person, query)
    if query.strip() and live != "1":  # the audit knows that it was searched, never for what
        recorded(request, AuditAction.SEARCH, "worklist", details={"fields": sorted(lists)[:20]})
    known = _known(request, filters)
    made = changes_of(node_of(request)).kept(
        _alike(filters, known, person), lambda: bytes(render(request, "_rows.html", **_values(filters, known)).body)
    )
    return HTMLResponse(made, headers={"Cache-Control": "no-store"})


@dataclass(frozen=True)
class _Known:
    """What one answer is made of. `set_aside`: what lies in quarantine."""

    page: WorklistPage
    set_aside: tuple[Quarantined, ...]


def _known(request: Request, filters: Filters) -> _Known:
    node = node_of(request)
    return _Known(_page(node, filters), tuple(quarantined(node.folder.quarantine)))


def _alike(filters: Filters, known: _Known, person: Person) -> tuple[Hashable, ...]:
    """The same for two readers whose answers are the same to the byte, so that one answer is made for both.

    Of who looks only this stands in it: how much is theirs, that nobody is told what they have open themselves, and
    whether they may operate.
    """
    page = known.page
    opened = any(one.account == person.account for some in page.openings.values() for one in some)
    mine = page.counts.mine.get(person.account, 0)
    operates = person.may(Permission.OPERATE)  # then a row leads to the operator's page
    return _shared(filters), page.at, known.set_aside, mine, person.account if opened else "", operates


def filters_from(chosen: Mapping[str, Sequence[Any]], person: Person, query: str = "") -> Filters:
    """The filters of an address; whatever does not say anything restricts nothing."""

    def values(name: str) -> tuple[str, ...]:
        named = [str(value)[:_LONGEST_VALUE] for value in chosen.get(name, ()) if str(value).strip()]
        return tuple(dict.fromkeys(named))[:_MOST_VALUES]

    def first(name: str) -> str:
        return next(iter(values(name)), "")

    page, _, study_uid = first("page").partition(":")
    tabs, moments = {one.value: one for one in WorklistTab}, {one.value: one for one in Received}
    priorities = {one.value: one for one in Priority}
    return Filters(
        tab=tabs.get(first("tab"), WorklistTab.REVIEW),
        modality=values("modality"),
        protocol=values("protocol"),
        priority=tuple(priorities[one] for one in values("priority") if one in priorities),
        received=moments.get(first("received"), Received.ANY),
        change=bool(first("change")),
        query=query[:_LONGEST_QUERY],
        account=person.account,
        after=study_uid if page == "after" else "",
        before=study_uid if page == "before" else "",
    )


def _values(filters: Filters, known: _Known) -> dict[str, Any]:
    """What the templates know."""
    page, set_aside = known.page, known.set_aside
    facets = (filters.modality, filters.protocol, filters.priority, filters.change, filters.query)
    restricted = any(facets) or filters.received is not Received.ANY
    return {
        "filters": filters,
        "list": page,
        "counts": page.counts,
        "tabs": _tabs(page, filters.account, len(set_aside)),
        "set_aside": () if restricted or filters.tab is not WorklistTab.ATTENTION or page.place > 1 else set_aside,
        "address": lambda **changes: _address(filters, **changes),
        "facets": _facets(filters, page),
        "research": any(row.research for row in page.rows),
        "nothing": worklist_words.notices_when_empty(filters.tab, page.counts.reading, restricted=restricted),
        "restricted": restricted,
        "words": worklist_words,
        "not_asked": NOT_ASKED,
        "seen_as": _seen_as,
    }


def _page(node: Node, filters: Filters) -> WorklistPage:
    """The page that was asked for; what others ask for too is asked of the database once for each change."""
    shared = _shared(filters)
    return changes_of(node).kept(shared, lambda: node.repository.worklist(shared))


def _shared(filters: Filters) -> Filters:
    """The filters without who looks, where that changes nothing."""
    return filters if filters.tab is WorklistTab.MINE else replace(filters, account="")


def _tabs(page: WorklistPage, account: str, set_aside: int) -> list[tuple[WorklistTab, str, int]]:
    counted = {**page.counts.tabs, WorklistTab.MINE: page.counts.mine.get(account, 0)}
    counted[WorklistTab.ATTENTION] += set_aside
    return [(tab, name, counted[tab]) for tab, name in TAB_NAMES.items()]


def _facets(filters: Filters, page: WorklistPage) -> list[dict[str, Any]]:
    """The filters beside the list: of each its name, its words, and its values with how many there would be."""
    counts = page.counts
    by_name = {
        "modality": ("Modality", counts.modality, filters.modality),
        "protocol": ("Protocol", counts.protocol, filters.protocol),
    }
    facets = [
        {
            "name": name,
            "title": title,
            "values": [
                (value, value, counted.get(value, 0), value in chosen)
                for value in sorted({*counted, *chosen}, key=lambda one: (-counted.get(one, 0), one))
            ],
        }
        for name, (title, counted, chosen) in by_name.items()
    ]
    facets.append(
        {
            "name": "priority",
            "title": "Priority",
            "values": [
                (
                    one.value,
                    "STAT" if one is Priority.STAT else "Routine",
                    counts.priority[one],
                    one in filters.priority,
                )
                for one in Priority
            ],
        }
    )
    return facets


def _address(filters: Filters, **changes: str) -> str:
    """The query of an address with the same filters, but for these; another tab or filter begins at the first page."""
    values: list[tuple[str, str]] = []
    tab = changes.get("tab", filters.tab.value)
    if tab != WorklistTab.REVIEW.value:
        values.append(("tab", tab))
    values += [("modality", one) for one in filters.modality] + [("protocol", one) for one in filters.protocol]
    values += [("priority", one.value) for one in filters.priority]
    values += [("received", filters.received.value)] if filters.received is not Received.ANY else []
    values += [("change", "1")] if filters.change else []
    values += [("page", changes["page"])] if "page" in changes else []
    return f"?{urlencode(values)}" if values else "?"


def _seen_as(row: WorklistRow) -> list[str]:
    """What a row says in calm words beside its chips."""
    words = worklist_words
    if row.tab.value == "reading":
        if row.answered or row.state.value == "reading":
            return [f"being read, {row.answered} of {row.questions} answered"]
        return [words.state_words(row.state)[0]]
    if not row.questions:
        return []
    nothing = [f"looked for {row.not_seen}, nothing seen"] if row.not_seen and not row.chips else []
    some = [f"{row.not_seen} not seen"] if row.not_seen and row.chips else []
    return nothing + some + ([f"{row.not_assessed} not assessed"] if row.not_assessed else [])


# --- What changes, as it does -----------------------------------------------------------------------------------------


@router.get("/events")
async def events(request: Request, person: Looking) -> StreamingResponse:
    """Server-sent events: `worklist` {"study_uids": [...]}, `study` {"study_uid", "what"}; "" stands for any study.

    A stream ends after ten minutes, and the browser opens another. It ends soon after its session has ended. One
    account has a few dozen at once, so that nobody takes all connections.
    """
    changes = changes_of(node_of(request))
    if changes.listeners_of(person.account) >= _MOST_STREAMS:
        sentence = f"{_MOST_STREAMS} pages of this account are open already: close some of them"
        raise HTTPException(429, sentence, {"Retry-After": "60"})

    def holds() -> bool:
        return _session_holds(request)

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_stream(changes, person.account, holds), media_type="text/event-stream", headers=headers)


async def _stream(changes: Changes, account: str = "", holds: Callable[[], bool] = lambda: True) -> AsyncIterator[str]:
    """`holds`: whether it may go on, asked now and then."""
    loop = asyncio.get_running_loop()
    until, look_at = loop.time() + _STREAM_S, loop.time() + _ALIVE_S
    with changes.listening(account) as listener:
        yield "retry: 1000\nevent: hello\ndata: {}\n\n"
        while not listener.closed and loop.time() < until:
            if loop.time() >= look_at:
                if not await run_in_threadpool(holds):
                    return
                look_at = loop.time() + _ALIVE_S
            try:
                await asyncio.wait_for(listener.wakes.wait(), _ALIVE_S)
            except TimeoutError:
                yield ": alive\n\n"
                continue
            for message in _messages(listener.take()):
                yield message


def _session_holds(request: Request) -> bool:
    """Whether the session that the stream was opened in still holds; a door without sessions ends none."""
    try:
        return not cookie_of(request, Cookie.SESSION) or signed_in_still(request)
    except DatabaseUnavailable:
        return True


def _messages(changed: set[tuple[str, str]]) -> list[str]:
    uids = sorted({uid for uid, _ in changed})
    if not uids:
        return []
    told = [] if EVERYTHING in uids else uids
    messages = [_event("worklist", {"study_uids": told})]
    messages += [_event("study", {"study_uid": uid, "what": what}) for uid, what in sorted(changed) if uid]
    return messages


def _event(name: str, told: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(told)}\n\n"
