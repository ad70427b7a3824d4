"""The worklist's page: rows, filters in the address, searches beside it, hostile texts, events."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update
from sqlalchemy.orm import Session

from dicom_node.headers.patient import Patient
from tests.unit.workflows.web.conftest import OpenDoor
from workflows.bootstrap import Node
from workflows.quarantine import Quarantine, QuarantinedInstance
from workflows.state.records import NewInstance
from workflows.state.states import StudyState
from workflows.state.tables import StudyRow
from workflows.steps.worklist import refresh
from workflows.web.access import Person, Role
from workflows.web.app import create_app
from workflows.web.pages import worklist as page
from workflows.web.pages.worklist import _stream
from workflows.web.quarantined import quarantined
from workflows.web.refreshing import EVERYTHING, Changes, Refresher, changes_of

Client = Callable[[Role], TestClient]
HOSTILE = "<script>alert('x')</script>\u202e\x00^" + "é" * 65_536


def receive(node: Node, number: int, name: str = "PHANTOM^Alpha", **values: Any) -> str:
    """A study that came in and waits; returns its UID."""
    uid = f"1.2.{number}"
    new = NewInstance(
        uid, f"{uid}.1", f"{uid}.1.1", "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1", Path("p"), 1, "d", "CT1",
        **{"patient": Patient(f"P{number}", name=name), "modality": "CT", "accession_number": f"A-{number}", **values},
    )  # fmt: skip
    node.repository.record_instances([new], lambda _title: 60)
    return uid


def rows_of(client: TestClient, q: str = "", **filters: list[str]) -> str:
    answer = client.post("/worklist/rows", json={"filters": filters, "q": q})
    assert answer.status_code == 200, answer.text
    return answer.text


class Studies(HTMLParser):
    """The studies of rows, and every tag and attribute that there is."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.uids: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = dict(attributes)
        self.tags.add(tag)
        self.attributes |= set(named)
        if "data-study" in named:
            self.uids.append(named["data-study"] or "")


def test_the_page_shows_what_came_in(client_of: Client, node: Node) -> None:
    receive(node, 1)
    refresh(node.repository, node.folder)
    html = client_of(Role.VIEWER).get("/worklist").text
    assert Studies(html).uids == ["1.2.1"]
    assert "PHANTOM, Alpha" in html and "A-1" in html and "receiving" in html
    assert "Nothing to review." in html and "1 study is being read." in html


def test_an_empty_node_says_so(client_of: Client) -> None:
    client = client_of(Role.VIEWER)
    assert "Nothing to review." in client.get("/worklist").text
    for tab, told in (
        ("mine", "Nothing of yours"),
        ("reviewed", "Nothing is reviewed"),
        ("attention", "Nothing needs"),
        ("not-asked", "Every study is asked."),
    ):
        assert told in client.get(f"/worklist?tab={tab}").text
    assert "No study matches." in rows_of(client, q="nobody")


@pytest.mark.parametrize(
    "address", ["?tab=x", "?priority=x&received=y&page=z", "?page=after:9.9", "?modality=" + "x" * 9000]
)
def test_an_address_that_says_nothing_restricts_nothing_or_finds_nothing(client_of: Client, address: str) -> None:
    assert client_of(Role.VIEWER).get(f"/worklist{address}").status_code == 200


@pytest.mark.parametrize(
    "body", [{"filters": 1}, {"q": 1}, {"filters": {"tab": {"a": 1}}}, {"filters": {"modality": [None, 1, []]}}]
)
def test_a_body_that_is_none_is_refused_or_restricts_nothing(client_of: Client, body: dict[str, Any]) -> None:
    assert client_of(Role.VIEWER).post("/worklist/rows", json=body).status_code in (200, 422)


def test_filters_stand_in_links_and_what_was_searched_for_does_not(client_of: Client, node: Node) -> None:
    receive(node, 1)
    refresh(node.repository, node.folder)
    html = rows_of(client_of(Role.VIEWER), q="phantom", modality=["CT"], received=["week"])
    assert Studies(html).uids == ["1.2.1"]
    assert "/worklist?tab=mine&amp;modality=CT&amp;received=week" in html
    links = [part.partition('"')[0] for part in html.split('href="')[1:]]
    assert links and not any("phantom" in link.lower() for link in links)


