"""The journal of one process: what goes in comes out, and what is refused leaves nothing."""

from __future__ import annotations

import errno
import os
import stat
import threading
import tracemalloc
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from dicom_node.errors import IdentifierMismatch, InstanceTooLarge, JournalInUse, StorageFull, UnparseableInstance
from dicom_node.storage.backlog import Backlog, backlog
from dicom_node.storage.journal import Journal
from dicom_node.storage.journal_reader import JournalReader
from tests.unit.dicom_node.headers.encoded import Encoding, even
from tests.unit.dicom_node.storage.journaled import (
    CT,
    EXPLICIT,
    MIB,
    contents,
    data_set,
    numbers,
    put,
    request,
    segments,
    written,
)

DEFLATED = "1.2.840.10008.1.2.1.99"
KEY_OBJECTS = "1.2.840.10008.5.1.4.1.1.88.59"
UIDS = {
    "SOPClassUID": even(CT.encode(), b"\0"),
    "SOPInstanceUID": b"1.2.3.1\0",
    "StudyInstanceUID": b"1.2.1\0",
    "SeriesInstanceUID": b"1.2.2\0",
}


def opened(folder: Path, *, room_bytes: int = 256 * MIB, **options: float) -> Journal:
    limits = {"instance_bytes": 64 * MIB, "segment_bytes": MIB, "patience_s": 0.0, "ready_bytes": 0} | options
    return Journal(folder, room_bytes=room_bytes, **limits)  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "intake"


@pytest.fixture
def journal(folder: Path) -> Iterator[Journal]:
    journal = opened(folder)
    yield journal
    journal.close()


@pytest.fixture
def reader(folder: Path) -> Iterator[JournalReader]:
    reader = JournalReader(folder)
    yield reader
    reader.close()


def test_what_goes_in_comes_out(journal: Journal, reader: JournalReader) -> None:
    sizes = [0, 1, 4095, 4096, 4097, 40_000, 300_000, 300_000, 300_000, 300_000]
    sent = {number: put(journal, number, data_set(number, size)) for number, size in enumerate(sizes)}
    entries = reader.waiting(100)
    assert numbers(entries) == list(range(len(sizes)))
    assert contents(entries) == sent
    assert [entry.instance.request for entry in entries] == [request(number) for number in sent]
    assert [entry.instance.header.instance_number for entry in entries] == list(sent)
    assert entries[5].read(3, 7) == sent[5][3:10]
    assert entries[0].read(len(sent[0]) - 2, 100) == sent[0][-2:]


def test_headers_of_every_size_and_data_sets_without_pixels(journal: Journal, reader: JournalReader) -> None:
    item = {"ReferencedSOPClassUID": CT.encode() + b"\0", "ReferencedSOPInstanceUID": b"1.2.3\0"}
    long = Encoding(False, undefined=True).elements(
        UIDS | {"ReferencedImageSequence": [item] * 3000, "PixelData": b"12"}
    )
    without_pixels = Encoding(False).elements(UIDS | {"SeriesDescription": b"no pixels "})
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    deflated = compressor.compress(long) + compressor.flush()
    sent = [long, without_pixels, deflated]
    for data, syntax in zip(sent, (EXPLICIT, EXPLICIT, DEFLATED), strict=True):
        writer = journal.open(replace(request(1), transfer_syntax_uid=syntax))
        writer.write(data)
        writer.commit()
    entries = reader.waiting(10)
    assert [b"".join(entry.blocks()) for entry in entries] == sent
    assert [entry.instance.header.series_description for entry in entries] == ["", "no pixels", ""]


