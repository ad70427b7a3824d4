"""A peer that sends bytes: PDUs as a test wants them, right or wrong."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from dicom_node.storage.sink import StoreRequest

CT, VERIFICATION, COMMITMENT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.1", "1.2.840.10008.1.20.1"
AVAILABILITY, WORKLIST = "1.2.840.10008.5.1.4.33", "1.2.840.10008.5.1.4.31"
IMPLICIT, EXPLICIT, JPEG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.50"
CONTEXT = b"1.2.840.10008.3.1.1.1"
RELEASE_RQ = b"\x05\0\0\0\0\x04\0\0\0\0"
ABORT = b"\x07\0\0\0\0\x04\0\0\0\0"


class Context(NamedTuple):
    number: int
    abstract_syntax: str
    transfer_syntaxes: Sequence[str] = (EXPLICIT, IMPLICIT)


def item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def pdu(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxL", kind, len(body)) + body


def context_item(context: Context) -> bytes:
    syntaxes = b"".join(item(0x40, uid.encode()) for uid in context.transfer_syntaxes)
    return item(0x20, bytes((context.number, 0, 0, 0)) + item(0x30, context.abstract_syntax.encode()) + syntaxes)


def role_item(uid: str, scu: int, scp: int) -> bytes:
    return item(0x54, struct.pack(">H", len(uid)) + uid.encode() + bytes((scu, scp)))


def associate_request(
    *contexts: Context,
    calling: str = "SCANNER",
    called: str = "MEDSEG",
    version: int = 1,
    application_context: bytes = CONTEXT,
    maximum_length: int = 16384,
    user: Iterable[bytes] = (),
) -> bytes:
    """An A-ASSOCIATE-RQ; `user`: more sub-items of the user information."""
    fixed = struct.pack(">H2x16s16s32x", version, called.ljust(16).encode(), calling.ljust(16).encode())
    items = [
        item(0x10, application_context),
        *map(context_item, contexts or (Context(1, CT), Context(3, VERIFICATION))),
    ]
    information = item(0x51, struct.pack(">L", maximum_length)) + b"".join(user)
    return pdu(1, fixed + b"".join(items) + item(0x50, information))


def element(number: int, value: bytes) -> bytes:
    return struct.pack("<HHL", 0, number, len(value)) + value


def us(value: int) -> bytes:
    return struct.pack("<H", value)


def command(field_: int, *, message_id: int = 7, data_set: bool = True, sop_class: str = CT, uid: str = "1.2.3",
            more: bytes = b"") -> bytes:  # fmt: skip
    """A request's command set."""
    elements = b"".join(
        (
            element(0x0002, sop_class.encode() + b"\0" * (len(sop_class) % 2)),
            element(0x0100, us(field_)),
            element(0x0110, us(message_id)),
            element(0x0800, us(0x0001 if data_set else 0x0101)),
            element(0x1000, uid.encode() + b"\0" * (len(uid) % 2)) if uid else b"",
            more,
        )
    )
    return element(0, struct.pack("<L", len(elements))) + elements


def pdv(context: int, control: int, fragment: bytes) -> bytes:
    return struct.pack(">LBB", len(fragment) + 2, context, control) + fragment


def p_data(*values: bytes) -> bytes:
    return pdu(4, b"".join(values))


def store(data_set: bytes, *, context: int = 1, message_id: int = 7, uid: str = "1.2.3") -> bytes:
    """A C-STORE request in one PDU."""
    request = command(0x0001, message_id=message_id, uid=uid)
    return p_data(pdv(context, 0x03, request), pdv(context, 0x02, data_set))


class Response(NamedTuple):
    """The command set of a response; `elements`: by element number."""

    context: int
    elements: dict[int, bytes]

    @property
    def status(self) -> int:
        return int(struct.unpack("<H", self.elements[0x0900])[0])

    @property
    def message_id(self) -> int:
        return int(struct.unpack("<H", self.elements[0x0120])[0])


def read_elements(encoded: bytes) -> dict[int, bytes]:
    elements, at = {}, 0
    while at < len(encoded):
        group, number, length = struct.unpack_from("<HHL", encoded, at)
        assert group == 0
        elements[number] = encoded[at + 8 : at + 8 + length]
        at += 8 + length
    return elements


class RawPeer:
    """A connection to a port; `with` closes it."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.settimeout(30)

    def __enter__(self) -> RawPeer:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *pdus: bytes) -> None:
        self.socket.sendall(b"".join(pdus))

    def receive(self) -> tuple[int, bytes]:
        """The next PDU's type and body; (0, b"") where the connection was closed."""
        header = self._exactly(6)
        if not header:
            return 0, b""
        kind, length = struct.unpack(">BxL", header)
        return kind, self._exactly(length)

    def associate(self, *contexts: Context, **options: object) -> bytes:
        """The A-ASSOCIATE-AC's body."""
        self.send(associate_request(*contexts, **options))  # type: ignore[arg-type]
        kind, body = self.receive()
        assert kind == 2, f"{kind}: {body.hex()}"
        return body

    def response(self) -> Response:
        """The next message, of as many PDUs as it takes."""
        encoded = b""
        while True:
            kind, body = self.receive()
            assert kind == 4, f"{kind}: {body.hex()}"
            length, context, control = struct.unpack_from(">LBB", body)
            assert len(body) == length + 4
            encoded += body[6:]
            if control & 2:
                return Response(context, read_elements(encoded))

    def release(self) -> None:
        self.send(RELEASE_RQ)
        assert self.receive() == (6, bytes(4))

    def _exactly(self, length: int) -> bytes:
        received = b""
        while len(received) < length:
            part = self.socket.recv(length - len(received))
            if not part:
                return b""
            received += part
        return received


@dataclass
class Kept:
    """What a sink was given of one instance."""

    request: StoreRequest
    fragments: list[bytes] = field(default_factory=list)
    committed: bool = False
    abandoned: bool = False
    fails_at: str = ""

    def write(self, fragment: bytes | memoryview) -> None:
        if self.fails_at == "write":
            raise OSError("the disk is gone")
        self.fragments.append(bytes(fragment))

    def commit(self) -> None:
        if self.fails_at == "commit":
            raise OSError("the disk is gone")
        self.committed = True

    def abandon(self) -> None:
        self.abandoned = True

    @property
    def data_set(self) -> bytes:
        return b"".join(self.fragments)


class KeepingSink:
    """Keeps what it is given; `fails_at`: open, write or commit, of the instances whose UID stands in `failing`."""

    def __init__(self, fails_at: str = "", failing: tuple[str, ...] = ("1.2.3",)) -> None:
        self.kept: list[Kept] = []
        self._fails_at = fails_at
        self._failing = failing

    def open(self, request: StoreRequest) -> Kept:
        fails_at = self._fails_at if request.sop_instance_uid in self._failing else ""
        if fails_at == "open":
            raise OSError("the disk is gone")
        self.kept.append(Kept(request, fails_at=fails_at))
        return self.kept[-1]
