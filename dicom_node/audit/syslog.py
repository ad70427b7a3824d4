"""Syslog for audit messages: RFC 5424 messages in RFC 5425 frames, over TLS or plain TCP (PS3.15 A.6).

Syslog has no answer that says that a message was taken. `send_messages` therefore closes its side in order after the
last message, waits until the receiver closes the other, and looks whether all was acknowledged: a receiver that closes
with something unread answers with a reset. What breaks off proves nothing, and everything is to be sent again.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
import ssl
import struct
import termios
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dicom_node.errors import PeerUnreachable

__all__ = ["MSGID", "SyslogReceiver", "check_receiver", "send_messages", "syslog_frame"]

MSGID = "DICOM+RFC3881"
"""PS3.15 A.6: of messages that comply with its profile."""
_SECURITY = 10
_WARNING, _NOTICE = 4, 5
_BOM = "\ufeff".encode()
_NIL = "-"
_PRINTABLE = re.compile(r"[^\x21-\x7e]")
_CLOSE_S = 15.0
_LOOK_S = 0.005


@dataclass(frozen=True)
class SyslogReceiver:
    """Where messages go. `ca`: certificates that the receiver's must be signed by; None: those of the system.

    `certificate`, `key`: ours, where the receiver asks for one. `timeout_s`: for a connection, and each wait on it.
    """

    host: str
    port: int
    tls: bool = True
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    timeout_s: float = 10.0

    @property
    def name(self) -> str:
        """As messages to persons name it."""
        return f"syslog receiver {self.host}:{self.port}"


def syslog_frame(xml: bytes, at: datetime, host: str, app: str = "medseg-node", *, failed: bool = False) -> bytes:
    """One message (RFC 5424 6) in its frame (RFC 5425 4.3): its length in octets, a space, the message.

    `at`: aware. `failed`: what it tells of failed: severity Warning instead of Notice; the facility is 10, security.
    """
    priority = _SECURITY * 8 + (_WARNING if failed else _NOTICE)
    moment = at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    header = f"<{priority}>1 {moment} {_name(host, 255)} {_name(app, 48)} {os.getpid()} {MSGID} - "
    message = header.encode("ascii") + _BOM + xml
    return str(len(message)).encode("ascii") + b" " + message


def send_messages(receiver: SyslogReceiver, frames: Iterable[bytes]) -> None:
    """Send frames in order over one connection, and return once the receiver has read them all.

    Raises PeerUnreachable, with what to look at: then perhaps some were read, and none is known to be.
    """
    connection = _connected(receiver)
    try:
        for frame in frames:
            connection.sendall(frame)
        _end(connection)
    except OSError as error:
        raise PeerUnreachable(
            f"{receiver.name} broke off ({_why(error)}): messages that it may not have are sent again"
        ) from error
    finally:
        connection.close()


def check_receiver(receiver: SyslogReceiver) -> str:
    """Connect, send nothing, and say with what. Raises PeerUnreachable."""
    connection = _connected(receiver)
    try:
        spoken = connection.version() if isinstance(connection, ssl.SSLSocket) else "plain TCP"
        _end(connection)  # TLS 1.3 refuses our certificate only now
    except OSError as error:
        raise PeerUnreachable(
            f"{receiver.name} ends the connection ({_why(error)}): does it ask for a certificate of ours?"
        ) from error
    finally:
        connection.close()
    return f"{receiver.host}:{receiver.port} answers, {spoken}"


def _connected(receiver: SyslogReceiver) -> socket.socket:
    try:
        context = _context(receiver) if receiver.tls else None
    except OSError as error:  # ssl.SSLError is one
        raise PeerUnreachable(
            f"certificates for {receiver.name} cannot be used ({_why(error)}): check ca, certificate and key in "
            "[audit.syslog]"
        ) from error
    try:
        plain = socket.create_connection((receiver.host, receiver.port), timeout=receiver.timeout_s)
    except OSError as error:
        raise PeerUnreachable(
            f"{receiver.name} cannot be reached ({_why(error)}): is it running, and is [audit.syslog] right?"
        ) from error
    if context is None:
        return plain
    try:
        return context.wrap_socket(plain, server_hostname=receiver.host)
    except TimeoutError as error:
        plain.close()
        raise PeerUnreachable(f"{receiver.name} takes the connection and says nothing: does it speak TLS?") from error
    except OSError as error:
        plain.close()
        raise PeerUnreachable(
            f"{receiver.name} and the node do not trust each other ({_why(error)}): check [audit.syslog] ca, and the "
            "receiver's certificate and host name"
        ) from error


def _context(receiver: SyslogReceiver) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=None if receiver.ca is None else str(receiver.ca))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if receiver.certificate is not None:
        context.load_cert_chain(receiver.certificate, receiver.key)
    return context


def _end(connection: socket.socket) -> None:
    """Close our side, wait for the other, and make sure that it had read everything before it closed.

    A receiver that closes without having read all answers our bytes with a reset; one that has read them has
    acknowledged them. A receiver that refuses our certificate just closes, which looks like an end otherwise.
    """
    connection.settimeout(_CLOSE_S)
    plain = connection
    if isinstance(connection, ssl.SSLSocket):
        try:
            plain = connection.unwrap()
        except ssl.SSLError as error:
            if not _is_end(error):
                raise
    with suppress(OSError):  # it has closed already
        plain.shutdown(socket.SHUT_WR)
    if plain is connection and isinstance(connection, ssl.SSLSocket):
        _require_acknowledged(connection)
        return
    while plain.recv(4096):
        pass
    _require_acknowledged(plain)


def _require_acknowledged(connection: socket.socket) -> None:
    """Wait until the other host has acknowledged every byte. Raises OSError where it answered with a reset."""
    deadline = time.monotonic() + _CLOSE_S
    while True:
        if error := connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(error, os.strerror(error))
        left = struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4)))[0]
        if not left:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"{left} bytes are not acknowledged")
        time.sleep(_LOOK_S)


def _is_end(error: ssl.SSLError) -> bool:
    """Whether the other side just closed the connection, which RFC 5425 receivers do instead of answering."""
    return isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)) or "EOF" in (error.reason or "")


def _name(text: str, most: int) -> str:
    return _PRINTABLE.sub("_", text)[:most] or _NIL


def _why(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate: {error.verify_message}"
    return (error.strerror or str(error) or type(error).__name__).partition("\n")[0]
