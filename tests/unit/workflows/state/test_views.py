"""Views: what is shown takes a fixed number of queries, waits for no writer, and is what the rows say."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event

from dicom_node.results.profiles import Profile
from workflows.state.engine import open_engine, upgrade_schema
from workflows.state.records import Destination, NewInstance
from workflows.state.repository import Repository
from workflows.state.states import StudyState
from workflows.state.views import Selection

if TYPE_CHECKING:
    from .conftest import World

STUDY = "1.2.3"


@contextmanager
def statements(url: str) -> Iterator[tuple[Repository, list[str]]]:
    """A repository of its own on a database, and the statements that it sends."""
    engine = open_engine(url)
    sent: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda _c, _cursor, statement, *_: sent.append(statement))
    yield Repository(engine), sent
    engine.dispose()


def many(world: World, count: int) -> None:
    for number in range(count):
        uid = f"1.3.{number}"
        new = NewInstance(
            uid, f"{uid}.1", f"{uid}.1.1", "c", "t", Path(uid), 1, "d", "CT1", accession_number=f"A{number}"
        )
        world.repository.record_instances([new], lambda _title: 1)
        world.tick(1)
        world.complete()
        plan = world.job_plan(f"a{number}", (Destination("pacs", Profile.AIR), Destination("viewer", Profile.OHIF)))
        assert world.repository.save_plan(uid, 1, [plan], [], "planned")
        assert world.answer(f"a{number}")


def test_a_page_of_studies_takes_as_many_queries_as_one_study(world: World, url: str) -> None:
    many(world, 12)
    counted = []
    for limit in (1, 12):
        with statements(url) as (repository, sent):
            views = repository.study_views(limit=limit)
            assert len(views) == limit
            assert [len(one.deliveries) for one in views[0].jobs[0].objects] == [1, 1, 1, 1]
            counted.append(len([one for one in sent if one.startswith("SELECT")]))
    assert counted[0] == counted[1] <= 7
    with statements(url) as (repository, sent):
        assert repository.study_details("1.3.5") is not None
        assert len([one for one in sent if one.startswith("SELECT")]) <= 14


def test_selections_restrict_what_is_listed(world: World) -> None:
    many(world, 3)
    world.receive()

    def listed(selection: Selection) -> list[str]:
        uids = [view.study.study_uid for view in world.repository.study_views(selection)]
        assert world.repository.count_studies(selection) == len(uids)
        return uids

    now = world.clock[0]
    assert listed(Selection()) == [STUDY, "1.3.2", "1.3.1", "1.3.0"]
    assert listed(Selection(accession_number="A1")) == ["1.3.1"]
    assert listed(Selection(state=StudyState.RECEIVING)) == [STUDY]
    assert listed(Selection(protocol="abdomen")) == ["1.3.2", "1.3.1", "1.3.0"]
    assert listed(Selection(protocol="chest")) == []
    assert listed(Selection(since=now)) == [STUDY]
    assert listed(Selection(until=now - timedelta(seconds=2))) == ["1.3.1", "1.3.0"]
    assert listed(Selection(protocol="abdomen", accession_number="A0", state=StudyState.DELIVERING)) == ["1.3.0"]


def test_details_count_what_is_there_and_name_what_is_lost(world: World) -> None:
    for number in (1, 2, 3):
        world.receive(number)
    world.repository.lose_instances(STUDY, ["1.2.3.1/2.a"])
    details = world.repository.study_details(STUDY)
    assert details is not None
    assert [(one.series.series_uid, one.instances) for one in details.series] == [("1.2.3.1", 2)]
    assert [instance.sop_instance_uid for instance in details.lost] == ["1.2.3.1.2"]
    assert world.repository.study_details("9.9") is None


def test_to_read_takes_no_write_lock_on_sqlite(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    engine = open_engine(f"sqlite:///{file}")
    upgrade_schema(engine)
    repository = Repository(engine)
    writer = sqlite3.connect(file, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    try:
        assert repository.study_views() == []
        assert repository.study("1.2") is None and repository.node_uid() is None
        assert not repository.take_due()
        assert repository.complete_quiet_studies() == []
        assert repository.own_results(["1.2.3"]) == set()
    finally:
        writer.execute("ROLLBACK")
        writer.close()
        engine.dispose()


@pytest.mark.parametrize("look", ["take_due", "complete_quiet_studies"])
def test_what_is_due_is_found_by_index(tmp_path: Path, look: str) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'state.db'}")
    upgrade_schema(engine)
    sent: list[tuple[str, object]] = []
    event.listen(engine, "before_cursor_execute", lambda _c, _cursor, sql, given, *_: sent.append((sql, given)))
    getattr(Repository(engine), look)()
    with engine.connect() as connection:
        for sql, given in [one for one in sent if one[0].startswith("SELECT")]:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", given).all()
            scans = [str(step) for step in plan if "SCAN" in str(step)]
            assert scans == [], f"{sql}: {plan}"
    engine.dispose()
