"""Instances of the journal become files of the store, a batch at a time."""

from __future__ import annotations

import errno
import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node.errors import StorageFull
from dicom_node.storage.instance import StoredInstance, WriteOutcome
from dicom_node.storage.instance_store import InstanceStore
from dicom_node.storage.journal import Journal
from dicom_node.storage.journal_entry import JournalEntry
from dicom_node.storage.journal_reader import JournalReader
from tests.unit.dicom_node.storage.journaled import MIB, data_set, put


@pytest.fixture
def store(tmp_path: Path) -> InstanceStore:
    return InstanceStore(tmp_path / "store", minimum_free_bytes=0)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "intake", room_bytes=512 * MIB, instance_bytes=64 * MIB, ready_bytes=0)
    yield journal
    journal.close()


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[JournalReader]:
    reader = JournalReader(tmp_path / "intake")
    yield reader
    reader.close()


def outcomes(placed: list[StoredInstance | StorageFull | OSError]) -> list[object]:
    return [one.outcome if isinstance(one, StoredInstance) else type(one) for one in placed]


def files(store: InstanceStore) -> dict[str, bytes]:
    return {
        str(path): store.absolute(path).read_bytes() for study in store.study_uids() for path in store.files_of(study)
    }


def test_a_batch_becomes_files_that_say_what_the_entries_say(
    store: InstanceStore, journal: Journal, reader: JournalReader
) -> None:
    sent = [put(journal, number, data_set(number, 5000 * number)) for number in range(5)]
    entries = reader.waiting(10)
    placed = store.place(entries)
    assert outcomes(placed) == [WriteOutcome.NEW] * 5
    for entry, one, contents in zip(entries, placed, sent, strict=True):
        assert isinstance(one, StoredInstance)
        whole = store.absolute(one.path).read_bytes()
        assert whole.endswith(contents) and one.size == len(whole) and whole[128:132] == b"DICM"
        assert one.digest == entry.instance.digest
        again = store.read(one.path)
        assert (again.digest, again.header, again.calling_ae_title) == (one.digest, one.header, "SCANNER")
    assert list((store.root / ".incoming").iterdir()) == []


def test_the_same_and_other_data_sets_of_one_instance_in_one_batch(
    store: InstanceStore, journal: Journal, reader: JournalReader
) -> None:
    for contents in (data_set(1), data_set(1), data_set(1, Modality=b"MR"), data_set(1, Modality=b"MR")):
        put(journal, 1, contents)
    entries = reader.waiting(10)
    placed = store.place(entries)
    same, changed = WriteOutcome.IDENTICAL, WriteOutcome.CHANGED
    assert outcomes(placed) == [WriteOutcome.NEW, same, changed, same]
    assert outcomes(store.place(entries)) == [same] * 4
    assert len(files(store)) == 2


def test_what_fails_for_one_keeps_no_other(
    store: InstanceStore, journal: Journal, reader: JournalReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        put(journal, number)
    entries = reader.waiting(10)
    for number, error in ((1, OSError(errno.EIO, "cannot be read")), (2, OSError(errno.ENOSPC, "full"))):

        def failing(descriptor: int, start: int = 0, error: OSError = error) -> None:
            os.pwrite(descriptor, b"half", start)
            raise error

        monkeypatch.setitem(vars(entries[number]), "copy_to", failing)
    placed = store.place(entries)
    assert outcomes(placed) == [WriteOutcome.NEW, OSError, StorageFull, WriteOutcome.NEW]
    assert [Path(path).name for path in files(store)] == ["1.2.3.0.dcm", "1.2.3.3.dcm"]
    assert list((store.root / ".incoming").iterdir()) == []
    monkeypatch.undo()
    reader.release([entries[0], entries[3]])
    assert outcomes(store.place(reader.waiting(10))) == [WriteOutcome.NEW] * 2


def test_all_files_are_synced_before_the_first_is_in_place_and_each_folder_once(
    store: InstanceStore, journal: Journal, reader: JournalReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        put(journal, number, data_set(number, SeriesInstanceUID=b"1.2.9\0" if number % 2 else b"1.2.2\0"))
    store.place(reader.waiting(2))  # makes the folders
    steps: list[str] = []
    fsync, link = os.fsync, os.link

    def seen_fsync(descriptor: int) -> None:
        name = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        steps.append("file" if name.suffix == ".part" else f"folder {name.name}")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(os, "link", lambda *paths: (steps.append("in place"), link(*paths)))
    store.place(reader.waiting(10)[2:])
    assert steps[:4] == ["file", "file", "in place", "in place"]
    assert sorted(steps[4:]) == ["folder 1.2.2", "folder 1.2.9"]


def test_a_folder_that_cannot_be_synced_fails_what_lies_in_it(
    store: InstanceStore, journal: Journal, reader: JournalReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(journal, 1)
    entries = reader.waiting(10)
    store.place(entries)
    fsync = os.fsync

    def failing(descriptor: int) -> None:
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith("1.2.2"):
            raise OSError(errno.EIO, "the disk fails")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    assert outcomes(store.place(entries)) == [OSError]


def test_memory_does_not_grow_with_the_batch(store: InstanceStore, journal: Journal, reader: JournalReader) -> None:
    for number in range(6):
        put(journal, number, data_set(number, 8 * MIB))
    tracemalloc.start()
    entries: list[JournalEntry] = reader.waiting(10)
    store.place(entries)
    assert outcomes(store.place(entries)) == [WriteOutcome.IDENTICAL] * 6
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * MIB