def test_a_note_that_says_more_of_others_than_a_segment_holds(journal: Journal, reader: JournalReader) -> None:
    """What is kept of a header may be larger than the data set, and than a segment."""
    title = {"CodeValue": b"113001", "CodingSchemeDesignator": b"DCM ", "CodeMeaning": b"Rejected"}
    named = [{"ReferencedSOPInstanceUID": even(f"1.2.9.{number}".encode(), b"\0")} for number in range(30_000)]
    note = {
        "SOPClassUID": even(KEY_OBJECTS.encode(), b"\0"),
        "ConceptNameCodeSequence": [title],
        "CurrentRequestedProcedureEvidenceSequence": [
            {
                "StudyInstanceUID": b"1.2.1\0",
                "ReferencedSeriesSequence": [{"SeriesInstanceUID": b"1.2.2\0", "ReferencedSOPSequence": named}],
            }
        ],
    }
    put(journal, 2)
    writer = journal.open(replace(request(1), sop_class_uid=KEY_OBJECTS))
    writer.write(Encoding(False).elements(UIDS | note))
    writer.commit()
    _other, entry = reader.waiting(10)
    assert entry.instance.header.rejects is not None
    assert len(entry.instance.header.rejects.references) == 30_000
    reader.release(reader.waiting(10))
    assert reader.waiting(10) == []


def test_only_the_owner_may_look(folder: Path, journal: Journal, reader: JournalReader) -> None:
    put(journal, 1)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_released_is_gone_and_the_rest_stays(folder: Path, journal: Journal, reader: JournalReader) -> None:
    for number in range(6):
        put(journal, number)
    entries = reader.waiting(4)
    assert numbers(entries) == [0, 1, 2, 3]
    reader.release([entries[0], entries[2], entries[2]])
    assert numbers(reader.waiting(100)) == [1, 3, 4, 5]
    reader.release(reader.waiting(100))
    assert reader.waiting(100) == []
    assert backlog(folder) == Backlog()


def test_what_was_not_released_comes_again_to_the_next_reader(folder: Path, journal: Journal) -> None:
    for number in range(4):
        put(journal, number)
    first = JournalReader(folder)
    first.release(first.waiting(2))
    first.close()
    second = JournalReader(folder)
    assert numbers(second.waiting(100)) == [2, 3]
    second.close()


def test_a_segment_is_used_again_and_its_old_records_are_not_taken_for_new_ones(
    folder: Path, journal: Journal, reader: JournalReader
) -> None:
    for turn in range(30):
        for number in range(3):
            put(journal, 10 * turn + number, data_set(10 * turn + number, 200_000))
        entries = reader.waiting(100)
        assert numbers(entries) == [10 * turn + number for number in range(3)]
        reader.release(entries)
    assert len(segments(folder)) <= 2


def test_an_instance_larger_than_a_segment(folder: Path, journal: Journal, reader: JournalReader) -> None:
    sent = {
        number: put(journal, number, data_set(number, size)) for number, size in enumerate((9, 5 * MIB, 9, 3 * MIB))
    }
    entries = reader.waiting(10)
    assert contents(entries) == sent
    reader.release(entries)
    put(journal, 7)
    assert sum(path.stat().st_size for path in segments(folder)) <= 2 * MIB
    assert numbers(reader.waiting(10)) == [7]


def test_an_instance_that_no_longer_fits_moves_on(journal: Journal, reader: JournalReader) -> None:
    sent = {number: put(journal, number, data_set(number, 400_000)) for number in range(7)}
    assert contents(reader.waiting(10)) == sent


def test_an_abandoned_instance_leaves_nothing(folder: Path, journal: Journal, reader: JournalReader) -> None:
    put(journal, 1)
    for writer in (journal.open(request(2)), written(journal, 3, data_set(3, 5 * MIB))):
        writer.abandon()
        writer.abandon()
    put(journal, 4)
    assert numbers(reader.waiting(10)) == [1, 4]
    with pytest.raises(ValueError, match="abandoned"):
        writer.write(b"more")


@pytest.mark.parametrize(
    ("contents", "error"),
    [
        (b"", UnparseableInstance),
        (b"GET / HTTP/1.1\r\n\r\n", UnparseableInstance),
        (data_set(9), IdentifierMismatch),
        (data_set(1, StudyInstanceUID=b"../../etc "), IdentifierMismatch),
    ],
)
def test_what_is_refused_is_not_in_the_journal(
    journal: Journal, reader: JournalReader, contents: bytes, error: type[Exception]
) -> None:
    writer = written(journal, 1, contents)
    with pytest.raises(error):
        writer.commit()
    writer.abandon()
    put(journal, 2)
    assert numbers(reader.waiting(10)) == [2]


