"""An audit message keeps to the schema of PS3.15 A.5.1, whatever stands in it."""

from __future__ import annotations

import base64
from datetime import datetime, timedelta, timezone
from xml.etree.ElementTree import fromstring

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.audit.codes import APPLICATION, DESTINATION_MEDIA, STUDY, Coded, EventID, EventType
from dicom_node.audit.message import (
    ActionCode,
    AuditMessage,
    ObjectRole,
    ObjectType,
    ParticipantObject,
    User,
    as_xml,
)

from .schema import mistakes_in

AT = datetime(2026, 1, 2, 4, 4, 5, 678000, tzinfo=timezone(timedelta(hours=1)))
STUDY_OBJECT = ParticipantObject(
    "1.2.3", STUDY, ObjectType.SYSTEM_OBJECT, ObjectRole.REPORT, name="study",
    sop_classes={"1.2.840.10008.5.1.4.1.1.2": 300}, details={"digest": "ab"},
)  # fmt: skip


def message(**changes: object) -> AuditMessage:
    values: dict[str, object] = {
        "event": EventID.INSTANCES_ACCESSED.value, "action": ActionCode.READ, "at": AT, "outcome": 0,
        "users": (User("anna", True, address="10.0.0.7"), User("MEDSEG", False, APPLICATION, "AETITLES=MEDSEG")),
        "source_id": "MEDSEG@node", "objects": (STUDY_OBJECT,),
    }  # fmt: skip
    return AuditMessage(**{**values, **changes})  # type: ignore[arg-type]


def test_a_look_reads_as_the_standard_has_it() -> None:
    xml = as_xml(message())
    assert xml.startswith(b"<?xml version='1.0' encoding='utf-8'?><AuditMessage>")
    assert mistakes_in(xml) == []
    root = fromstring(xml)
    event = root.find("EventIdentification")
    assert event is not None
    assert event.attrib == {
        "EventActionCode": "R", "EventDateTime": "2026-01-02T03:04:05.678Z", "EventOutcomeIndicator": "0",
    }  # fmt: skip
    identifier = event.find("EventID")
    assert identifier is not None and identifier.get("csd-code") == "110103"
    anna, node = root.findall("ActiveParticipant")
    assert (anna.get("UserIsRequestor"), anna.get("NetworkAccessPointTypeCode")) == ("true", "2")
    assert node.get("NetworkAccessPointID") is None
    sop_class = root.find("ParticipantObjectIdentification/ParticipantObjectDescription/SOPClass")
    assert sop_class is not None and sop_class.get("NumberOfInstances") == "300"
    detail = root.find("ParticipantObjectIdentification/ParticipantObjectDetail")
    assert detail is not None and base64.b64decode(detail.get("value", "")) == b"ab"


@pytest.mark.parametrize(
    ("address", "code"), [("10.0.0.7", "2"), ("fe80::1%eth0", "2"), ("::1", "2"), ("pc-7.hospital", "1")]
)
def test_an_address_is_a_number_or_a_name(address: str, code: str) -> None:
    root = fromstring(as_xml(message(users=(User("anna", True, address=address),))))
    user = root.find("ActiveParticipant")
    assert user is not None and user.get("NetworkAccessPointTypeCode") == code


def test_a_medium_a_type_a_query_and_a_failure() -> None:
    medium = User("file.csv", False, DESTINATION_MEDIA, medium=Coded("110037", "DCM", "URI"))
    query = ParticipantObject("worklist", STUDY, ObjectType.SYSTEM_OBJECT, ObjectRole.QUERY, query=b"\x00<>")
    xml = as_xml(
        message(
            users=(User("anna", True), medium),
            types=(EventType.LOGIN.value,),
            objects=(query,),
            outcome=4,
            outcome_description="refused",
        )
    )
    assert mistakes_in(xml) == []
    assert b"AFw8Pg==" not in xml and base64.b64encode(b"\x00<>") in xml


@given(st.text(), st.text(), st.dictionaries(st.text(min_size=1), st.text()))
def test_whatever_a_text_holds_the_message_is_xml(who: str, subject: str, details: dict[str, str]) -> None:
    odd = ParticipantObject("1", STUDY, ObjectType.OTHER, ObjectRole.REPORT, name=subject, details=details)
    root = fromstring(as_xml(message(users=(User(who, True),), objects=(odd,))))
    assert len(root.findall("ParticipantObjectIdentification/ParticipantObjectDetail")) == len(details)


@pytest.mark.parametrize(
    ("xml", "told"),
    [
        (b"<AuditMessage/>", "lacks EventIdentification"),
        (b"<Other/>", "the root is Other"),
        (as_xml(message()).replace(b' UserIsRequestor="true"', b""), "lacks UserIsRequestor"),
        (as_xml(message()).replace(b'"true"', b'"yes"'), "may not be 'yes'"),
        (as_xml(message()).replace(b' EventOutcomeIndicator="0"', b' EventOutcomeIndicator="3"'), "may not be '3'"),
        (as_xml(message(users=())), "lacks ActiveParticipant"),
        (as_xml(message()).replace(b"csd-code", b"code"), "has no attribute code"),
        (as_xml(message()).replace(b"<ParticipantObjectName>study</ParticipantObjectName>", b""), "lacks Participant"),
    ],
)
def test_the_check_of_the_schema_sees_mistakes(xml: bytes, told: str) -> None:
    assert any(told in mistake for mistake in mistakes_in(xml))
