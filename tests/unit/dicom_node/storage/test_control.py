"""The control file: what one process writes while another reads, and what a crash leaves of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_node.storage.control import Control, Progress


@pytest.fixture
def control(tmp_path: Path) -> Control:
    return Control.create(tmp_path)


def test_another_sees_what_was_written(control: Control) -> None:
    slot = control.take_slot(Progress(1, 1, 0, 4096, 0))
    assert slot is not None
    control.acknowledge(slot, Progress(1, 1, 3, 9000, 700))
    other = Control.open(control.path)
    other.release(slot, Progress(1, 1, 2, 8000, 500))
    assert list(control.slots()) == [(slot, Progress(1, 1, 3, 9000, 700), Progress(1, 1, 2, 8000, 500))]


def test_released_of_an_earlier_epoch_or_segment_says_nothing(control: Control) -> None:
    slot = control.take_slot(Progress(1, 1, 2, 8000, 0))
    assert slot is not None
    control.release(slot, Progress(1, 1, 2, 8000, 0))
    for now in (Progress(1, 2, 2, 8000, 0), Progress(2, 1, 2, 8000, 0)):
        assert control.released(slot, now).records == 0


def test_a_process_is_alive_until_it_lets_go(control: Control) -> None:
    other = Control.open(control.path)
    assert other.is_alive()
    control.close()
    assert not other.is_alive()


@pytest.mark.parametrize("place", [0, 8, 17, 47, 49])
def test_a_half_of_a_slot_that_was_not_written_to_its_end_says_nothing(control: Control, place: int) -> None:
    slot = control.take_slot(Progress(1, 1, 0, 4096, 0))
    assert slot is not None
    control.acknowledge(slot, Progress(1, 7, 3, 9000, 700))
    with control.path.open("r+b") as file:
        file.seek(64 + place)
        byte = file.read(1)
        file.seek(64 + place)
        file.write(bytes([byte[0] ^ 0xFF]))
    assert list(Control.open(control.path).slots()) == []


def test_an_empty_file_knows_nothing(tmp_path: Path) -> None:
    (tmp_path / "0123.control").touch()
    assert list(Control.open(tmp_path / "0123.control").slots()) == []
    with pytest.raises(FileNotFoundError):
        Control.open(tmp_path / "4567.control")


def test_slots_end_and_are_given_again(control: Control) -> None:
    taken = []
    while (slot := control.take_slot(Progress(len(taken) + 1, 1, 0, 4096, 0))) is not None:
        taken.append(slot)
    assert taken == list(range(len(taken)))
    control.free_slot(17)
    assert control.take_slot(Progress(9999, 1, 0, 4096, 0)) == 17
