"""What was acknowledged is found bit for bit after any crash, and what is torn is never taken for an instance."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dicom_node.storage.backlog import backlog
from dicom_node.storage.control import CONTROL
from dicom_node.storage.journal import Journal
from dicom_node.storage.journal_reader import JournalReader
from dicom_node.storage.records import FIRST_RECORD, PAGE
from tests.unit.dicom_node.storage.journaled import MIB, contents, data_set, numbers, put, segments, written

CHECKOUT = Path(__file__).parents[4]
SIZES = [900, 5000, 40_000, 12_288 - 210, 3]

SENDER = """
import sys
from pathlib import Path
from dicom_node.storage.journal import Journal
from tests.unit.dicom_node.storage.journaled import MIB, data_set, put, written

journal = Journal(Path(sys.argv[1]), room_bytes=256 * MIB, instance_bytes=64 * MIB, segment_bytes=MIB, ready_bytes=0)
number, dies_at, points = int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
while True:
    if number == dies_at:
        (points / sys.argv[5]).touch()
    put(journal, number, data_set(number, 1000 * (number % 37)))
    print(number, flush=True)
    number += 1
"""


def send_until_killed(folder: Path, first: int, *, at_most: int = 0, point: str = "", dies_at: int = -1) -> list[int]:
    """The numbers of what a process was told to be safe, before it was killed; with `dies_at` at a fault point."""
    points = folder.parent / "points"
    points.mkdir(exist_ok=True)
    environment = os.environ | {"MEDSEG_FAULT_POINTS": str(points), "PYTHONPATH": str(CHECKOUT)}
    arguments = [sys.executable, "-c", SENDER, str(folder), str(first), str(dies_at), str(points), point]
    acknowledged: list[int] = []
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment) as sender:
        assert sender.stdout is not None
        for line in sender.stdout:
            acknowledged.append(int(line))
            if at_most and len(acknowledged) == at_most:
                sender.kill()
    assert sender.returncode == -signal.SIGKILL
    return acknowledged


def read_all(folder: Path) -> dict[int, bytes]:
    """Everything that a reader finds, a few at a time; it releases them, and nothing is left."""
    reader, found = JournalReader(folder), {}
    while entries := reader.waiting(3):
        found |= contents(entries)
        reader.release(entries)
    reader.close()
    return found


def sent_by_the_sender(number: int) -> bytes:
    return data_set(number, 1000 * (number % 37))


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("point", ["written", "synced"])
@pytest.mark.parametrize("dies_at", [0, 8])
def test_killed_at_a_fault_point(tmp_path: Path, point: str, dies_at: int) -> None:
    folder = tmp_path / "intake"
    acknowledged = send_until_killed(folder, 0, point=point, dies_at=dies_at)
    assert acknowledged == list(range(dies_at))
    assert backlog(folder).count >= len(acknowledged)
    found = read_all(folder)
    assert found.keys() >= set(acknowledged)
    assert all(found[number] == sent_by_the_sender(number) for number in found)
    assert set(found) - set(acknowledged) <= {len(acknowledged)}, "only what was on its way may be there too"
    assert segments(folder) == []
    assert backlog(folder).count == 0


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_killed_anywhere_again_and_again_while_others_send(tmp_path: Path) -> None:
    folder, acknowledged, found = tmp_path / "intake", set(), {}
    living = Journal(folder, room_bytes=64 * MIB, instance_bytes=MIB, segment_bytes=MIB, ready_bytes=0)
    for turn in range(3):
        acknowledged |= set(send_until_killed(folder, 10_000 * turn, at_most=25 + turn))
        number = 1_000_000 + turn
        put(living, number, sent_by_the_sender(number))
        acknowledged.add(number)
        if turn == 1:
            found |= read_all(folder)
    found |= read_all(folder)
    assert found.keys() >= acknowledged
    assert all(found[number] == sent_by_the_sender(number) for number in found)
    living.close()


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a process leaves it that dies while it writes its sixth instance, in the second use of a segment."""
    folder = tmp_path_factory.mktemp("crashed") / "intake"
    journal = Journal(folder, room_bytes=256 * MIB, instance_bytes=MIB, segment_bytes=MIB, ready_bytes=0)
    reader = JournalReader(folder)
    for number in range(100, 104):
        put(journal, number, data_set(number, 20_000))
    reader.release(reader.waiting(10))
    for number, size in enumerate(SIZES):
        put(journal, number, data_set(number, size))
    written(journal, 99, data_set(99, 50_000))
    reader.close()
    copied = tmp_path_factory.mktemp("copied") / "intake"
    folder.rename(copied)  # the living process has lost its files
    return copied


def record_starts(folder: Path) -> list[int]:
    """Where each record of the crashed segment begins, and where the torn one does."""
    starts = [FIRST_RECORD]
    reader = JournalReader(folder)
    starts += [entry.head.end for entry in reader.waiting(10)]
    reader.close()
    return starts


