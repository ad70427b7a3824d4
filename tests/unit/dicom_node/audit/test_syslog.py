"""Syslog frames, and a receiver that reads, breaks off, or is not there. A real receiver: tests/integration."""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dicom_node.audit.syslog import SyslogReceiver, check_receiver, send_messages, syslog_frame
from dicom_node.errors import PeerUnreachable
from tests.services import free_port

AT = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


def test_a_frame_is_as_rfc_5424_and_5425_have_it() -> None:
    frame = syslog_frame("<AuditMessage>ö</AuditMessage>".encode(), AT, "pc 7")
    length, _, message = frame.partition(b" ")
    assert int(length) == len(message)
    header, _, text = message.partition("\ufeff".encode())
    pattern = rb"<85>1 2026-01-02T03:04:05\.678Z pc_7 medseg-node (\d+) DICOM\+RFC3881 - "
    matched = re.fullmatch(pattern, header)
    assert matched is not None and int(matched[1]) == os.getpid()
    assert text.decode() == "<AuditMessage>ö</AuditMessage>"
    assert b"<84>1 " in syslog_frame(b"<x/>", AT, "", failed=True)


@contextmanager
def listening(answer: str) -> Iterator[tuple[SyslogReceiver, list[bytes]]]:
    """A receiver over plain TCP that reads all and closes; with "reset" it breaks off after the first bytes."""
    taken: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        while content := connection.recv(65536 if answer == "read" else 10):
                            taken.append(content)
                            if answer == "reset":
                                break

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield SyslogReceiver("127.0.0.1", server.getsockname()[1], tls=False, timeout_s=5), taken
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def test_a_receiver_has_read_everything_when_sending_ends() -> None:
    frames = [syslog_frame(b"x" * 50_000, AT, "node") for _ in range(20)]
    with listening("read") as (receiver, taken):
        send_messages(receiver, frames)
        assert b"".join(taken) == b"".join(frames)
        assert "plain TCP" in check_receiver(receiver)


def test_a_receiver_that_breaks_off_is_told() -> None:
    frames = [syslog_frame(b"x" * 50_000, AT, "node") for _ in range(200)]
    with listening("reset") as (receiver, _), pytest.raises(PeerUnreachable, match="broke off"):
        send_messages(receiver, frames)


def test_a_receiver_that_is_not_there_is_told() -> None:
    receiver = SyslogReceiver("127.0.0.1", free_port(), tls=False)
    with pytest.raises(PeerUnreachable, match=r"cannot be reached .* is \[audit.syslog\] right"):
        send_messages(receiver, [b"1 x"])


def test_a_receiver_without_tls_is_not_trusted() -> None:
    with listening("reset") as (receiver, _):
        asks = SyslogReceiver(receiver.host, receiver.port, timeout_s=5)
        with pytest.raises(PeerUnreachable, match="do not trust each other"):
            send_messages(asks, [b"1 x"])


def test_certificates_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(PeerUnreachable, match=r"check ca, certificate and key in \[audit.syslog\]"):
        send_messages(SyslogReceiver("127.0.0.1", 1, ca=tmp_path / "none.pem"), [])
