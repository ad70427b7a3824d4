from __future__ import annotations

import errno
import os
import random
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from dicom_node.errors import IdentifierMismatch, StorageFull, UnparseableInstance
from dicom_node.storage.instance import ReceivedInstance, StoredInstance, WriteOutcome
from dicom_node.storage.instance_store import InstanceStore

EXPLICIT = "1.2.840.10008.1.2.1"
CT = "1.2.840.10008.5.1.4.1.1.2"


def encoded(**attributes: object) -> bytes:
    data_set = Dataset()
    for keyword, value in attributes.items():
        setattr(data_set, keyword, value)
    stream = DicomBytesIO()
    stream.is_implicit_VR, stream.is_little_endian = False, True
    write_dataset(stream, data_set)
    return bytes(stream.getvalue())


def received(sop_instance_uid: str = "1.2.3.4", **attributes: object) -> ReceivedInstance:
    attributes = {
        "SOPClassUID": CT,
        "SOPInstanceUID": sop_instance_uid,
        "StudyInstanceUID": "1.2.1",
        "SeriesInstanceUID": "1.2.2",
        "Modality": "CT",
    } | attributes
    return ReceivedInstance(encoded(**attributes), CT, sop_instance_uid, EXPLICIT, "SCANNER", "MEDSEG", "127.0.0.1")


@pytest.fixture
def store(tmp_path: Path) -> InstanceStore:
    return InstanceStore(tmp_path / "store", minimum_free_bytes=0)


def keep(store: InstanceStore, instance: ReceivedInstance) -> StoredInstance:
    return store.write(store.inspect(instance))


def held(store: InstanceStore) -> list[Path]:
    return [path for study_uid in store.study_uids() for path in store.files_of(study_uid)]


def leftovers(store: InstanceStore) -> list[Path]:
    return list((store.root / ".incoming").iterdir())


def test_files_lie_under_study_and_series_and_only_their_owner_reads_them(store: InstanceStore) -> None:
    stored = keep(store, received())
    assert stored.path == Path("1.2.1/1.2.2/1.2.3.4.dcm")
    assert stored.outcome is WriteOutcome.NEW
    absolute = store.absolute(stored.path)
    assert stored.size == absolute.stat().st_size
    for directory in (store.root, absolute.parent.parent, absolute.parent, store.root / ".incoming"):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(absolute.stat().st_mode) == 0o600
    assert leftovers(store) == []


def test_the_same_bytes_from_another_sender_are_identical(store: InstanceStore) -> None:
    first = keep(store, received())
    again = keep(store, replace(received(), calling_ae_title="ARCHIVE", peer_address="10.0.0.1"))
    assert again.outcome is WriteOutcome.IDENTICAL
    assert (again.path, again.digest, again.size) == (first.path, first.digest, first.size)
    assert store.read(first.path).calling_ae_title == "SCANNER"


def test_a_changed_instance_leaves_the_earlier_file_alone(store: InstanceStore) -> None:
    first = keep(store, received())
    before = store.absolute(first.path).read_bytes()
    second = keep(store, received(Modality="MR"))
    assert second.outcome is WriteOutcome.CHANGED
    assert second.path == Path(f"1.2.1/1.2.2/1.2.3.4.{second.digest}.dcm")
    assert store.absolute(first.path).read_bytes() == before
    assert keep(store, received()).path == first.path
    assert held(store) == sorted([first.path, second.path])


def test_what_was_written_can_be_read_back_from_the_file_alone(store: InstanceStore) -> None:
    stored = keep(store, received(Manufacturer="Maker", DeviceSerialNumber="7"))
    assert store.read(stored.path) == replace(stored, outcome=WriteOutcome.IDENTICAL)


def test_a_torn_file_in_place_is_not_taken_for_the_instance(store: InstanceStore) -> None:
    stored = keep(store, received())
    store.absolute(stored.path).write_bytes(b"")
    again = keep(store, received())
    assert again.outcome is WriteOutcome.CHANGED
    assert again.path != stored.path


