"""PDUs as bytes (PS3.8 9.3): pure functions, no socket; what a peer sends is read with bounds."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from dicom_node.errors import ProtocolViolation

__all__ = [
    "APPLICATION_CONTEXT", "HEADER", "HEADER_BYTES", "KNOWN_TYPES", "AbortReason", "AbortSource", "AssociateRequest",
    "ContextAnswer", "ContextResult", "PDUType", "ProposedContext", "Rejection", "abort", "accept", "fragments",
    "p_data", "read_associate_request", "reject", "release_response",
]  # fmt: skip

HEADER = struct.Struct(">BxL")
HEADER_BYTES = HEADER.size
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"

_FIXED = struct.Struct(">H2x16s16s32s")
_ITEM = struct.Struct(">BxH")
_PDV = struct.Struct(">LBB")
_LONGEST_UID = 64


class PDUType(IntEnum):
    """PS3.8 9.3.1."""

    ASSOCIATE_RQ = 1
    ASSOCIATE_AC = 2
    ASSOCIATE_RJ = 3
    P_DATA_TF = 4
    RELEASE_RQ = 5
    RELEASE_RP = 6
    ABORT = 7


KNOWN_TYPES = frozenset(map(int, PDUType))


class AbortSource(IntEnum):
    """Who ends the association (PS3.8 9.3.8)."""

    SERVICE_USER = 0
    SERVICE_PROVIDER = 2


class AbortReason(IntEnum):
    """Why the service provider ends it (PS3.8 9.3.8)."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    INVALID_PARAMETER_VALUE = 6


class Rejection(IntEnum):
    """Why an association is rejected: result, source and reason, one byte each (PS3.8 9.3.4)."""

    APPLICATION_CONTEXT_NOT_SUPPORTED = 0x010102
    CALLING_AE_TITLE_NOT_RECOGNIZED = 0x010103
    PROTOCOL_VERSION_NOT_SUPPORTED = 0x010202
    LOCAL_LIMIT_EXCEEDED = 0x020302

    @property
    def told(self) -> str:
        """The standard's words, for the log."""
        return self.name.replace("_", " ").capitalize().replace("ae title", "AE title")


class ContextResult(IntEnum):
    """What becomes of a proposed presentation context (PS3.8 9.3.3.2)."""

    ACCEPTANCE = 0
    USER_REJECTION = 1
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
    TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


