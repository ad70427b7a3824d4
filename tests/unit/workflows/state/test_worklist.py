"""The worklist's page: every filter, the order, pages that hold still, and searches that nobody can break."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

import pytest

from dicom_node.headers.study_facts import StudyFacts
from tests.unit.workflows.state.conftest import World
from workflows.state.records import NewInstance, Priority
from workflows.state.worklist_records import Filters, Received, ShownState, Tab, WorklistRow, WorklistTab
from workflows.state.worklist_text import folded, search_words, searched, shown_name, shown_text

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)


def row(number: int, **values: object) -> WorklistRow:
    """A row of study 1.2.`number`."""
    plain = WorklistRow(
        study_uid=f"1.2.{number}", stamp="s", generation=1, patient="PHANTOM, Alpha", patient_id=f"P{number}",
        search=searched("PHANTOM^Alpha", f"P{number}", f"A{number}", f"1.2.{number}"), accession=f"A{number}",
        description="", study_date="", study_time="", sex="", age="", modalities=("CT",), protocols=("abdomen",),
        asked=("abdomen 1",), chips=(), not_seen=0, not_assessed=0, state=ShownState.TO_REVIEW, answered=1,
        questions=1, tab=Tab.REVIEW, attention="", remedy="", waits_for="", overdue_at=None,
        priority=Priority.ROUTINE, changed=False, first_received_at=NOW, last_received_at=NOW, acquired_at=None,
        answered_at=None, minutes=None, verdicts={}, reviewer="", reviewer_name="", review_state="", reviewed_at=None,
        proposals=0, research=False, facts=StudyFacts(),
    )  # fmt: skip
    return replace(plain, **values)  # type: ignore[arg-type]


def keep(world: World, *rows: WorklistRow) -> None:
    """Have the studies of rows, and the rows."""
    new = [
        NewInstance(one.study_uid, f"{one.study_uid}.1", f"{one.study_uid}.1.1", "c", "t", Path("p"), 1, "d", "CT1")
        for one in rows
    ]
    world.repository.record_instances(new, lambda _title: 60)
    world.repository.keep_worklist_rows(rows)


def uids(world: World, filters: Filters, limit: int = 1000) -> list[str]:
    return [one.study_uid for one in world.repository.worklist(filters, limit).rows]


def dealt(count: int) -> Iterator[WorklistRow]:
    """Rows that differ in all that can be filtered."""
    chance = random.Random(3)
    tabs = {Tab.REVIEW: ShownState.TO_REVIEW, Tab.READING: ShownState.READING, Tab.REVIEWED: ShownState.ACCEPTED}
    for number in range(count):
        tab = chance.choice(list(Tab))
        yield row(
            number,
            tab=tab,
            state=tabs.get(tab, chance.choice([ShownState.FAILED, ShownState.UNMATCHED])),
            attention=chance.choice(["", "It failed."]),
            overdue_at=chance.choice([None, NOW - timedelta(1), NOW + timedelta(1)]),
            priority=chance.choice(list(Priority)),
            changed=chance.random() < 0.4,
            modalities=tuple(sorted(chance.sample(["CT", "MR", "DX", "C%", "C_"], chance.randint(0, 3)))),
            protocols=tuple(chance.sample(["abdomen", "heart", "a|b"], chance.randint(0, 2))),
            first_received_at=NOW - timedelta(hours=chance.randint(0, 24 * 20)),
            reviewer=chance.choice(["", "reader", "other"]),
            review_state=chance.choice(["DRAFT", "WRITTEN", "FAILED"]),
            reviewed_at=NOW - timedelta(minutes=number) if tab is Tab.REVIEWED else None,
        )


def is_chosen(one: WorklistRow, filters: Filters) -> bool:
    """What the database has to find, said otherwise."""
    midnight = NOW.astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
    on_tab = {
        WorklistTab.REVIEW: one.tab in (Tab.REVIEW, Tab.READING),
        WorklistTab.MINE: one.reviewer == filters.account and one.review_state in ("DRAFT", "FAILED"),
        WorklistTab.REVIEWED: one.tab is Tab.REVIEWED,
        WorklistTab.ATTENTION: bool(one.attention) or one.is_overdue(NOW),
        WorklistTab.UNMATCHED: one.state is ShownState.UNMATCHED,
    }[filters.tab]
    since = {Received.TODAY: midnight, Received.WEEK: NOW - timedelta(days=7), Received.ANY: NOW - timedelta(9999)}
    return (
        on_tab
        and (not filters.modality or bool(set(filters.modality) & set(one.modalities)))
        and (not filters.protocol or bool(set(filters.protocol) & {name.replace("|", "/") for name in one.protocols}))
        and (not filters.priority or one.priority in filters.priority)
        and one.first_received_at >= since[filters.received]
        and (one.changed or not filters.change)
        and all(word in one.search for word in search_words(filters.query))
    )


def test_every_filter_finds_what_looking_at_each_row_finds(world: World) -> None:
    rows = list(dealt(120))
    world.clock[0] = NOW
    keep(world, *rows)
    chosen = product(
        WorklistTab, [(), ("CT",), ("MR", "C_")], [(), ("heart",), ("a/b",)], [(), (Priority.STAT,)], Received,
        [False, True], ["", "p1"],
    )  # fmt: skip
    for tab, modality, protocol, priority, received, change, query in chosen:
        filters = Filters(tab, modality, protocol, priority, received, change, query, "reader")
        expected = [one for one in rows if is_chosen(one, filters)]
        page = world.repository.worklist(filters, 1000)
        assert {one.study_uid for one in page.rows} == {one.study_uid for one in expected}, filters
        assert page.total == len(expected)


def test_what_stands_beside_a_filter_is_how_many_there_would_be(world: World) -> None:
    rows = list(dealt(120))
    world.clock[0] = NOW
    keep(world, *rows)
    filters = Filters(modality=("CT",), priority=(Priority.STAT,), received=Received.WEEK, account="reader")
    counts = world.repository.worklist(filters).counts
    for value, count in counts.modality.items():
        assert count == sum(is_chosen(one, replace(filters, modality=(value,))) for one in rows)
    for priority in Priority:
        assert counts.priority[priority] == sum(is_chosen(one, replace(filters, priority=(priority,))) for one in rows)
    for received in Received:
        wanted = replace(filters, received=received)
        assert counts.received.get(received, 0) == sum(is_chosen(one, wanted) for one in rows)
    assert counts.change == sum(is_chosen(one, replace(filters, change=True)) for one in rows)
    assert counts.tabs[WorklistTab.MINE] == sum(
        is_chosen(one, Filters(WorklistTab.MINE, account="reader")) for one in rows
    )
    assert counts.waiting == counts.tabs[WorklistTab.REVIEW] == sum(one.tab is Tab.REVIEW for one in rows)
    assert counts.reading == sum(one.tab is Tab.READING for one in rows)
    assert counts.oldest == min(one.first_received_at for one in rows if one.tab is Tab.REVIEW)


def test_what_needs_eyes_comes_first(world: World) -> None:
    stat = {"priority": Priority.STAT}
    keep(
        world,
        row(1, first_received_at=NOW - timedelta(hours=1)),
        row(2, first_received_at=NOW - timedelta(hours=3)),
        row(3, changed=True),
        row(4, **stat),
        row(5, changed=True, **stat),
    )
    assert uids(world, Filters()) == ["1.2.5", "1.2.4", "1.2.3", "1.2.2", "1.2.1"]


def test_what_is_still_being_read_comes_behind_what_can_be_reviewed(world: World) -> None:
    reading = {"tab": Tab.READING, "state": ShownState.READING}
    keep(world, row(1, priority=Priority.STAT, **reading), row(2), row(3, **reading), row(4, changed=True))
    page = world.repository.worklist(Filters())
    assert [one.study_uid for one in page.rows] == ["1.2.4", "1.2.2", "1.2.1", "1.2.3"]
    assert (page.total, page.reading) == (4, 2)
    first = world.repository.worklist(Filters(), 3)
    last = world.repository.worklist(Filters(after=first.rows[-1].study_uid), 3)
    assert ([one.study_uid for one in last.rows], last.place) == (["1.2.3"], 4)
    back = world.repository.worklist(Filters(before="1.2.1"), 3)
    assert ([one.study_uid for one in back.rows], back.place) == (["1.2.4", "1.2.2"], 1)


def test_the_latest_review_comes_first_among_those_reviewed(world: World) -> None:
    for number in range(3):
        keep(world, row(number, tab=Tab.REVIEWED, reviewed_at=NOW + timedelta(minutes=number)))
    assert uids(world, Filters(WorklistTab.REVIEWED)) == ["1.2.2", "1.2.1", "1.2.0"]


@pytest.mark.parametrize("tab", [WorklistTab.REVIEW, WorklistTab.REVIEWED])
def test_pages_show_each_study_once_while_others_come_and_go(world: World, tab: WorklistTab) -> None:
    is_reviewed = tab is WorklistTab.REVIEWED
    kind = {"tab": Tab.REVIEWED} if is_reviewed else {"tab": Tab.REVIEW}
    rows = [row(n, **kind, reviewed_at=NOW - timedelta(minutes=n) if is_reviewed else None) for n in range(100, 125)]
    keep(world, *rows)
    filters, seen, pages = Filters(tab), [], []
    while True:
        page = world.repository.worklist(filters, 10)
        seen += [one.study_uid for one in page.rows]
        pages.append((page.place, [one.study_uid for one in page.rows]))
        # One that comes first, and the one that the next page begins behind goes elsewhere.
        new = row(len(pages), **kind, priority=Priority.STAT, reviewed_at=NOW + timedelta(hours=len(pages)))
        keep(world, new)
        if not page.more:
            break
        filters = Filters(tab, after=page.rows[-1].study_uid)
    assert [uid for uid in seen if uid in {one.study_uid for one in rows}] == [one.study_uid for one in rows]
    assert len(seen) == len(set(seen))
    assert [place for place, _ in pages] == [1, 12, 23]  # one more stands before each
    back = world.repository.worklist(Filters(tab, before=pages[-1][1][0]), 10)
    assert [one.study_uid for one in back.rows] == pages[-2][1]


def test_a_page_behind_a_study_that_is_gone_is_the_first(world: World) -> None:
    keep(world, row(1))
    assert uids(world, Filters(after="9.9.9")) == ["1.2.1"]


NAMES = [
    ("MÜLLER^Jörg", "muller jorg"),
    ("Straße^Ämilie", "strasse"),
    ("Łukasz^Øystein", "oystein lukasz"),
    ("Yamada^Tarou=山田^太郎=やまだ^たろう", "山田"),
    ("Hong^Gildong=洪^吉洞=홍^길동", "홍 길동"),
    ("ИВАНОВ^Пётр", "иванов петр"),
    ("100%_sure\\^x", "100%_sure\\"),
    ("<script>alert(1)</script>^x", "<script>alert(1)</script>"),
    ("O'Neil; DROP TABLE worklist^--", "o'neil"),
    ("\u202egnirts^x", "gnirts"),
]


@pytest.mark.parametrize(("name", "query"), NAMES)
def test_a_name_is_found_without_case_and_accents_in_any_of_its_writings(world: World, name: str, query: str) -> None:
    keep(world, row(1, search=searched(name)), row(2, search=searched("PHANTOM^Other")))
    assert uids(world, Filters(query=query)) == ["1.2.1"]
    assert uids(world, Filters(query=query.upper())) == ["1.2.1"]


@pytest.mark.parametrize("query", ["%", "_", "\\", "%%%", "__", "\\%", "a\x00b", "'", '"', "x" * 70_000, "\ud800"])
def test_nothing_typed_is_more_than_text(world: World, query: str) -> None:
    keep(world, row(1))
    assert uids(world, Filters(query=query)) == []


def test_a_row_takes_what_a_header_may_hold(world: World) -> None:
    hostile = "\x00\x1b[31m<b>\u202e" + "x" * 65_536
    keep(world, row(1, search=searched(hostile), patient=shown_name(hostile), modalities=("|", "C\x00T")))
    (found,) = world.repository.worklist(Filters()).rows
    assert len(found.patient) <= 200
    assert "\u202e" not in found.patient and "\x1b" not in found.patient


def test_a_row_is_read_as_it_was_kept(world: World) -> None:
    facts = StudyFacts("CT", "2026-01-02", "08:12", "F", "63 y", NOW)
    kept = row(1, facts=facts, acquired_at=NOW, answered_at=NOW, minutes=4, verdicts={"accept": 2}, overdue_at=NOW)
    keep(world, kept)
    assert world.repository.worklist_row("1.2.1") == kept
    changed = replace(kept, state=ShownState.ACCEPTED, tab=Tab.REVIEWED)
    keep(world, changed)
    assert world.repository.worklist_row("1.2.1") == changed


def test_of_a_study_that_is_gone_no_row_is_kept(world: World) -> None:
    world.repository.keep_worklist_rows([row(1)])
    assert world.repository.worklist_size() == 0


def test_names_are_shown_as_people_write_them() -> None:
    assert shown_name("PHANTOM^Alpha") == "PHANTOM, Alpha"
    assert shown_name("PHANTOM^Alpha^Beta^Dr") == "PHANTOM, Alpha Beta"
    assert shown_name("=山田^太郎") == "山田, 太郎"
    assert shown_name("^^") == shown_name("") == ""
    assert shown_text("a\u202eb\tc\u200b") == "a b c"
    assert folded("  ÀÉ\u0301  x ") == "ae x"