def test_too_large_is_told_while_it_comes(folder: Path, reader: JournalReader) -> None:
    journal = opened(folder, instance_bytes=10_000)
    writer = journal.open(request(1))
    writer.write(bytes(10_000))
    with pytest.raises(InstanceTooLarge, match="10000 bytes"):
        writer.write(b"1")
    writer.abandon()
    journal.close()


def test_no_more_waits_than_there_is_room_for(folder: Path, reader: JournalReader) -> None:
    journal = opened(folder, room_bytes=3 * MIB)
    taken = 0
    with pytest.raises(StorageFull, match="wait under"):
        for number in range(100):
            put(journal, number, data_set(number, 300_000))
            taken += 1
    assert taken == 9
    other = opened(folder, room_bytes=3 * MIB)
    with pytest.raises(StorageFull):
        other.open(request(1))
    reader.release(reader.waiting(100))
    put(journal, 100)
    journal.close()
    other.close()


def test_a_sender_waits_for_room_before_it_is_refused(folder: Path, reader: JournalReader) -> None:
    journal = opened(folder, room_bytes=MIB, patience_s=60)
    for number in range(3):
        put(journal, number, data_set(number, 300_000))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(put, journal, 3, data_set(3, 300_000))
        entries = reader.waiting(10)
        assert numbers(entries) == [0, 1, 2]
        reader.release(entries)
        waiting.result(timeout=60)
    assert numbers(reader.waiting(10)) == [3]
    journal.close()


def test_a_large_instance_goes_beyond_the_room_but_not_beside_others(folder: Path, reader: JournalReader) -> None:
    journal = opened(folder, room_bytes=4 * MIB)
    put(journal, 1, data_set(1, 9 * MIB))
    with pytest.raises(StorageFull):
        journal.open(request(2))
    reader.release(reader.waiting(1))
    put(journal, 2)
    journal.close()


def test_too_little_free_room_is_refused(folder: Path) -> None:
    journal = opened(folder, minimum_free_bytes=2**62)
    with pytest.raises(StorageFull, match="are free"):
        journal.open(request(1))
    assert segments(folder) == []
    journal.close()


def test_what_goes_into_a_segment_that_somebody_removed_is_not_acknowledged(folder: Path, journal: Journal) -> None:
    put(journal, 1)
    for segment in segments(folder):
        segment.unlink()
    refused = 0
    while True:  # each segment that was made before is found out once
        try:
            put(journal, 2)
            break
        except FileNotFoundError:
            refused += 1
    assert refused and segments(folder)


def test_room_is_kept_for_the_files_that_what_waits_becomes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = opened(folder, minimum_free_bytes=1000)
    reader = JournalReader(folder)
    monkeypatch.setattr(os, "statvfs", lambda _folder: SimpleNamespace(f_bavail=1200, f_frsize=1))
    put(journal, 1)
    with pytest.raises(StorageFull, match="become files of the store"):
        journal.open(request(2))
    reader.release(reader.waiting(10))
    put(journal, 2)
    reader.close()
    journal.close()


@pytest.mark.parametrize("call", ["posix_fallocate", "pwritev", "fdatasync"])
@pytest.mark.parametrize(
    ("number", "error"), [(errno.ENOSPC, StorageFull), (errno.EDQUOT, StorageFull), (errno.EIO, OSError)]
)
def test_a_disk_that_fails_is_told_and_the_next_instance_is_whole(
    folder: Path,
    journal: Journal,
    reader: JournalReader,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    number: int,
    error: type[Exception],
) -> None:
    sent = {} if call == "posix_fallocate" else {1: put(journal, 1)}

    def failing(*_arguments: object) -> int:
        raise OSError(number, "the disk fails")

    with monkeypatch.context() as patched:
        patched.setattr(os, call, failing)
        with pytest.raises(error, match="the disk fails"):
            put(journal, 2)
    sent[3] = put(journal, 3)
    assert contents(reader.waiting(10)) == sent