@dataclass(frozen=True)
class ProposedContext:
    """A presentation context as it was proposed."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True)
class ContextAnswer:
    """What is answered to one; of the transfer syntax only where it was accepted a peer may make something."""

    context_id: int
    result: ContextResult
    transfer_syntax: str


@dataclass(frozen=True)
class AssociateRequest:
    """An A-ASSOCIATE-RQ (PS3.8 9.3.2). Sub-items that nobody here knows were skipped.

    `echoed`: the titles and the reserved bytes that an answer repeats. `maximum_length`: of the P-DATA-TF PDUs that the
    peer takes, in bytes; 0: any. `roles`: SOP Class UID -> (SCU, SCP) as it proposes them for itself.
    """

    protocol_version: int
    called_ae_title: str
    calling_ae_title: str
    echoed: bytes = field(repr=False)
    application_context: str
    contexts: tuple[ProposedContext, ...]
    maximum_length: int = 0
    asynchronous: bool = False
    roles: Mapping[str, tuple[bool, bool]] = field(default_factory=dict)


# --- Reading ----------------------------------------------------------------------------------------------------------


def read_associate_request(body: bytes) -> AssociateRequest:
    """Read an A-ASSOCIATE-RQ behind its six bytes of header. Raises ProtocolViolation for what is none."""
    if len(body) < _FIXED.size:
        raise ProtocolViolation("the A-ASSOCIATE-RQ ends within its fixed part")
    version, called, calling, _ = _FIXED.unpack_from(body)
    application_context, contexts, user = "", list[ProposedContext](), b""
    for kind, value in _items(body[_FIXED.size :]):
        match kind:
            case 0x10:
                application_context = _uid(value)
            case 0x20:
                contexts.append(_proposed(value))
            case 0x50:
                user = value
    identifiers = [context.context_id for context in contexts]
    if len(set(identifiers)) < len(identifiers):
        raise ProtocolViolation("two presentation contexts have one ID")
    maximum_length, asynchronous, roles = _user_information(user)
    return AssociateRequest(
        protocol_version=version,
        called_ae_title=_title(called),
        calling_ae_title=_title(calling),
        echoed=bytes(body[4 : _FIXED.size]),
        application_context=application_context,
        contexts=tuple(contexts),
        maximum_length=maximum_length,
        asynchronous=asynchronous,
        roles=roles,
    )


def _items(encoded: bytes) -> Iterator[tuple[int, bytes]]:
    at, end = 0, len(encoded)
    while at < end:
        if end - at < _ITEM.size:
            raise ProtocolViolation("an item ends within its header")
        kind, length = _ITEM.unpack_from(encoded, at)
        at += _ITEM.size
        if length > end - at:
            raise ProtocolViolation(f"item {kind:#04x} claims {length} bytes where {end - at} follow")
        yield kind, encoded[at : at + length]
        at += length


def _proposed(value: bytes) -> ProposedContext:
    if len(value) < 4 or not value[0] % 2:
        raise ProtocolViolation("a presentation context has no odd ID")
    abstract_syntax, transfer_syntaxes = "", list[str]()
    for kind, inner in _items(value[4:]):
        if kind == 0x30:
            abstract_syntax = _uid(inner)
        elif kind == 0x40:
            transfer_syntaxes.append(_uid(inner))
    return ProposedContext(value[0], abstract_syntax, tuple(transfer_syntaxes))


def _user_information(value: bytes) -> tuple[int, bool, dict[str, tuple[bool, bool]]]:
    """PS3.8 annex D.1 and PS3.7 annex D.3.3; what is not negotiated here is skipped."""
    maximum_length, asynchronous, roles = 0, False, dict[str, tuple[bool, bool]]()
    for kind, inner in _items(value):
        if kind == 0x51 and len(inner) == 4:
            maximum_length = int.from_bytes(inner, "big")
        elif kind == 0x53 and len(inner) == 4:
            asynchronous = True
        elif kind == 0x54 and len(inner) >= 4:
            length = int.from_bytes(inner[:2], "big")
            if len(inner) != length + 4:
                raise ProtocolViolation("a role selection is longer or shorter than it says")
            roles[_uid(inner[2 : 2 + length])] = (inner[-2] == 1, inner[-1] == 1)
    return maximum_length, asynchronous, roles


def _uid(value: bytes) -> str:
    return value.rstrip(b"\0 ").decode("ascii", "replace")[: _LONGEST_UID + 1]


def _title(value: bytes) -> str:
    return value.strip(b" \0").decode("ascii", "replace")


# --- Writing ----------------------------------------------------------------------------------------------------------


def accept(
    request: AssociateRequest,
    answers: Sequence[ContextAnswer],
    *,
    maximum_length: int,
    implementation: tuple[str, str],
    roles: Mapping[str, tuple[bool, bool]],
) -> bytes:
    """An A-ASSOCIATE-AC (PS3.8 9.3.3).

    `implementation`: Implementation Class UID and Version Name. Asynchronous operations, where they were asked for, are
    answered with one at a time (PS3.7 D.3.3.3).
    """
    class_uid, version_name = implementation
    user = [_item(0x51, struct.pack(">L", maximum_length)), _item(0x52, class_uid.encode("ascii"))]
    if request.asynchronous:
        user.append(_item(0x53, struct.pack(">HH", 1, 1)))
    for uid, (scu, scp) in roles.items():
        user.append(_item(0x54, struct.pack(">H", len(uid)) + uid.encode("ascii") + bytes((scu, scp))))
    user.append(_item(0x55, version_name.encode("ascii")))
    items = [_item(0x10, APPLICATION_CONTEXT.encode("ascii"))]
    for answer in answers:
        syntax = _item(0x40, answer.transfer_syntax.encode("ascii", "replace"))
        items.append(_item(0x21, bytes((answer.context_id, 0, answer.result, 0)) + syntax))
    items.append(_item(0x50, b"".join(user)))
    return _pdu(PDUType.ASSOCIATE_AC, struct.pack(">H2x", 1) + request.echoed + b"".join(items))


def reject(rejection: Rejection) -> bytes:
    """An A-ASSOCIATE-RJ (PS3.8 9.3.4)."""
    return _pdu(PDUType.ASSOCIATE_RJ, int(rejection).to_bytes(4, "big"))


def release_response() -> bytes:
    """An A-RELEASE-RP (PS3.8 9.3.7)."""
    return _pdu(PDUType.RELEASE_RP, bytes(4))


def abort(source: AbortSource, reason: AbortReason = AbortReason.NOT_SPECIFIED) -> bytes:
    """An A-ABORT (PS3.8 9.3.8)."""
    return _pdu(PDUType.ABORT, bytes((0, 0, source, reason)))


def p_data(context_id: int, command_set: bytes, maximum_length: int) -> bytes:
    """The P-DATA-TF PDUs of a message that is a command set alone, none longer than the peer takes (PS3.8 annex E)."""
    room = max(maximum_length - _PDV.size, 2) if maximum_length else len(command_set)
    pdus = []
    for start in range(0, len(command_set), room):
        part = command_set[start : start + room]
        last = start + room >= len(command_set)
        pdus.append(HEADER.pack(PDUType.P_DATA_TF, len(part) + _PDV.size))
        pdus.append(_PDV.pack(len(part) + 2, context_id, 0x03 if last else 0x01))
        pdus.append(part)
    return b"".join(pdus)


def fragments(body: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Context ID, message control header and bytes of each PDV in a P-DATA-TF PDU (PS3.8 9.3.5, E.2).

    Raises ProtocolViolation where lengths do not add up.
    """
    at, end = 0, len(body)
    if not end:
        raise ProtocolViolation("a P-DATA-TF PDU holds nothing")
    while at < end:
        if end - at < _PDV.size:
            raise ProtocolViolation("a presentation data value ends within its header")
        length, context_id, control = _PDV.unpack_from(body, at)
        if length < 2 or length > end - at - 4:
            raise ProtocolViolation(f"a presentation data value claims {length} bytes where {end - at - 4} follow")
        yield context_id, control, body[at + _PDV.size : at + 4 + length]
        at += 4 + length


def _item(kind: int, value: bytes) -> bytes:
    return _ITEM.pack(kind, len(value)) + value


def _pdu(kind: PDUType, body: bytes) -> bytes:
    return HEADER.pack(kind, len(body)) + body
