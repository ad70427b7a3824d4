"""The audit is a chain: several processes append to one, and whatever is done to it later is found."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from workflows.state.audit import add_audit, add_event
from workflows.state.audit_chain import content_of, digest_of
from workflows.state.auditing import (
    NO_DIGEST,
    AuditAction,
    AuditEntry,
    AuditEvent,
    AuditFilter,
    AuditHead,
    Outcome,
    study_named,
)
from workflows.state.engine import open_engine, upgrade_schema
from workflows.state.repository import Repository

if TYPE_CHECKING:
    from .conftest import World

CHECKOUT = Path(__file__).parents[4]


def ten(world: World) -> None:
    for number in range(10):
        world.repository.record_event(
            AuditEvent("anna", AuditAction.LOOK, f"1.2.{number}", f"1.2.{number}", counts={"images": number})
        )
        world.tick(1)
    assert world.repository.verify_audit() == []


def run(world: World, *statements: str) -> None:
    with world.repository._engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def told(world: World, *checkpoints: AuditHead) -> list[tuple[int, str]]:
    return [(one.number, one.what) for one in world.repository.verify_audit(checkpoints)]


def test_a_row_s_digest_is_that_of_the_row_before_and_its_own_content(world: World) -> None:
    event = AuditEvent(
        "anna", AuditAction.CORRECT, "k/0/1", "1.2.3", Outcome.MINOR_FAILURE, "10.0.0.7", {"voxels": 12}, {"why": "ö"}
    )
    world.repository.record_event(event)
    (row,) = world.repository.audit_entries()
    content = (
        '{"action":"correct","address":"10.0.0.7","at":"2026-01-02T03:04:05.000000+00:00","counts":{"voxels":12},'
        '"details":{"why":"\\u00f6"},"number":1,"outcome":4,"study_uid":"1.2.3","subject":"k/0/1","who":"anna"}'
    )
    assert content_of(row) == content
    assert row.digest == hashlib.sha256(f"{'0' * 64}\n{content}".encode()).hexdigest()
    assert (row.previous, row.outcome, row.study_uid) == (NO_DIGEST, Outcome.MINOR_FAILURE, "1.2.3")
    assert world.repository.audit_head() == AuditHead(1, row.digest)


def test_what_a_database_would_change_is_changed_before_it_is_chained(world: World) -> None:
    world.repository.record_event(
        AuditEvent("a" * 300, AuditAction.LOGIN, "a\x00b\ud800", address="h" * 300, details={"k\x1b": ["\x00x"]})
    )
    world.repository.record_audit("anna", "an action with a name that is much longer than its column", "x")
    assert told(world) == []
    first, second = world.repository.audit_entries()
    assert (first.subject, first.details, len(first.address)) == ("ab?", {"k": ["x"]}, 256)
    assert len(second.action) == 32


def test_what_is_rolled_back_leaves_neither_row_nor_gap(world: World) -> None:
    now = world.clock[0]
    with pytest.raises(ZeroDivisionError), world.repository._writing() as session:
        add_audit(session, now, "anna", "purge", "1.2.3")
        _ = 1 / 0
    with world.repository._writing() as session:
        add_audit(session, now, "anna", "purge", "1.2.4")
        add_event(session, now, AuditEvent("anna", AuditAction.LOOK))
    assert [(row.number, row.action) for row in world.repository.audit_entries()] == [(1, "purge"), (2, "look")]
    assert told(world) == []


def test_the_short_way_knows_a_study_by_its_uid(world: World) -> None:
    world.repository.record_audit("anna", "reread", "1.2.840.1")
    world.repository.record_audit("anna", "users", "berta")
    assert [row.study_uid for row in world.repository.audit_entries()] == ["1.2.840.1", None]
    assert study_named("1.2.3/a1") == "1.2.3" and study_named("12") is None and study_named("1." * 40 + "1") is None


def changed(column: str, value: str) -> Callable[[World], Sequence[str]]:
    return lambda _world: [f"UPDATE audit SET {column} = {value} WHERE number = 5"]


BREAKS: dict[str, tuple[Callable[[World], Sequence[str]], int, str]] = {
    "who": (changed("who", "'berta'"), 5, "changed"),
    "when": (changed("at", "'2020-01-01 00:00:00'"), 5, "changed"),
    "action": (changed("action", "'verdict'"), 5, "changed"),
    "subject": (changed("subject", "'1.9'"), 5, "changed"),
    "study": (changed("study_uid", "'1.9'"), 5, "changed"),
    "study gone": (changed("study_uid", "NULL"), 5, "changed"),
    "address": (changed("address", "'10.0.0.1'"), 5, "changed"),
    "outcome": (changed("outcome", "8"), 5, "changed"),
    "counts": (changed("counts", """'{"images"\\: 5}'"""), 5, "changed"),
    "details": (changed("details", """'{"a"\\: 5}'"""), 5, "changed"),
    "digest": (changed("digest", f"'{'a' * 64}'"), 5, "changed"),
    "previous": (changed("previous", f"'{'a' * 64}'"), 5, "changed"),
    "one removed": (lambda _world: ["DELETE FROM audit WHERE number = 5"], 5, "number 5 is gone: removed"),
    "three removed": (
        lambda _world: ["DELETE FROM audit WHERE number BETWEEN 5 AND 7"],
        5,
        "numbers 5 to 7 are gone: removed",
    ),
    "the first removed": (lambda _world: ["DELETE FROM audit WHERE number = 1"], 1, "number 1 is gone"),
    "the end cut off": (
        lambda _world: ["DELETE FROM audit WHERE number > 8"],
        9,
        "numbers 9 to 10 are gone: the end was cut off",
    ),
    "all removed": (lambda _world: ["DELETE FROM audit"], 1, "numbers 1 to 10 are gone"),
    "removed and numbered anew": (
        lambda _world: ["DELETE FROM audit WHERE number = 5", "UPDATE audit SET number = 5 WHERE number = 6"],
        5,
        "changed, or moved",
    ),
    "two exchanged": (
        lambda _world: [
            "UPDATE audit SET number = 99 WHERE number = 4",
            "UPDATE audit SET number = 4 WHERE number = 5",
            "UPDATE audit SET number = 5 WHERE number = 99",
        ],
        4,
        "changed, or moved",
    ),
    "the record of the end gone": (lambda _world: ["DELETE FROM audit_head"], 10, "whether rows were cut off"),
    "the recorded end moved back": (
        lambda _world: ["UPDATE audit_head SET count = 9"],
        10,
        "stands behind the recorded end",
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_every_break_is_found(world: World, name: str) -> None:
    ten(world)
    statements, number, what = BREAKS[name]
    run(world, *statements(world))
    faults = told(world)
    assert faults and faults[0][0] == number and what in faults[0][1]


def test_a_forged_row_that_fits_the_one_before_does_not_fit_the_one_behind(world: World) -> None:
    ten(world)
    row = world.repository.audit_entries()[4]
    forged = AuditEntry(**{**row.__dict__, "who": "berta"})
    digest = digest_of(row.previous, forged)
    run(world, f"UPDATE audit SET who = 'berta', digest = '{digest}' WHERE number = 5")
    assert told(world) == [
        (6, "number 6 does not follow number 5: one of them was changed, moved or inserted"),
    ]


def test_a_row_that_is_inserted_at_the_end_is_found(world: World) -> None:
    ten(world)
    head = world.repository.audit_head()
    row = world.repository.audit_entries()[-1]
    forged = AuditEntry(**{**row.__dict__, "number": 11, "previous": head.digest})
    digest = digest_of(head.digest, forged)
    columns = "number, at, who, action, subject, counts, outcome, address, study_uid, details, previous, digest"
    kept = "at, who, action, subject, counts, outcome, address, study_uid, details"
    insert = (
        f"INSERT INTO audit ({columns}) SELECT 11, {kept}, '{head.digest}', '{digest}' FROM audit WHERE number = 10"
    )
    run(world, insert)
    assert told(world) == [(11, "number 11 stands behind the recorded end: inserted")]


def test_a_chain_that_was_written_anew_is_found_by_a_checkpoint_alone(world: World) -> None:
    ten(world)
    point = world.repository.audit_head()
    assert told(world, point) == [] and AuditHead.parse(point.text) == point
    rows = world.repository.audit_entries()
    digest = NO_DIGEST
    for row in rows:
        forged = AuditEntry(**{**row.__dict__, "who": "berta", "previous": digest})
        previous, digest = digest, digest_of(digest, forged)
        where = f"WHERE number = {row.number}"
        run(world, f"UPDATE audit SET who = 'berta', previous = '{previous}', digest = '{digest}' {where}")
    run(world, f"UPDATE audit_head SET digest = '{digest}'")
    assert told(world) == []
    assert told(world, point) == [(10, "number 10 is not what the checkpoint says: recorded anew")]
    run(world, "DELETE FROM audit WHERE number > 3", "UPDATE audit_head SET count = 3")
    assert (10, "number 10, which the checkpoint names, is gone: the end was cut off") in told(world, point)


@pytest.mark.parametrize("text", ["", "10", "10:ab", "x:" + "a" * 64])
def test_a_checkpoint_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="checkpoint is NUMBER:DIGEST"):
        AuditHead.parse(text)


def test_filters_choose_rows_and_the_latest_come_first(world: World) -> None:
    ten(world)
    world.repository.record_event(AuditEvent("berta", AuditAction.LOGIN, "berta"))
    rows = list(world.repository.audit_rows(AuditFilter(who="anna", study_uid="1.2.3")))
    assert [row.number for row in rows] == [4]
    start = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    within = AuditFilter(since=start.replace(second=7), until=start.replace(second=9))
    assert [row.number for row in world.repository.audit_rows(within)] == [3, 4]
    assert [row.number for row in world.repository.latest_audit(AuditFilter(), 3)] == [11, 10, 9]
    assert [row.number for row in world.repository.latest_audit(AuditFilter(action="look"), 2, before=10)] == [9, 8]


def test_what_is_read_in_portions_is_all_of_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workflows.state.audit._AT_ONCE", 3)
    ten(world)
    assert [row.number for row in world.repository.audit_rows()] == list(range(1, 11))


APPEND = """
import sys
from workflows.state.auditing import AuditAction, AuditEvent
from workflows.state.engine import open_engine
from workflows.state.repository import Repository
repository = Repository(open_engine(sys.argv[1]))
for number in range(int(sys.argv[3])):
    repository.record_event(AuditEvent(sys.argv[2], AuditAction.LOOK, str(number)))