def crash(crashed: Path, target: Path, *, control: bool) -> Path:
    """What a kill leaves, or a power cut, which may take what was never synced."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for path in segments(crashed):
        shutil.copy(path, target)
    if control:
        for path in crashed.glob(f"*{CONTROL}"):
            shutil.copy(path, target)
    return target


@pytest.mark.parametrize("control", [True, False])
def test_after_a_crash_what_was_acknowledged_is_there_and_the_torn_one_is_not(
    crashed: Path, tmp_path: Path, control: bool
) -> None:
    folder = crash(crashed, tmp_path / "intake", control=control)
    assert backlog(folder).count == (len(SIZES) if control else 1)
    reader = JournalReader(folder)
    assert numbers(reader.waiting(2)) == [0, 1]
    reader.close()
    assert read_all(folder) == {number: data_set(number, size) for number, size in enumerate(SIZES)}
    assert [path.name for path in folder.iterdir() if path.suffix in (CONTROL, ".segment")] == []


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(cut=st.integers(0, FIRST_RECORD + 30 * PAGE))
@example(cut=0)
@example(cut=FIRST_RECORD)
@example(cut=FIRST_RECORD + PAGE)
def test_a_segment_that_a_power_cut_has_cut_short(crashed: Path, tmp_path: Path, cut: int) -> None:
    """Its records up to the cut are there, without what the control file knew."""
    folder = crash(crashed, tmp_path / "intake", control=False)
    ends = _ends(crashed, tmp_path)
    (segment,) = segments(folder)
    os.truncate(segment, cut)
    whole = [number for number, end in enumerate(ends) if end <= cut]
    assert read_all(folder) == {number: data_set(number, SIZES[number]) for number in whole}


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    place=st.integers(FIRST_RECORD, FIRST_RECORD + 30 * PAGE),
    length=st.integers(1, 3 * PAGE),
    fill=st.sampled_from([0, 255]),
)
@example(place=FIRST_RECORD, length=1, fill=255)
def test_a_record_of_which_something_never_reached_the_disk(
    crashed: Path, tmp_path: Path, place: int, length: int, fill: int
) -> None:
    """Each record that is found is what was sent, and all before the damage are found."""
    folder = crash(crashed, tmp_path / "intake", control=False)
    ends = _ends(crashed, tmp_path)
    (segment,) = segments(folder)
    with segment.open("r+b") as file:
        file.seek(place)
        file.write(bytes([fill]) * length)
    found = read_all(folder)
    assert all(found[number] == data_set(number, SIZES[number]) for number in found)
    assert found.keys() >= {number for number, end in enumerate(ends) if end <= place}


def _ends(crashed: Path, tmp_path: Path) -> list[int]:
    """Where the bytes of each record end that count."""
    reader = JournalReader(crash(crashed, tmp_path / "measured", control=True))
    ends = [entry.head.details_start + entry.head.details_size for entry in reader.waiting(10)]
    reader.close()
    return ends


def test_damage_to_what_was_acknowledged_is_told_and_the_rest_is_found(
    crashed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = crash(crashed, tmp_path / "intake", control=True)
    (segment,) = segments(folder)
    starts = record_starts(folder)
    with segment.open("r+b") as file:
        file.seek(starts[1] + PAGE + 7)
        file.write(b"\xff" * 9)
    assert sorted(read_all(folder)) == [0, 2, 3, 4]
    assert "journal_record_damaged" in capsys.readouterr().out
    assert [path.suffix for path in folder.glob(f"{segment.stem}*")] == [".damaged"]


def small_journal(folder: Path) -> Journal:
    return Journal(folder, room_bytes=256 * MIB, instance_bytes=MIB, segment_bytes=MIB, ready_bytes=0)


@pytest.mark.parametrize("control", [True, False])
def test_what_an_earlier_use_of_a_segment_left_is_not_found_behind_its_last_record(
    tmp_path: Path, control: bool
) -> None:
    journal, reader = small_journal(tmp_path / "living"), JournalReader(tmp_path / "living")
    for number in range(4):
        put(journal, number)
    reader.release(reader.waiting(10))
    for number in (4, 5):
        put(journal, number)
    assert len(segments(tmp_path / "living")) == 1
    folder = crash(tmp_path / "living", tmp_path / "intake", control=control)
    assert sorted(read_all(folder)) == [4, 5]
    reader.close()
    journal.close()


def test_a_data_set_that_looks_like_records_is_none(tmp_path: Path) -> None:
    """Somebody sends a piece of a journal as pixels, and the head of that very instance is damaged."""
    other = small_journal(tmp_path / "other")
    for number in range(4):
        put(other, number)
    other.close()
    starts = record_starts(tmp_path / "other")
    records = segments(tmp_path / "other")[0].read_bytes()[starts[2] : starts[4]]
    head = data_set(1, 0)
    forged = head + bytes(-len(head) % PAGE) + records
    folder = tmp_path / "intake"
    journal = small_journal(folder)
    for number in range(4):
        put(journal, number, forged if number == 1 else data_set(number))
    journal.close()
    damaged = record_starts(folder)[1]
    with segments(folder)[0].open("r+b") as file:
        file.seek(damaged)
        file.write(b"\xff" * 9)
    found = read_all(folder)
    assert found == {number: data_set(number) for number in (0, 2, 3)}