def test_a_segment_whose_sync_failed_takes_no_more(
    folder: Path, journal: Journal, reader: JournalReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(journal, 1)
    (before,) = segments(folder)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", lambda descriptor: (_ for _ in ()).throw(OSError(errno.EIO, "lost")))
        writer = written(journal, 2, data_set(2))
        with pytest.raises(OSError, match="lost"):
            writer.commit()
        writer.abandon()
    put(journal, 3)
    assert numbers(reader.waiting(10)) == [1, 3]
    reader.release(reader.waiting(10))
    put(journal, 4)
    assert before not in segments(folder)


def test_one_sync_and_no_other_change_of_the_folder_before_the_answer(
    folder: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(journal, 1)
    (segment,) = segments(folder)
    size, calls = segment.stat().st_size, []
    fdatasync = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: (calls.append("fdatasync"), fdatasync(descriptor)))
    for name in ("fsync", "open", "rename", "link", "posix_fallocate", "ftruncate"):
        monkeypatch.setattr(os, name, lambda *_arguments, name=name: calls.append(name))
    put(journal, 2)
    assert calls == ["fdatasync"]
    assert segment.stat().st_size == size


def test_many_threads_write_at_once(folder: Path, journal: Journal, reader: JournalReader) -> None:
    ready = threading.Barrier(8)

    def sender(first: int) -> dict[int, bytes]:
        ready.wait()
        return {number: put(journal, number, data_set(number, 100_000)) for number in range(first, first + 10)}

    with ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(sender, range(0, 800, 100)))
    sent = {number: data for part in parts for number, data in part.items()}
    entries = reader.waiting(1000)
    assert contents(entries) == sent
    times = [entry.instance.received_at for entry in entries]
    assert times == sorted(times)


def test_a_reader_is_woken(journal: Journal, reader: JournalReader) -> None:
    assert reader.wait(0)  # nobody has looked yet
    assert reader.waiting(10) == []
    assert not reader.wait(0)
    with ThreadPoolExecutor(1) as pool:
        woken = pool.submit(reader.wait, 60)
        put(journal, 1)
        assert woken.result(timeout=60)
    assert numbers(reader.waiting(10)) == [1]
    assert not reader.wait(0)


def test_there_is_one_reader(folder: Path, reader: JournalReader) -> None:
    with pytest.raises(JournalInUse, match="stop it first"):
        JournalReader(folder)


def test_the_backlog_is_what_waits(folder: Path, journal: Journal, reader: JournalReader) -> None:
    assert backlog(folder / "nowhere") == Backlog()
    assert backlog(folder) == Backlog()
    sent = [put(journal, number) for number in range(3)]
    entries = reader.waiting(10)
    assert backlog(folder) == Backlog(3, sum(map(len, sent)), entries[0].instance.received_at)
    reader.release(entries[:1])
    assert backlog(folder) == Backlog(2, len(sent[1]) + len(sent[2]), entries[1].instance.received_at)


def test_what_a_closed_journal_holds_is_found_and_then_removed(folder: Path, reader: JournalReader) -> None:
    journal = opened(folder)
    sent = {number: put(journal, number, data_set(number, 300_000)) for number in range(5)}
    journal.close()
    assert backlog(folder).count == 5
    entries = reader.waiting(10)
    assert contents(entries) == sent
    reader.release(entries)
    assert [path.name for path in folder.iterdir() if path.suffix in (".segment", ".control", ".unfinished")] == []


def test_segments_are_made_before_they_are_needed(folder: Path) -> None:
    journal = opened(folder, ready_bytes=3 * MIB)
    deadline = threading.Event()
    while len(segments(folder)) < 3:
        deadline.wait(0.01)
    journal.close()
    assert segments(folder) == []


def test_memory_does_not_grow_with_the_instance(folder: Path, journal: Journal, reader: JournalReader) -> None:
    block = bytes(64 * 1024)
    head = data_set(1, 0).removesuffix(b"\0\0\0\0")
    writer = journal.open(request(1))
    tracemalloc.start()
    writer.write(head + (512 * len(block)).to_bytes(4, "little"))
    for _ in range(512):
        writer.write(block)
    writer.commit()
    (entry,) = reader.waiting(10)
    assert sum(len(block) for block in entry.blocks()) == len(head) + 4 + 32 * MIB
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * MIB
