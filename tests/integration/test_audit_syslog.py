"""The audit at a real rsyslog over TLS, with certificates on both sides, stopped and started again in between."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dicom_node.audit.syslog import SyslogReceiver, check_receiver, send_messages
from dicom_node.errors import PeerUnreachable
from tests.services import Rsyslog, await_true, running_rsyslog
from tests.unit.dicom_node.audit.schema import mistakes_in
from workflows.bootstrap import Node, receiver_of
from workflows.commands.checks import Outcome
from workflows.commands.doctor import examine
from workflows.settings import Settings
from workflows.state.auditing import AuditAction, AuditEvent


@pytest.fixture(scope="module")
def rsyslog() -> Iterator[Rsyslog]:
    with running_rsyslog() as receiver:
        yield receiver


@pytest.fixture
def settings(rsyslog: Rsyslog, tmp_path: Path) -> Settings:
    syslog = {
        "host": rsyslog.host, "port": rsyslog.port, "ca": str(rsyslog.ca),
        "certificate": str(rsyslog.certificate), "key": str(rsyslog.key),
    }  # fmt: skip
    return Settings.model_validate({"node": {"data_dir": str(tmp_path / "data")}, "audit": {"syslog": syslog}})


def numbers(rsyslog: Rsyslog) -> list[int]:
    return [int(line.split('ParticipantObjectID="')[-1].split('"')[0]) for line in rsyslog.messages()]


def test_a_receiver_that_is_stopped_and_started_loses_nothing(rsyslog: Rsyslog, settings: Settings) -> None:
    node = Node(settings)
    sender = node.audit_sender()
    for number in range(300):
        node.repository.record_event(AuditEvent("anna", AuditAction.LOOK, str(number), f"1.2.{number}"))
    assert sender.send_waiting() == 300
    rsyslog.service.stop()
    for number in range(300, 310):
        node.repository.record_event(AuditEvent("anna", AuditAction.CORRECT, str(number), "1.2.3"))
    assert sender.send_waiting() == 0 and "cannot be reached" in node.repository.audit_receiver().told
    assert [check.outcome for check in examine(settings) if check.name == "audit"] == [Outcome.FAILED]
    rsyslog.service.start()
    assert sender.send_waiting() == 10 and node.repository.audit_receiver().told == ""
    await_true(lambda: len(rsyslog.messages()) >= 310, "rsyslog writes what it took")
    assert numbers(rsyslog) == list(range(1, 311))
    header, _, xml = rsyslog.messages()[-1].partition("\ufeff")
    assert header.startswith("<85>1 ") and f" {socket.gethostname()} medseg-node " in header
    assert " DICOM+RFC3881 - " in header and mistakes_in(xml.encode()) == []
    (audit,) = (check for check in examine(settings) if check.name == "audit")
    assert audit.outcome is Outcome.OK and "TLSv1" in audit.detail and "0 rows wait" in audit.detail


def test_who_is_not_trusted_gets_nothing(rsyslog: Rsyslog, settings: Settings, tmp_path: Path) -> None:
    before = len(rsyslog.messages())
    receiver = receiver_of(settings)
    with pytest.raises(PeerUnreachable, match="do not trust each other"):
        send_messages(replace(receiver, ca=None), [b"1 x"])
    with pytest.raises(PeerUnreachable, match="certificate: Hostname mismatch"):
        send_messages(SyslogReceiver("localhost", receiver.port, ca=receiver.ca), [b"1 x"])
    nameless = replace(receiver, certificate=None, key=None)
    for _ in range(20):  # it closes at once, or after it has our first bytes: neither counts as taken
        with pytest.raises(PeerUnreachable):
            send_messages(nameless, [b"1 x"])
        with pytest.raises(PeerUnreachable):
            check_receiver(nameless)
    assert len(rsyslog.messages()) == before


def test_a_receiver_that_dies_while_it_takes_rows_has_them_all_in_the_end(rsyslog: Rsyslog, settings: Settings) -> None:
    node = Node(settings)
    before = len(rsyslog.messages())
    for number in range(50):
        node.repository.record_event(AuditEvent("anna", AuditAction.LOOK, str(number)))
    rsyslog.service.freeze()
    receiver = replace(receiver_of(settings), timeout_s=1.0)
    with pytest.raises(PeerUnreachable):
        send_messages(receiver, [b"1 x"])
    rsyslog.service.thaw()
    rsyslog.service.kill()
    rsyslog.service.start()
    assert node.audit_sender().send_waiting() == 50
    await_true(lambda: len(rsyslog.messages()) >= before + 50, "rsyslog writes what it took")
    assert set(range(1, 51)) <= set(numbers(rsyslog)[before:])