def test_a_hostile_header_is_text_in_the_page_and_found_by_what_it_says(client_of: Client, node: Node) -> None:
    receive(node, 1, name=HOSTILE, modality="<b>", accession_number='"><img src=x>')
    refresh(node.repository, node.folder)
    client = client_of(Role.VIEWER)
    html = client.get("/worklist").text
    page = Studies(html)
    assert page.uids == ["1.2.1"]
    assert page.tags.isdisjoint({"img", "iframe"}) and "\u202e" not in html and "\x00" not in html
    assert "<script>alert" not in html and "&lt;script&gt;alert" in html
    assert Studies(rows_of(client, q="<script>alert('x')")).uids == ["1.2.1"]


def test_nothing_in_the_page_needs_a_relaxed_content_policy(client_of: Client, node: Node) -> None:
    receive(node, 1)
    refresh(node.repository, node.folder)
    page = Studies(client_of(Role.ADMINISTRATOR).get("/worklist").text)
    assert "style" not in page.attributes and "style" not in page.tags
    assert not [name for name in page.attributes if name.startswith("on")]


def test_pages_are_turned_by_where_they_begin(client_of: Client, node: Node) -> None:
    for number in range(100, 155):
        receive(node, number)
    refresh(node.repository, node.folder)
    client = client_of(Role.VIEWER)
    html = rows_of(client)
    first = Studies(html).uids
    after = html.partition('data-page="after:')[2].partition('"')[0]
    second = Studies(rows_of(client, page=[f"after:{after}"])).uids
    assert len(first) == 50 and len(second) == 5 and not set(first) & set(second)
    assert Studies(rows_of(client, page=[f"before:{second[0]}"])).uids == first


def test_quarantine_stands_among_what_needs_attention(client_of: Client, node: Node) -> None:
    client = client_of(Role.VIEWER)
    quarantine = Quarantine(node.folder.quarantine)
    for number in range(2):
        one = QuarantinedInstance(f"{number:064}", "1.2.3", "", "", "", "CT1", "2026-01-02T03:04:05", "no <UID>", 3)
        quarantine.keep(one, lambda file: file.write(b"abc"))
    html = client.get("/worklist?tab=attention").text
    assert "2 instances" in html and "no &lt;UID&gt;" in html and "administrator" in html
    assert quarantined(node.folder.quarantine)[0].instances == 2
    for one in quarantine.instances():
        quarantine.discard(one)
    assert "2 instances" not in client.get("/worklist?tab=attention").text


# --- Events -----------------------------------------------------------------------------------------------------------


async def _first(stream: AsyncIterator[str], count: int) -> list[str]:
    return [await asyncio.wait_for(anext(stream), 20) for _ in range(count)]


def _told(message: str) -> tuple[str, Any]:
    name, data = message.strip().splitlines()[-2:]
    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def test_a_change_in_the_database_comes_to_every_page_that_listens(node: Node) -> None:
    refresher, changes = Refresher(node), changes_of(node)
    assert refresher.once()

    async def listen() -> list[list[str]]:
        streams = [_stream(changes), _stream(changes)]
        assert [len(await _first(stream, 1)) for stream in streams] == [1, 1]
        receive(node, 7)
        await asyncio.to_thread(refresher.once)
        told = [await _first(stream, 2) for stream in streams]
        for stream in streams:
            await stream.aclose()  # type: ignore[attr-defined]
        return told

    for worklist, study in asyncio.run(listen()):
        assert _told(worklist) == ("worklist", {"study_uids": ["1.2.7"]})
        assert _told(study) == ("study", {"study_uid": "1.2.7", "what": "row"})
    assert node.repository.worklist_row("1.2.7") is not None


