"""Indexing: what the journal holds becomes rows, whatever dies, is away, or stands in a header."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydicom import dcmread
from structlog.testing import capture_logs
from typer.testing import CliRunner

from dicom_node.errors import StorageFull
from dicom_node.storage.instance import StoredInstance
from dicom_node.storage.journal import Journal
from dicom_node.storage.journal_reader import JournalReader
from dicom_node.storage.sink import StoreRequest
from tests.services import await_true
from workflows.commands import quarantine as commands
from workflows.errors import DatabaseUnavailable, RowRefused
from workflows.quarantine import Quarantine
from workflows.steps.receive import AT_ONCE, Receiver, index_batch, index_waiting
from workflows.steps.setting_aside import give_back

if TYPE_CHECKING:
    from .conftest import Steps

Phantom = Callable[..., Path]


class Picky(Receiver):
    """A receiver whose rows cannot hold some instances, and whose database is away for some calls."""

    refused: frozenset[str] = frozenset()
    away = 0

    @classmethod
    def of(cls, receiver: Receiver) -> Picky:
        return cls(receiver.store, receiver.folder, receiver.repository, receiver.quiet_period_s)

    def index(self, stored: Sequence[StoredInstance]) -> None:
        if self.away:
            self.away -= 1
            raise DatabaseUnavailable("the database does not answer")
        if any(one.sop_instance_uid in self.refused for one in stored):
            raise RowRefused("no row holds that")
        super().index(stored)


@pytest.fixture
def journal(steps: Steps) -> Iterator[Journal]:
    opened = Journal(steps.folder.intake, room_bytes=256 * 1024 * 1024, instance_bytes=1024 * 1024)
    yield opened
    opened.close()


@pytest.fixture
def reader(steps: Steps) -> Iterator[JournalReader]:
    opened = JournalReader(steps.folder.intake)
    yield opened
    opened.close()


@pytest.fixture
def picky(steps: Steps) -> Picky:
    return Picky.of(steps.receiver)


def acknowledge(journal: Journal, path: Path) -> None:
    """As an acceptor does it."""
    from .conftest import received_from

    received = received_from(path)
    known = {name: value for name, value in vars(received).items() if name != "data_set"}
    writer = journal.open(StoreRequest(**known))
    writer.write(received.data_set)
    writer.commit()


def uids(steps: Steps) -> list[str]:
    return sorted(one.sop_instance_uid for one in steps.held())


def test_what_waits_becomes_rows_in_one_turn_and_is_released(
    steps: Steps, journal: Journal, reader: JournalReader, phantom: Phantom
) -> None:
    for number in range(5):
        acknowledge(journal, phantom(1 + number % 2, number))
    assert index_batch(reader, steps.receiver) == 5
    assert uids(steps) == ["1.2.3.1.0", "1.2.3.1.2", "1.2.3.1.4", "1.2.3.2.1", "1.2.3.2.3"]
    assert all(steps.folder.absolute(row.path).is_file() for row in steps.held())
    assert index_batch(reader, steps.receiver) == 0


def test_a_turn_that_dies_before_the_release_is_done_again_and_changes_nothing(
    steps: Steps, journal: Journal, reader: JournalReader, phantom: Phantom
) -> None:
    acknowledge(journal, phantom(1, 1))
    entries = reader.waiting(10)
    release, reader.release = reader.release, lambda _entries: None  # type: ignore[assignment, method-assign]
    assert index_batch(reader, steps.receiver) == 1
    before = steps.held()
    assert index_batch(reader, steps.receiver) == 1
    assert steps.held() == before and len(steps.stored()) == 1
    release(entries)
    assert reader.waiting(10) == []


def test_the_last_of_several_versions_wins_though_they_wait_together(
    steps: Steps, journal: Journal, reader: JournalReader, phantom: Phantom, edited: Callable[..., Path]
) -> None:
    first = phantom(1, 1)
    second = edited(first, SeriesDescription="corrected")
    for path in (first, second, first):
        acknowledge(journal, path)
    other = phantom(1, 2)
    acknowledge(journal, other)
    while index_batch(reader, steps.receiver):
        pass
    rows = {row.sop_instance_uid: row for row in steps.held()}
    kept = dcmread(steps.folder.absolute(rows["1.2.3.1.1"].path))
    assert "SeriesDescription" not in kept
    assert steps.stored() == {row.path for row in rows.values()}, "what was replaced is gone, and nothing else"


def test_one_that_no_row_holds_is_set_aside_and_the_others_are_indexed(
    steps: Steps, journal: Journal, reader: JournalReader, phantom: Phantom, picky: Picky
) -> None:
    for number in range(9):
        acknowledge(journal, phantom(1, number))
    picky.refused = frozenset({"1.2.3.1.3", "1.2.3.1.8"})
    assert index_batch(reader, picky) == 9
    assert uids(steps) == [f"1.2.3.1.{number}" for number in (0, 1, 2, 4, 5, 6, 7)]
    assert reader.waiting(10) == [], "they stand in nobody's way"
    aside = picky.quarantine.instances()
    assert {one.sop_instance_uid for one in aside} == picky.refused
    assert {one.reason for one in aside} == {"it cannot be indexed: no row holds that"}
    assert {one.calling_ae_title for one in aside} == {"CT1"}
    for one in aside:
        assert dcmread(picky.quarantine.path(one)).SOPInstanceUID == one.sop_instance_uid
    assert steps.reconcile() == (0, 0), "nor in that of a restart"


def test_a_turn_that_dies_while_one_is_set_aside_sets_it_aside_once(
    steps: Steps, journal: Journal, reader: JournalReader, phantom: Phantom, picky: Picky
) -> None:
    acknowledge(journal, phantom(1, 1))
    picky.refused = frozenset({"1.2.3.1.1"})
    release = reader.release
    reader.release = lambda _entries: None  # type: ignore[assignment, method-assign]
    assert index_batch(reader, picky) == 1
    reader.release = release  # type: ignore[method-assign]
    assert index_batch(reader, picky) == 1
    assert len(picky.quarantine) == 1 and steps.stored() == set()


def failing_to_place(steps: Steps, monkeypatch: pytest.MonkeyPatch, failures: dict[str, int]) -> None:
    """Have the file system answer with an error number wherever a file of these instances is to be made."""
    link = os.link

    def fail(source: Path, place: Path) -> None:
        if (number := failures.get(Path(place).name)) is not None:
            raise OSError(number, os.strerror(number))
        link(source, place)

    monkeypatch.setattr(os, "link", fail)


def test_what_still_fits_on_a_full_disk_is_indexed(
    steps: Steps, journal: Journal, reader: JournalReader, phantom: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(8):
        acknowledge(journal, phantom(1, number))
    failing_to_place(steps, monkeypatch, {"1.2.3.1.5.dcm": errno.ENOSPC})
    with pytest.raises(StorageFull):
        while index_batch(reader, steps.receiver):
            pass
    assert uids(steps) == [f"1.2.3.1.{number}" for number in range(5)]
    assert len(reader.waiting(10)) == 3, "and nothing is lost"


def test_what_the_machine_lacks_for_a_moment_sets_nothing_aside(
    steps: Steps, journal: Journal, reader: JournalReader, phantom: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    acknowledge(journal, phantom(1, 1))
    with monkeypatch.context() as patched:
        failing_to_place(steps, patched, {"1.2.3.1.1.dcm": errno.EMFILE})
        with pytest.raises(OSError, match="Too many open files"):
            index_batch(reader, steps.receiver)
    assert index_batch(reader, steps.receiver) == 1
    assert uids(steps) == ["1.2.3.1.1"] and not len(steps.receiver.quarantine)


def test_a_bad_block_in_the_journal_stands_in_nobodys_way(
    steps: Steps, journal: Journal, reader: JournalReader, phantom: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        acknowledge(journal, phantom(1, number))
    bad = reader.waiting(10)[1].head.data_start
    copy, read = os.copy_file_range, os.pread

    def fail(descriptor: int, *rest: int) -> Any:
        if bad in rest:
            raise OSError(errno.EIO, "Input/output error")
        return (copy if len(rest) == 4 else read)(descriptor, *rest)  # type: ignore[operator]

    monkeypatch.setattr(os, "copy_file_range", fail)
    monkeypatch.setattr(os, "pread", fail)
    assert index_batch(reader, steps.receiver) == 3
    assert uids(steps) == ["1.2.3.1.0", "1.2.3.1.2"]
    assert [one.sop_instance_uid for one in steps.receiver.quarantine.instances()] == ["1.2.3.1.1"]


def test_while_the_database_is_away_the_journal_holds_and_the_log_is_told_once(
    steps: Steps, journal: Journal, reader: JournalReader, phantom: Phantom, picky: Picky
) -> None:
    picky.away = 3
    acknowledge(journal, phantom(1, 1))
    stop = threading.Event()
    with capture_logs() as logs:
        thread = threading.Thread(target=index_waiting, args=(reader, lambda: picky, stop))
        thread.start()
        await_true(lambda: picky.away == 0, "the database is asked again")
        acknowledge(journal, phantom(1, 2))
        await_true(lambda: len(uids(steps)) == 2, "all is indexed")
        stop.set()
        thread.join(30)
    told = [one["event"] for one in logs if one["event"].startswith("indexing")]
    assert told == ["indexing_waits", "indexing_goes_on"]


def test_what_waits_when_the_node_stops_is_indexed_first(
    steps: Steps, journal: Journal, reader: JournalReader, phantom: Phantom
) -> None:
    for number in range(3):
        acknowledge(journal, phantom(1, number))
    stop = threading.Event()
    stop.set()
    index_waiting(reader, lambda: steps.receiver, stop)
    assert len(uids(steps)) == 3


def test_own_results_are_acknowledged_and_dropped(
    steps: Steps, journal: Journal, reader: JournalReader, marked: Any
) -> None:
    study_uid = steps.through(*marked[0])
    (key,) = steps.keys(study_uid)
    before = uids(steps)
    for path in steps.saved(key):
        acknowledge(journal, path)
    assert index_batch(reader, steps.receiver) == 2
    assert uids(steps) == before and reader.waiting(10) == []
    assert steps.state(study_uid)[0] == "DELIVERED"


# --- Quarantine -------------------------------------------------------------------------------------------------------


@pytest.fixture
def aside(steps: Steps, journal: Journal, reader: JournalReader, phantom: Phantom, picky: Picky) -> Quarantine:
    """A quarantine that holds two instances."""
    picky.refused = frozenset({"1.2.3.1.1", "1.2.3.1.2"})
    for number in (1, 2):
        acknowledge(journal, phantom(1, number, PatientName="Marked^Patient"))
    index_batch(reader, picky)
    assert len(picky.quarantine) == 2
    return picky.quarantine


def test_what_is_released_is_indexed_or_comes_back(
    steps: Steps, journal: Journal, reader: JournalReader, picky: Picky, aside: Quarantine
) -> None:
    first, second = aside.instances()
    picky.refused = frozenset({second.sop_instance_uid})
    for one in (first, second):
        give_back(one, aside, journal)
    assert len(aside) == 0
    assert index_batch(reader, picky) == 2
    assert [one.sop_instance_uid for one in aside.instances()] == [second.sop_instance_uid]
    assert uids(steps) == [first.sop_instance_uid]
    (row,) = steps.held()
    assert (row.digest, row.calling_ae_title) == (first.digest, "CT1")


def test_what_cannot_be_handed_back_stays(aside: Quarantine, journal: Journal) -> None:
    (one, _other) = aside.instances()
    aside.path(one).write_bytes(b"not DICOM any more")
    with pytest.raises(Exception, match="no DICOM"):
        give_back(one, aside, journal)
    assert aside.find(one.identifier) is not None
    assert aside.path(one).read_bytes() == b"not DICOM any more"


def test_what_cannot_be_handed_back_stays_though_the_disk_is_full(
    aside: Quarantine, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one, _other) = aside.instances()
    kept = aside.path(one).read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(journal, "open", full)
    monkeypatch.setattr(aside, "_write", full)
    with pytest.raises(OSError, match="No space"):
        give_back(one, aside, journal)
    found = aside.find(one.identifier)
    assert found is not None and aside.path(found).read_bytes() == kept


def test_an_instance_whose_note_is_gone_or_that_was_just_leaving_is_still_listed(aside: Quarantine) -> None:
    first, second = aside.instances()
    aside.path(first).with_suffix(".json").unlink()
    aside.path(second).rename(aside.path(second).with_suffix(".leaving"))
    assert {one.digest for one in aside.instances()} == {first.digest, second.digest}
    assert aside.path(second).is_file()


def test_the_notes_hold_no_value_of_the_header(aside: Quarantine) -> None:
    for one in aside.instances():
        assert "Marked" not in aside.path(one).with_suffix(".json").read_text()
        assert b"Marked^Patient" in aside.path(one).read_bytes(), "the file keeps the original"


def test_discard_asks_and_deletes(
    steps: Steps, aside: Quarantine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MEDSEG_NODE__NODE__DATA_DIR", str(steps.folder.root))
    monkeypatch.setattr(commands, "configure_logging", lambda _format: None)  # it would outlive this test
    run = CliRunner()
    identifier = aside.instances()[0].identifier
    assert identifier in run.invoke(commands.commands, ["list"]).output
    assert run.invoke(commands.commands, ["discard", identifier], input="n\n").exit_code == 1
    assert run.invoke(commands.commands, ["discard", identifier, "--dry-run"]).exit_code == 0
    assert len(aside) == 2
    assert run.invoke(commands.commands, ["discard", identifier, "--json"]).exit_code == 1
    assert len(aside) == 2, "nothing can be asked where JSON is printed, and nobody said yes"
    with capture_logs() as logs:
        assert run.invoke(commands.commands, ["discard", identifier, "--yes"]).exit_code == 0
    assert [one["wanted_by"] for one in logs if one["event"] == "quarantine_discard"] == [commands.operator()]
    assert len(aside) == 1
    assert commands.in_quarantine(steps.folder).startswith("1 instance is in quarantine")
    assert run.invoke(commands.commands, ["discard", "all", "--yes"]).exit_code == 0
    assert commands.in_quarantine(steps.folder) == ""
    nothing = run.invoke(commands.commands, ["discard", "all"])
    assert nothing.exit_code == 0 and "[y/N]" not in nothing.output, "nothing to ask about"


def test_release_says_what_came_of_each(
    steps: Steps,
    reader: JournalReader,
    picky: Picky,
    aside: Quarantine,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("MEDSEG_NODE__NODE__DATA_DIR", str(steps.folder.root))
    monkeypatch.setenv("MEDSEG_NODE__DATABASE__URL", f"sqlite:///{steps.folder.root / 'state.db'}")
    monkeypatch.setattr(commands, "configure_logging", lambda _format: None)  # it would outlive this test
    first, second = aside.instances()
    picky.refused = frozenset({second.sop_instance_uid})
    stop = threading.Event()
    thread = threading.Thread(target=index_waiting, args=(reader, lambda: picky, stop))
    thread.start()
    try:
        done = CliRunner().invoke(commands.commands, ["release", "all", "--json"])
    finally:
        stop.set()
        thread.join(30)
    outcomes = {one["id"]: one["outcome"] for one in json.loads(done.stdout[done.stdout.index("[\n") :])}
    assert outcomes[first.identifier] == "indexed"
    assert outcomes[second.identifier] == "still cannot be indexed: no row holds that"
    assert done.exit_code == 1 and uids(steps) == [first.sop_instance_uid]


def test_more_than_one_turn_takes_is_taken_in_several(
    steps: Steps, journal: Journal, reader: JournalReader, phantom: Phantom
) -> None:
    acknowledge(journal, phantom(1, 1))
    for _ in range(3):
        acknowledge(journal, phantom(1, 1))
    turns = 0
    while index_batch(reader, steps.receiver):
        turns += 1
    assert turns == 4 <= AT_ONCE and len(uids(steps)) == 1
