"""Command sets: read with bounds, and written so that another implementation reads them."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.filereader import read_dataset

from dicom_node.errors import ProtocolViolation
from dicom_node.network.upper_layer.command_set import CommandSet, read_command_set, response
from tests.unit.dicom_node.network.upper_layer.raw_peer import CT, command, element, us

FUZZ = settings(max_examples=300, derandomize=True, deadline=None, database=None)


def test_a_request_is_read() -> None:
    request = read_command_set(
        command(0x0001, message_id=65535, more=element(0x1030, b"OTHER ") + element(0x1002, us(2)))
    )
    assert request == CommandSet(
        command_field=1,
        message_id=65535,
        affected_sop_class_uid=CT,
        affected_sop_instance_uid="1.2.3",
        event_type_id=2,
        has_data_set=True,
    )
    assert not request.is_response


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        b"\0\0",
        command(0x0001)[:-1],
        command(0x0001) + b"\x08\0\x18\0\0\0\0\0",
        command(0x0001) + b"\0\0\0\x09\xff\xff\xff\xff",
        element(0x0100, us(1)) + element(0x0800, us(1)),
        element(0x0110, us(1)) + element(0x0800, us(1)),
        element(0x0100, us(1)) + element(0x0110, us(1)),
        element(0x0100, b"\1") + element(0x0110, us(1)) + element(0x0800, us(1)),
    ],
)
def test_what_is_no_command_set_is_refused(encoded: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        read_command_set(encoded)


@FUZZ
@given(st.binary(max_size=300))
def test_any_bytes_are_a_command_set_or_refused(encoded: bytes) -> None:
    _read_and_answer(encoded)


@FUZZ
@given(st.lists(st.tuples(st.integers(0, len(command(1)) - 1), st.integers(0, 255)), max_size=6), st.integers(0, 20))
def test_a_damaged_command_set_is_read_or_refused(changes: list[tuple[int, int]], cut: int) -> None:
    damaged = bytearray(command(1))
    for at, value in changes:
        damaged[at] = value
    _read_and_answer(bytes(damaged[: len(damaged) - cut]))


def _read_and_answer(encoded: bytes) -> None:
    try:
        request = read_command_set(encoded)
    except ProtocolViolation:
        return
    answer = read_dataset(BytesIO(response(request, 0xA900, "no")), True, True)
    assert (answer.Status, answer.ErrorComment) == (0xA900, "no")


def test_another_implementation_reads_a_response() -> None:
    encoded = response(read_command_set(command(0x0001, message_id=9)), 0xC000, "it cannot be parsed")
    answer = read_dataset(BytesIO(encoded), True, True)
    assert answer.CommandGroupLength == len(encoded) - 12
    assert (answer.CommandField, answer.MessageIDBeingRespondedTo, answer.Status) == (0x8001, 9, 0xC000)
    assert (answer.AffectedSOPClassUID, answer.AffectedSOPInstanceUID) == (CT, "1.2.3")
    assert answer.CommandDataSetType == 0x0101 and answer.ErrorComment == "it cannot be parsed"


def test_a_uid_that_is_too_long_is_not_repeated() -> None:
    answer = read_dataset(BytesIO(response(read_command_set(command(1, uid="1." + "2" * 80)), 0xA900)), True, True)
    assert "AffectedSOPInstanceUID" not in answer and "ErrorComment" not in answer