def test_streams_end_when_the_refresher_does_and_it_outlives_a_database_that_is_away(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows.web.refreshing._AWAY_S", 0.01)
    calls: list[int] = []

    def look(*_: object) -> set[str]:
        calls.append(1)
        raise RuntimeError("a defect")

    monkeypatch.setattr("workflows.web.refreshing.refresh", look)
    stop = threading.Event()

    async def run() -> list[str]:
        stream = _stream(changes_of(node))
        await anext(stream)
        thread = threading.Thread(target=Refresher(node).run, args=(stop,))
        thread.start()
        while len(calls) < 3:
            await asyncio.sleep(0.01)
        stop.set()
        rest = [message async for message in stream]
        thread.join()
        return rest

    assert asyncio.run(asyncio.wait_for(run(), 20)) == []


def test_a_page_that_does_not_read_keeps_no_more_than_that_anything_changed() -> None:
    async def run() -> set[tuple[str, str]]:
        changes = Changes()
        with changes.listening() as listener:
            changes.tell(f"1.{number}" for number in range(2000))
            await asyncio.wait_for(listener.wakes.wait(), 20)
            return listener.take()

    assert asyncio.run(run()) == {(EVERYTHING, "row")}


def test_events_are_a_stream_that_nobody_keeps(client_of: Client, node: Node) -> None:
    changes_of(node).close()
    with client_of(Role.VIEWER).stream("GET", "/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        assert "event: hello" in "".join(answer.iter_text())


def test_a_stream_ends_soon_after_its_session_and_nobody_takes_all(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "_ALIVE_S", 0.01)
    changes, asked = changes_of(node), []

    async def listen() -> list[str]:
        return [one async for one in page._stream(changes, "eva", lambda: bool(asked.append(1)) or len(asked) < 3)]

    told = asyncio.run(asyncio.wait_for(listen(), 10))
    assert told[0].startswith("retry:") and len(asked) == 3
    assert changes.listeners_of("eva") == 0


def test_one_account_has_so_many_streams_and_another_its_own(client_of: Client, node: Node) -> None:
    async def refused() -> int:
        changes = changes_of(node)
        with ExitStack() as stack:
            for _ in range(page._MOST_STREAMS):
                stack.enter_context(changes.listening("reviewer"))
            assert changes.listeners_of("viewer") == 0
            return (await asyncio.to_thread(client_of(Role.REVIEWER).get, "/events")).status_code

    assert asyncio.run(refused()) == 429


def test_readers_share_one_answer_and_each_is_told_only_of_others(node: Node) -> None:
    uid = receive(node, 1)
    refresh(node.repository, node.folder)
    node.repository.open_study(uid, "alpha", "PHANTOM^Alpha")
    changes = changes_of(node)
    changes.run()
    people = [Person(name, f"PHANTOM^{name.title()}", Role.REVIEWER, name) for name in ("alpha", "beta", "gamma")]
    clients = [TestClient(create_app(node, OpenDoor(one)), base_url="http://127.0.0.1") for one in people]
    for _ in range(2):
        alpha, beta, gamma = (rows_of(client) for client in clients)
        assert beta == gamma
        assert "open:" in beta and "open:" not in alpha
    receive(node, 2)
    refresh(node.repository, node.folder)
    changes.tell(["1.2.2"])
    assert "1.2.2" in rows_of(clients[1]), "what changed is not kept"
    answers = [clients[1].post("/worklist/rows", json={"filters": {}, "q": ""}) for _ in range(2)]
    assert answers[0].headers == answers[1].headers, "headers of one answer are not those of the next"
    changes.close()


def test_what_nothing_asks_is_told_without_rules_and_red_and_leads_who_may_to_operate(
    client_of: Client, node: Node
) -> None:
    uid = receive(node, 1)
    with Session(node.repository._engine) as session, session.begin():
        session.execute(update(StudyRow).values(state=StudyState.UNMATCHED, reason="ct: no code of SCT 818981001"))
    refresh(node.repository, node.folder)
    told = {role: rows_of(client_of(role), tab=["not-asked"]) for role in Role}
    assert Studies(rows_of(client_of(Role.VIEWER), tab=["attention"])).uids == []
    for role, html in told.items():
        assert Studies(html).uids == [uid]
        assert "No protocol asks for any of its series." in html and "administrator" in html
        assert 'class="why"' not in html and '<span class="state calm">not asked</span>' in html
        assert "medseg-node" not in html and "SCT" not in html
        assert (f'href="/operate?action=reread&amp;study={uid}"' in html) == (role is Role.ADMINISTRATOR)
    pages = {
        role: client_of(role).get(f"/studies/{uid}").text.partition('<script type="application/json"')[0]
        for role in Role
    }
    assert all("No protocol asks for any of its series." in page for page in pages.values())
    assert [role for role, page in pages.items() if "818981001" in page] == [Role.ADMINISTRATOR]


def test_a_search_says_in_which_list_it_looked_and_where_else_it_finds(client_of: Client, node: Node) -> None:
    receive(node, 1)
    with Session(node.repository._engine) as session, session.begin():
        session.execute(update(StudyRow).values(state=StudyState.UNMATCHED, reason="no rule"))
    refresh(node.repository, node.folder)
    html = rows_of(client_of(Role.VIEWER), "PHANTOM")
    assert "Searched in To review only." in html
    assert 'Found also: <a href="/worklist?tab=not-asked">Not asked 1</a>' in html
    assert "Searched in" not in rows_of(client_of(Role.VIEWER))
