"""Each action becomes a message that the schema allows; rows reach the receiver in order, and none is lost."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest

from dicom_node.audit.codes import EventID
from dicom_node.audit.message import as_xml
from dicom_node.audit.syslog import SyslogReceiver
from dicom_node.errors import PeerUnreachable
from tests.unit.dicom_node.audit.schema import mistakes_in
from workflows.state.auditing import AuditAction, AuditEntry, AuditEvent, Outcome, StudyFacts
from workflows.state.engine import open_engine, upgrade_schema
from workflows.state.repository import Repository
from workflows.steps import audit
from workflows.steps.audit import AuditExport, AuditFormat, AuditSender, Naming, write_entries
from workflows.steps.audit_messages import EVENTS, kind_of, message_of

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FACTS = StudyFacts(("P1",), {"1.2.840.10008.5.1.4.1.1.2": 300})
NAMING = Naming("MEDSEG@node", "MEDSEG", "node")


def entry(action: str, study_uid: str | None = "1.2.3", number: int = 1, **more: object) -> AuditEntry:
    values = {"outcome": Outcome.SUCCESS, "address": "10.0.0.7", **more}
    return AuditEntry(number, AT, "anna", action, "subject", {"rows": 3}, study_uid=study_uid, **values)  # type: ignore[arg-type]


def xml_of(one: AuditEntry, facts: StudyFacts = FACTS) -> bytes:
    return as_xml(message_of(one, facts, "MEDSEG@node", "MEDSEG"))


@pytest.mark.parametrize("study_uid", ["1.2.3", None])
@pytest.mark.parametrize("action", [*(one.value for one in AuditAction), "something else"])
def test_every_action_becomes_a_message_that_the_schema_allows(action: str, study_uid: str | None) -> None:
    assert set(EVENTS) == set(AuditAction)
    for outcome in Outcome:
        assert mistakes_in(xml_of(entry(action, study_uid, outcome=outcome))) == []


def test_a_look_names_study_and_patient_and_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    root = fromstring(xml_of(entry("look", digest="d" * 64)))
    study, patient, row = root.findall("ParticipantObjectIdentification")
    assert (study.get("ParticipantObjectID"), study.get("ParticipantObjectTypeCodeRole")) == ("1.2.3", "3")
    assert (patient.get("ParticipantObjectID"), patient.get("ParticipantObjectTypeCode")) == ("P1", "1")
    name = patient.find("ParticipantObjectName")
    assert name is not None and not name.text, "the patient's name is not told"
    digest = row.find("ParticipantObjectDetail[@type='digest']")
    assert digest is not None and base64.b64decode(digest.get("value", "")).decode() == "d" * 64
    sop_class = study.find("ParticipantObjectDescription/SOPClass")
    assert sop_class is not None and sop_class.get("NumberOfInstances") == "300"


def test_a_purged_study_is_told_with_what_there_was_of_it() -> None:
    purged = entry("purge", details={"sop_classes": {"1.2.840.10008.5.1.4.1.1.4": 7}})
    root = fromstring(xml_of(purged, StudyFacts()))
    event = root.find("EventIdentification/EventID")
    assert event is not None and event.get("csd-code") == "110105"
    study, patient, _ = root.findall("ParticipantObjectIdentification")
    sop_class = study.find("ParticipantObjectDescription/SOPClass")
    assert sop_class is not None and sop_class.get("UID") == "1.2.840.10008.5.1.4.1.1.4"
    assert patient.get("ParticipantObjectID") == "unknown"


def test_an_action_without_a_name_is_of_a_study_or_a_restricted_function() -> None:
    assert kind_of("no name of ours", "1.2.3").event is EventID.PROCEDURE_RECORD
    assert kind_of("no name of ours", None).event is EventID.SECURITY_ALERT


def test_an_export_names_who_and_where_to() -> None:
    root = fromstring(xml_of(entry("export", None)))
    roles = [
        [role.get("csd-code") for role in user.findall("RoleIDCode")] for user in root.findall("ActiveParticipant")
    ]
    assert roles == [["110153"], ["110150"], ["110154"]]


# --- Files ------------------------------------------------------------------------------------------------------------


def written(form: AuditFormat, *entries: AuditEntry) -> str:
    file = io.StringIO()
    assert write_entries(entries, form, file, AuditExport(NAMING, lambda _uid: FACTS)) == len(entries)
    return file.getvalue()


def test_files_in_each_format() -> None:
    one, two = entry("look"), entry("sign-in", None, 2, address="=cmd()")
    root = fromstring(written(AuditFormat.XML, one, two))
    assert [child.tag for child in root] == ["AuditMessage", "AuditMessage"]
    lines = [json.loads(line) for line in written(AuditFormat.JSONL, one, two).splitlines()]
    assert [line["number"] for line in lines] == [1, 2] and "P1" not in json.dumps(lines)
    first, second = csv.DictReader(io.StringIO(written(AuditFormat.CSV, one, two)))
    assert (first["study_uid"], second["address"]) == ("1.2.3", "'=cmd()"), "a spreadsheet takes no formula from us"
    assert written(AuditFormat.CSV).startswith("number,at,who") and fromstring(written(AuditFormat.XML)) is not None


# --- Sending ----------------------------------------------------------------------------------------------------------


class Receiver:
    """Stands in for `send_messages`: takes rows, or is away after so many frames."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.breaks_after: int | None = None

    def __call__(self, _receiver: SyslogReceiver, frames: Iterable[bytes]) -> None:
        for number, frame in enumerate(frames):
            if self.breaks_after is not None and number >= self.breaks_after:
                raise PeerUnreachable("it broke off")
            self.taken.append(frame)

    def numbers(self) -> list[int]:
        found = []
        for frame in self.taken:
            root = fromstring(frame.partition("\ufeff".encode())[2])
            found.append(int(root.findall("ParticipantObjectIdentification")[-1].get("ParticipantObjectID", "")))
        return found


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    engine = open_engine(f"sqlite:///{tmp_path / 'state.db'}")
    upgrade_schema(engine)
    yield Repository(engine)
    engine.dispose()


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Receiver:
    receiver = Receiver()
    monkeypatch.setattr(audit, "send_messages", receiver)
    monkeypatch.setattr(audit, "_AT_ONCE", 4)
    return receiver


def test_a_receiver_that_is_away_in_between_has_every_row_in_order(repository: Repository, receiver: Receiver) -> None:
    for number in range(10):
        repository.record_event(AuditEvent("anna", AuditAction.LOOK, str(number)))
    sender = AuditSender(repository, SyslogReceiver("receiver.invalid", 1), NAMING)
    receiver.breaks_after = 2
    assert sender.send_waiting() == 0 and repository.audit_receiver().told == "it broke off"
    receiver.breaks_after = None
    assert sender.send_waiting() == 10
    assert receiver.numbers() == [1, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10], "twice rather than never"
    state = repository.audit_receiver()
    assert (state.number, state.told) == (10, "")
    assert sender.send_waiting() == 0 and len(receiver.taken) == 12
    repository.record_event(AuditEvent("anna", AuditAction.LOGOUT))
    assert AuditSender(repository, SyslogReceiver("receiver.invalid", 1), NAMING).send_waiting() == 1
    assert receiver.numbers()[-1] == 11, "another process goes on where the last was"
