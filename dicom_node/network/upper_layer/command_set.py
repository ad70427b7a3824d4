"""DIMSE command sets as bytes (PS3.7 6.3.1, annex E): Implicit VR Little Endian, read with bounds."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from dicom_node.errors import ProtocolViolation

__all__ = ["MOST_BYTES", "CommandField", "CommandSet", "read_command_set", "response"]

MOST_BYTES = 64 * 1024
"""A command set that is longer is none: the longest known ones have a few hundred bytes."""

_ELEMENT = struct.Struct("<HHL")
_US = struct.Struct("<H")
_LONGEST_UID = 64
_RESPONSE = 0x8000
_NO_DATA_SET = 0x0101


class CommandField(IntEnum):
    """Command Field (0000,0100) of the requests that are served, and of one that has no response (PS3.7 E.1)."""

    C_STORE_RQ = 0x0001
    C_ECHO_RQ = 0x0030
    N_EVENT_REPORT_RQ = 0x0100
    N_CREATE_RQ = 0x0140
    C_CANCEL_RQ = 0x0FFF


@dataclass(frozen=True)
class CommandSet:
    """A request's or a response's command set; texts are "" where the element is absent."""

    command_field: int
    message_id: int
    affected_sop_class_uid: str = ""
    requested_sop_class_uid: str = ""
    affected_sop_instance_uid: str = ""
    requested_sop_instance_uid: str = ""
    event_type_id: int | None = None
    has_data_set: bool = False

    @property
    def is_response(self) -> bool:
        return bool(self.command_field & _RESPONSE)


def read_command_set(encoded: bytes) -> CommandSet:
    """Read a whole command set. Raises ProtocolViolation for bytes that are none."""
    elements, at, end = dict[int, bytes](), 0, len(encoded)
    while at < end:
        if end - at < _ELEMENT.size:
            raise ProtocolViolation("a command set ends within an element")
        group, number, length = _ELEMENT.unpack_from(encoded, at)
        at += _ELEMENT.size
        if group or length > end - at:
            raise ProtocolViolation("a command set holds an element of another group, or one longer than itself")
        elements[number] = encoded[at : at + length]
        at += length
    command_field, data_set_type = _number(elements, 0x0100), _number(elements, 0x0800)
    if command_field is None or data_set_type is None:
        raise ProtocolViolation("a command set without Command Field or Command Data Set Type")
    message_id = _number(elements, 0x0120 if command_field & _RESPONSE else 0x0110)
    if message_id is None and command_field != CommandField.C_CANCEL_RQ:
        raise ProtocolViolation("a command set without Message ID")
    return CommandSet(
        command_field=command_field,
        message_id=message_id or 0,
        affected_sop_class_uid=_text(elements, 0x0002),
        requested_sop_class_uid=_text(elements, 0x0003),
        affected_sop_instance_uid=_text(elements, 0x1000),
        requested_sop_instance_uid=_text(elements, 0x1001),
        event_type_id=_number(elements, 0x1002),
        has_data_set=data_set_type != _NO_DATA_SET,
    )


def _number(elements: Mapping[int, bytes], number: int) -> int | None:
    value = elements.get(number, b"")
    return int(_US.unpack(value)[0]) if len(value) == _US.size else None


def _text(elements: Mapping[int, bytes], number: int) -> str:
    return elements.get(number, b"").strip(b"\0 ").decode("ascii", "replace")


def response(request: CommandSet, status: int, comment: str = "") -> bytes:
    """The command set of the response to a request, without a data set (PS3.7 9.3, 10.3).

    `comment`: Error Comment (0000,0902), at most 64 characters. UIDs of the request are repeated where they are UIDs by
    their length.
    """
    sop_class = request.affected_sop_class_uid or request.requested_sop_class_uid
    sop_instance = request.affected_sop_instance_uid or request.requested_sop_instance_uid
    elements = [
        _encoded_uid(0x0002, sop_class),
        _encoded_us(0x0100, request.command_field | _RESPONSE),
        _encoded_us(0x0120, request.message_id),
        _encoded_us(0x0800, _NO_DATA_SET),
        _encoded_us(0x0900, status),
        _padded(0x0902, comment.encode("ascii", "replace"), b" ") if comment else b"",
        _encoded_uid(0x1000, sop_instance),
    ]
    encoded = b"".join(elements)
    return _ELEMENT.pack(0, 0, 4) + struct.pack("<L", len(encoded)) + encoded


def _encoded_us(number: int, value: int) -> bytes:
    return _ELEMENT.pack(0, number, 2) + _US.pack(value)


def _encoded_uid(number: int, uid: str) -> bytes:
    if not uid or len(uid) > _LONGEST_UID:
        return b""
    return _padded(number, uid.encode("ascii", "replace"), b"\0")


def _padded(number: int, value: bytes, padding: bytes) -> bytes:
    value += padding * (len(value) % 2)
    return _ELEMENT.pack(0, number, len(value)) + value
