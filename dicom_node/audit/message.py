"""An audit message and its XML (PS3.15 A.5.1 and A.5.2)."""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Literal
from xml.etree.ElementTree import Element, SubElement, tostring

from dicom_node.audit.codes import Coded

__all__ = ["ActionCode", "AuditMessage", "ObjectRole", "ObjectType", "ParticipantObject", "User", "as_xml"]

_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class ActionCode(Enum):
    """Event Action Code (PS3.15 A.5.1)."""

    CREATE = "C"
    READ = "R"
    UPDATE = "U"
    DELETE = "D"
    EXECUTE = "E"


class ObjectType(Enum):
    """Participant Object Type Code (PS3.15 A.5.1)."""

    PERSON = "1"
    SYSTEM_OBJECT = "2"
    ORGANISATION = "3"
    OTHER = "4"


class ObjectRole(Enum):
    """Participant Object Type Code Role (PS3.15 A.5.1.2.2), as far as the node has one."""

    PATIENT = "1"
    REPORT = "3"
    USER = "6"
    SECURITY_USER = "11"
    SECURITY_RESOURCE = "13"
    QUERY = "24"


@dataclass(frozen=True)
class User:
    """An active participant: a person, a process, or a medium. `address`: an IP address or a host's name, or ""."""

    user_id: str
    requestor: bool
    role: Coded | None = None
    alternative_id: str = ""
    address: str = ""
    medium: Coded | None = None


@dataclass(frozen=True)
class ParticipantObject:
    """What took part. `name`, or `query` (bytes): one of both stands in the message, perhaps empty.

    `sop_classes`: how many instances of which class a study has. `details`: texts by their type.
    """

    identifier: str
    id_type: Coded
    type: ObjectType
    role: ObjectRole
    name: str = ""
    query: bytes | None = None
    details: Mapping[str, str] = field(default_factory=dict)
    sop_classes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class AuditMessage:
    """One message. `at`: when it happened, aware. `source_type`: Audit Source Type Code (PS3.15 A.5.1.2.1)."""

    event: Coded
    action: ActionCode
    at: datetime
    outcome: Literal[0, 4, 8, 12]
    users: tuple[User, ...]
    source_id: str
    types: tuple[Coded, ...] = ()
    objects: tuple[ParticipantObject, ...] = ()
    outcome_description: str = ""
    source_type: str = "4"


def as_xml(message: AuditMessage) -> bytes:
    """The message in UTF-8 with an XML declaration. Characters that XML has none for are left out."""
    root = Element("AuditMessage")
    event = SubElement(root, "EventIdentification")
    _set(event, "EventActionCode", message.action.value)
    _set(event, "EventDateTime", message.at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"))
    _set(event, "EventOutcomeIndicator", str(message.outcome))
    _coded(event, "EventID", message.event)
    for event_type in message.types:
        _coded(event, "EventTypeCode", event_type)
    if message.outcome_description:
        SubElement(event, "EventOutcomeDescription").text = _text(message.outcome_description)
    for user in message.users:
        _add_user(root, user)
    source = SubElement(root, "AuditSourceIdentification")
    _set(source, "AuditSourceID", message.source_id)
    _set(SubElement(source, "AuditSourceTypeCode"), "csd-code", message.source_type)
    for participant in message.objects:
        _add_object(root, participant)
    return bytes(tostring(root, encoding="utf-8", xml_declaration=True)).replace(b"\n", b"", 1)


def _add_user(root: Element, user: User) -> None:
    element = SubElement(root, "ActiveParticipant")
    _set(element, "UserID", user.user_id)
    if user.alternative_id:
        _set(element, "AlternativeUserID", user.alternative_id)
    _set(element, "UserIsRequestor", "true" if user.requestor else "false")
    if user.address:
        _set(element, "NetworkAccessPointID", user.address)
        _set(element, "NetworkAccessPointTypeCode", _access_point(user.address))
    if user.role is not None:
        _coded(element, "RoleIDCode", user.role)
    if user.medium is not None:
        _coded(SubElement(element, "MediaIdentifier"), "MediaType", user.medium)


def _add_object(root: Element, participant: ParticipantObject) -> None:
    element = SubElement(root, "ParticipantObjectIdentification")
    _set(element, "ParticipantObjectID", participant.identifier)
    _set(element, "ParticipantObjectTypeCode", participant.type.value)
    _set(element, "ParticipantObjectTypeCodeRole", participant.role.value)
    _coded(element, "ParticipantObjectIDTypeCode", participant.id_type)
    if participant.query is not None:
        SubElement(element, "ParticipantObjectQuery").text = base64.b64encode(participant.query).decode()
    else:
        SubElement(element, "ParticipantObjectName").text = _text(participant.name)
    for kind, value in participant.details.items():
        detail = SubElement(element, "ParticipantObjectDetail")
        _set(detail, "type", kind)
        _set(detail, "value", base64.b64encode(value.encode()).decode())
    if participant.sop_classes:
        description = SubElement(element, "ParticipantObjectDescription")
        for uid, count in participant.sop_classes.items():
            sop_class = SubElement(description, "SOPClass")
            _set(sop_class, "UID", uid)
            _set(sop_class, "NumberOfInstances", str(count))


def _coded(parent: Element, tag: str, value: Coded) -> None:
    element = SubElement(parent, tag)
    _set(element, "csd-code", value.code)
    _set(element, "codeSystemName", value.scheme)
    _set(element, "displayName", value.meaning)
    _set(element, "originalText", value.meaning)


def _access_point(address: str) -> str:
    """Network Access Point Type Code: 2 an IP address, 1 a host's name."""
    try:
        ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "1"
    return "2"


def _set(element: Element, name: str, value: str) -> None:
    element.set(name, _text(value))


def _text(value: str) -> str:
    return _NO_XML.sub("", value)