"""


def test_several_processes_append_to_one_chain(url: str) -> None:
    engine = open_engine(url)
    upgrade_schema(engine)
    writers = [
        subprocess.Popen([sys.executable, "-c", APPEND, url, f"writer {number}", "25"], cwd=CHECKOUT)
        for number in range(4)
    ]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0, 0, 0]
    repository = Repository(engine)
    rows = repository.audit_entries()
    assert [row.number for row in rows] == list(range(1, 101))
    assert repository.verify_audit() == []
    by_writer = [[row.subject for row in rows if row.who == f"writer {number}"] for number in range(4)]
    assert by_writer == [[str(number) for number in range(25)]] * 4
    engine.dispose()


OLD = "INSERT INTO audit (number, at, who, action, subject, counts) VALUES "


def test_rows_of_before_are_numbered_without_gaps_and_chained(url: str) -> None:
    engine = open_engine(url)
    upgrade_schema(engine, "0010")
    rows = [(3, "purge", "1.2.3", {"jobs": 1}), (4, "purge", "1.2.4", {}), (9, "reread", "two studies", {})]
    with engine.begin() as connection:
        for number, action, subject, counts in rows:
            values = {"number": number, "action": action, "subject": subject, "counts": json.dumps(counts)}
            values["at"] = f"2026-01-0{number} 03:04:05.25"
            connection.execute(text(f"{OLD} (:number, :at, 'anna', :action, :subject, :counts)"), values)
    upgrade_schema(engine)
    repository = Repository(engine, clock=lambda: datetime(2026, 2, 1, tzinfo=UTC))
    assert repository.verify_audit() == []
    repository.record_audit("berta", "purge", "1.2.5")
    assert repository.verify_audit() == []
    entries = repository.audit_entries()
    assert [(row.number, row.study_uid) for row in entries] == [(1, "1.2.3"), (2, "1.2.4"), (3, None), (4, "1.2.5")]
    assert entries[0].at == datetime(2026, 1, 3, 3, 4, 5, 250000, tzinfo=UTC) and entries[0].counts == {"jobs": 1}
    engine.dispose()


def test_how_far_the_receiver_is_is_remembered(world: World) -> None:
    ten(world)
    assert [row.number for row in world.repository.audit_unsent(3)] == [1, 2, 3]
    world.repository.note_sent(3)
    world.repository.note_sent(None, "it is away")
    state = world.repository.audit_receiver()
    assert (state.number, state.told, state.tried_at) == (3, "it is away", world.clock[0])
    assert [row.number for row in world.repository.audit_unsent(3)] == [4, 5, 6]
    world.repository.note_sent(2)
    assert world.repository.audit_receiver().number == 3, "what was taken stays taken"


def test_a_purge_leaves_the_audit_and_tells_what_there_was(world: World) -> None:
    world.receive()
    world.receive(2)
    world.make_complete()
    world.plan()
    facts = world.repository.study_facts("1.2.3")
    assert facts.sop_classes == {"1.2.840.10008.5.1.4.1.1.2": 2}
    world.repository.purge("1.2.3", "anna")
    assert world.repository.study_facts("1.2.3").sop_classes == {}
    (row,) = world.repository.audit_entries("purge")
    assert row.details == {"sop_classes": {"1.2.840.10008.5.1.4.1.1.2": 2}} and row.study_uid == "1.2.3"
    assert told(world) == []