def test_the_file_is_synced_before_it_is_in_place_and_the_directories_after(
    store: InstanceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, link = os.fsync, os.link

    def seen_fsync(descriptor: int) -> None:
        name = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        steps.append(f"sync {'file' if name.suffix == '.part' else name.relative_to(store.root.parent)}")
        fsync(descriptor)

    def seen_link(source: Path, target: Path) -> None:
        steps.append("in place")
        link(source, target)

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(os, "link", seen_link)
    keep(store, received())
    assert steps == ["sync store", "sync store/1.2.1", "sync file", "in place", "sync store/1.2.1/1.2.2"]


def test_too_little_free_room_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    store = InstanceStore(tmp_path / "store", minimum_free_bytes=2**62)
    with pytest.raises(StorageFull, match="bytes are free"):
        keep(store, received())
    assert held(store) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_storage_full_and_leaves_nothing(
    store: InstanceStore, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def full(descriptor: int, parts: list[bytes], offset: int) -> int:
        raise OSError(number, "full")

    with monkeypatch.context() as patched, pytest.raises(StorageFull, match="no room"):
        patched.setattr(os, "pwritev", full)
        keep(store, received())
    assert leftovers(store) == []
    assert held(store) == []
    assert keep(store, received()).outcome is WriteOutcome.NEW


@pytest.mark.parametrize("uid", ["../../etc/passwd", "1.2/3", "..", ".", "1.2.3\x00", "a.b", "", "1" * 65, "1..2"])
@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
def test_no_identifier_leads_out_of_the_store(store: InstanceStore, keyword: str, uid: str) -> None:
    instance = received(**{keyword: uid})
    if keyword == "SOPInstanceUID":
        instance = replace(instance, sop_instance_uid=uid)
    if uid == "1.2.3\x00" and keyword != "SOPInstanceUID":
        return  # a trailing null pads a UID (PS3.5 6.2)
    with pytest.raises(IdentifierMismatch):
        keep(store, instance)
    assert [path for path in store.root.parent.rglob("*") if path.is_file()] == []


RUBBISH = random.Random(7).randbytes(64)


@pytest.mark.parametrize("rubbish", [b"", b"\x00", b"\xff" * 999, RUBBISH, b"GET / HTTP/1.1\r\n\r\n" * 9])
@pytest.mark.parametrize("transfer_syntax", ["1.2.840.10008.1.2", EXPLICIT, "1.2.840.10008.1.2.1.99", "1.2.999"])
def test_rubbish_is_unparseable(store: InstanceStore, rubbish: bytes, transfer_syntax: str) -> None:
    with pytest.raises((UnparseableInstance, IdentifierMismatch)):
        keep(store, ReceivedInstance(rubbish, CT, "1.2.3", transfer_syntax))
    assert held(store) == []


def test_every_truncation_is_stored_or_refused_and_never_anything_else(store: InstanceStore) -> None:
    whole = received(PatientName="A^B", BitsAllocated=8, PixelData=b"\x00" * 64)
    outcomes = set()
    for length in range(len(whole.data_set)):
        try:
            outcomes.add(keep(store, replace(whole, data_set=whole.data_set[:length])).outcome)
        except (UnparseableInstance, IdentifierMismatch) as error:
            outcomes.add(type(error))
    assert outcomes >= {UnparseableInstance, IdentifierMismatch, WriteOutcome.NEW}


def test_what_a_killed_writer_left_is_removed_and_what_is_being_written_stays(
    store: InstanceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    (store.root / ".incoming" / "killed.part").write_bytes(b"half")
    link, seen = os.link, []

    def link_meanwhile(source: Path, target: Path) -> None:
        store.remove_leftovers()
        seen.append((leftovers(store), held(store)))
        link(source, target)

    monkeypatch.setattr(os, "link", link_meanwhile)
    stored = keep(store, received())
    (([living], placed),) = seen
    assert living.name != "killed.part"
    assert placed == []
    assert leftovers(store) == []
    assert held(store) == [stored.path]


def test_looking_at_an_instance_writes_nothing(store: InstanceStore) -> None:
    inspected = store.inspect(received(Manufacturer="Maker"))
    assert (inspected.identifiers.study_uid, inspected.header.device.manufacturer) == ("1.2.1", "Maker")
    assert [path for path in store.root.rglob("*") if not path.name.startswith(".")] == []
    assert store.write(inspected).digest == inspected.digest


def test_the_files_are_listed_study_by_study_in_order(store: InstanceStore) -> None:
    for study_uid in ("1.9", "1.10", "1.1"):
        for series_uid, number in (("1.2.2", 5), ("1.2.2", 4), ("1.2.1", 3)):
            keep(store, received(f"{study_uid}.{number}", StudyInstanceUID=study_uid, SeriesInstanceUID=series_uid))
    (store.root / "a letter.txt").write_text("not a study")
    assert list(store.study_uids()) == ["1.1", "1.10", "1.9"]
    assert [str(path) for path in store.files_of("1.9")] == [
        "1.9/1.2.1/1.9.3.dcm",
        "1.9/1.2.2/1.9.4.dcm",
        "1.9/1.2.2/1.9.5.dcm",
    ]
    assert store.files_of("1.3") == ()


def test_many_at_once_with_one_name_lose_nothing(store: InstanceStore) -> None:
    versions = [received(InstanceNumber=number) for number in range(8)]
    ready = threading.Barrier(16)

    def write(number: int) -> WriteOutcome:
        ready.wait()
        return keep(store, versions[number % 8]).outcome

    with ThreadPoolExecutor(16) as pool:
        outcomes = list(pool.map(write, range(16)))
    assert outcomes.count(WriteOutcome.NEW) == 1
    assert outcomes.count(WriteOutcome.CHANGED) == 7
    assert outcomes.count(WriteOutcome.IDENTICAL) == 8
    assert {store.read(path).header.instance_number for path in held(store)} == set(range(8))


def test_a_directory_that_was_removed_is_made_again(store: InstanceStore) -> None:
    stored = keep(store, received())
    store.discard(stored.path)
    store.absolute(stored.path).parent.rmdir()
    store.discard(stored.path)
    assert keep(store, received()).outcome is WriteOutcome.NEW


def test_only_one_at_a_time_has_an_instance(store: InstanceStore) -> None:
    entered, other_entered = threading.Event(), threading.Event()

    def wait_for_it() -> None:
        entered.set()
        with InstanceStore(store.root, minimum_free_bytes=0).exclusive("1.2.3"):
            other_entered.set()

    other = threading.Thread(target=wait_for_it)
    with store.exclusive("1.2.3"):
        other.start()
        assert entered.wait(10)
        assert not other_entered.wait(0.1)
    assert other_entered.wait(10)
    other.join()
    assert held(store) == []


WRITER = """
import sys
from pathlib import Path
import pydicom
from dicom_node.storage.instance import ReceivedInstance
from dicom_node.storage.instance_store import InstanceStore

store = InstanceStore(Path(sys.argv[1]), minimum_free_bytes=0)
template = Path(sys.argv[2]).read_bytes()
for number in range(100_000):
    uid = f"1.2.3.{number:06}"
    data_set = template.replace(b"1.2.3.999999", uid.encode())
    stored = store.write(store.inspect(ReceivedInstance(data_set, sys.argv[3], uid, "1.2.840.10008.1.2.1")))
    print(stored.path, stored.digest, flush=True)
"""


@pytest.mark.slow
def test_what_was_reported_before_a_kill_is_there_whole_after_it(tmp_path: Path) -> None:
    template = received("1.2.3.999999", BitsAllocated=8, PixelData=b"\x07" * 300_000)
    (tmp_path / "template").write_bytes(template.data_set)
    arguments = [sys.executable, "-c", WRITER, str(tmp_path / "store"), str(tmp_path / "template"), CT]
    reported: list[str] = []
    for _ in range(3):
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            for _ in range(20):
                reported.append(writer.stdout.readline())
            writer.kill()
            reported += [line for line in writer.stdout if line.endswith("\n")]
    store = InstanceStore(tmp_path / "store", minimum_free_bytes=0)
    store.remove_leftovers()
    found = {str(path): store.read(path).digest for path in held(store)}
    assert leftovers(store) == []
    assert reported
    told = dict(line.split() for line in reported)
    assert {path: found.get(path) for path in told} == told
