"""Which message of PS3.15 A.5.3 a row of the audit becomes, and the message itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from dicom_node.audit.codes import (
    APPLICATION,
    DESTINATION_MEDIA,
    DICOM,
    LOG_URI,
    OWN,
    PATIENT_NUMBER,
    SOURCE,
    STUDY,
    Coded,
    EventID,
    EventType,
)
from dicom_node.audit.message import ActionCode, AuditMessage, ObjectRole, ObjectType, ParticipantObject, User
from workflows.state.auditing import AuditAction, AuditEntry, Outcome, StudyFacts

__all__ = ["EVENTS", "Kind", "kind_of", "message_of"]

_URI = Coded("110037", DICOM, "URI")
_ROW = Coded("audit-row", OWN, "Row of the node's audit")
_ACCOUNT = Coded("account", OWN, "Account of the node")
_UNKNOWN_PATIENT = "unknown"
"""Stands where the node knows of no Patient ID: the study was purged, or its headers have none. It must stand there."""


@dataclass(frozen=True)
class Kind:
    """A kind of message: event, action, and the event's type where PS3.15 A.5.3 has one."""

    event: EventID
    action: ActionCode
    type: EventType | None = None


_CREATE, _READ, _UPDATE = ActionCode.CREATE, ActionCode.READ, ActionCode.UPDATE
_DELETE, _EXECUTE = ActionCode.DELETE, ActionCode.EXECUTE
EVENTS: Mapping[AuditAction, Kind] = {
    AuditAction.LOOK: Kind(EventID.INSTANCES_ACCESSED, _READ),
    AuditAction.SEARCH: Kind(EventID.QUERY, _EXECUTE),
    AuditAction.VERDICT: Kind(EventID.INSTANCES_ACCESSED, _UPDATE),
    AuditAction.TAKE_OVER: Kind(EventID.INSTANCES_ACCESSED, _UPDATE),
    AuditAction.WITHDRAW: Kind(EventID.INSTANCES_ACCESSED, _DELETE),
    AuditAction.AMEND: Kind(EventID.INSTANCES_ACCESSED, _CREATE),
    AuditAction.REOPEN: Kind(EventID.INSTANCES_ACCESSED, _UPDATE),
    AuditAction.SIGN: Kind(EventID.INSTANCES_ACCESSED, _CREATE),
    AuditAction.UNDO: Kind(EventID.INSTANCES_ACCESSED, _UPDATE),
    AuditAction.CORRECT: Kind(EventID.INSTANCES_ACCESSED, _UPDATE),
    AuditAction.CONFIRM_CORRECTION: Kind(EventID.INSTANCES_ACCESSED, _UPDATE),
    AuditAction.DISMISS_CORRECTION: Kind(EventID.INSTANCES_ACCESSED, _UPDATE),
    AuditAction.CORRECTION_REFUSED: Kind(EventID.SECURITY_ALERT, _EXECUTE, EventType.RESTRICTED_FUNCTION),
    AuditAction.ASK: Kind(EventID.ORDER_RECORD, _CREATE),
    AuditAction.KEEP_ANSWER: Kind(EventID.ORDER_RECORD, _UPDATE),
    AuditAction.DROP_ANSWER: Kind(EventID.ORDER_RECORD, _DELETE),
    AuditAction.EXPORT: Kind(EventID.EXPORT, _READ),
    AuditAction.LOGIN: Kind(EventID.USER_AUTHENTICATION, _EXECUTE, EventType.LOGIN),
    AuditAction.LOGIN_REFUSED: Kind(EventID.USER_AUTHENTICATION, _EXECUTE, EventType.LOGIN),
    AuditAction.LOGOUT: Kind(EventID.USER_AUTHENTICATION, _EXECUTE, EventType.LOGOUT),
    AuditAction.FORBIDDEN: Kind(EventID.SECURITY_ALERT, _EXECUTE, EventType.RESTRICTED_FUNCTION),
    AuditAction.ACCOUNT_ADDED: Kind(EventID.SECURITY_ALERT, _EXECUTE, EventType.ROLES_CHANGED),
    AuditAction.ACCOUNT_CHANGED: Kind(EventID.SECURITY_ALERT, _EXECUTE, EventType.ROLES_CHANGED),
    AuditAction.LINK_MADE: Kind(EventID.SECURITY_ALERT, _EXECUTE, EventType.USER_ATTRIBUTES_CHANGED),
    AuditAction.PASSWORD: Kind(EventID.SECURITY_ALERT, _EXECUTE, EventType.USER_ATTRIBUTES_CHANGED),
    AuditAction.PURGE: Kind(EventID.STUDY_DELETED, _DELETE),
    AuditAction.REREAD: Kind(EventID.PROCEDURE_RECORD, _UPDATE),
    AuditAction.REQUEUE: Kind(EventID.PROCEDURE_RECORD, _UPDATE),
    AuditAction.CANCEL: Kind(EventID.PROCEDURE_RECORD, _UPDATE),
    AuditAction.RESEND: Kind(EventID.PROCEDURE_RECORD, _UPDATE),
    AuditAction.PULL: Kind(EventID.INSTANCES_ACCESSED, _CREATE),
    AuditAction.QUARANTINE_RELEASE: Kind(EventID.INSTANCES_ACCESSED, _UPDATE),
    AuditAction.QUARANTINE_DISCARD: Kind(EventID.INSTANCES_ACCESSED, _DELETE),
    AuditAction.AUDIT_READ: Kind(EventID.AUDIT_LOG_USED, _READ),
    AuditAction.AUDIT_VERIFY: Kind(EventID.AUDIT_LOG_USED, _READ),
    AuditAction.AUDIT_EXPORT: Kind(EventID.AUDIT_LOG_USED, _READ),
    AuditAction.START: Kind(EventID.APPLICATION_ACTIVITY, _EXECUTE, EventType.APPLICATION_START),
    AuditAction.STOP: Kind(EventID.APPLICATION_ACTIVITY, _EXECUTE, EventType.APPLICATION_STOP),
}
"""One row for each action; each message has our own code of the action as a further Event Type Code."""

_PROCEDURE = Kind(EventID.PROCEDURE_RECORD, _UPDATE)
_OTHER = Kind(EventID.SECURITY_ALERT, _EXECUTE, EventType.RESTRICTED_FUNCTION)
_WITH_STUDY = frozenset(
    {
        EventID.INSTANCES_ACCESSED, EventID.STUDY_DELETED, EventID.EXPORT, EventID.ORDER_RECORD,
        EventID.PROCEDURE_RECORD, EventID.SECURITY_ALERT,
    }
)  # fmt: skip


def kind_of(action: str, study_uid: str | None) -> Kind:
    """The kind of message for an action. One that `AuditAction` does not name: of a study, or a restricted function."""
    try:
        return EVENTS[AuditAction(action)]
    except ValueError:
        return _OTHER if study_uid is None else _PROCEDURE


def message_of(entry: AuditEntry, facts: StudyFacts, source_id: str, ae_title: str) -> AuditMessage:
    """The message of a row. `facts`: of its study. `source_id`: Audit Source ID, the node."""
    kind = kind_of(entry.action, entry.study_uid)
    types = () if kind.type is None else (kind.type.value,)
    return AuditMessage(
        event=kind.event.value,
        action=kind.action,
        at=entry.at,
        outcome=entry.outcome.value,
        users=tuple(_users(entry, kind, source_id, ae_title)),
        source_id=source_id,
        types=(*types, Coded(entry.action or "unnamed", OWN, entry.action or "unnamed")),
        objects=tuple(_objects(entry, kind, facts, source_id)),
        outcome_description="" if entry.outcome is Outcome.SUCCESS else f"{entry.action} was refused or failed",
    )


def _users(entry: AuditEntry, kind: Kind, source_id: str, ae_title: str) -> list[User]:
    exports = kind.event is EventID.EXPORT
    person = User(entry.who or "unknown", True, SOURCE if exports else None, address=entry.address)
    node = User(source_id, False, APPLICATION, alternative_id=f"AETITLES={ae_title}")
    if not exports:
        return [person, node]
    return [person, node, User(entry.subject or "file", False, DESTINATION_MEDIA, medium=_URI)]


def _objects(entry: AuditEntry, kind: Kind, facts: StudyFacts, source_id: str) -> list[ParticipantObject]:
    found: list[ParticipantObject] = []
    if entry.study_uid is not None and kind.event in _WITH_STUDY:
        found.append(_study(entry, facts))
        found += [_patient(one) for one in facts.patient_ids or (_UNKNOWN_PATIENT,)]
    if kind.event is EventID.QUERY:
        asked = json.dumps(dict(entry.details), sort_keys=True).encode()
        found.append(
            ParticipantObject(
                "worklist",
                Coded("worklist", OWN, "Search of the worklist"),
                ObjectType.SYSTEM_OBJECT,
                ObjectRole.QUERY,
                query=asked,
            )
        )
    if kind.event is EventID.AUDIT_LOG_USED:
        found.append(
            ParticipantObject(
                f"medseg-node:{source_id}/audit",
                LOG_URI,
                ObjectType.SYSTEM_OBJECT,
                ObjectRole.SECURITY_RESOURCE,
                name="Security Audit Log",
            )
        )
    if kind.event is EventID.SECURITY_ALERT and entry.study_uid is None:
        found.append(
            ParticipantObject(entry.subject or "unknown", _ACCOUNT, ObjectType.PERSON, ObjectRole.SECURITY_USER)
        )
    return [*found, _row(entry)]


def _study(entry: AuditEntry, facts: StudyFacts) -> ParticipantObject:
    purged = entry.details.get("sop_classes")
    classes = purged if isinstance(purged, Mapping) else facts.sop_classes
    return ParticipantObject(
        str(entry.study_uid), STUDY, ObjectType.SYSTEM_OBJECT, ObjectRole.REPORT, name="study", sop_classes=classes
    )


def _patient(patient_id: str) -> ParticipantObject:
    """The patient by Patient ID; the name, which may stand there too, stays out."""
    return ParticipantObject(patient_id, PATIENT_NUMBER, ObjectType.PERSON, ObjectRole.PATIENT)


def _row(entry: AuditEntry) -> ParticipantObject:
    """The row itself: with its digest the repository holds a checkpoint of the chain."""
    details = {
        "digest": entry.digest,
        "subject": entry.subject,
        **({"counts": json.dumps(dict(entry.counts), sort_keys=True)} if entry.counts else {}),
        **({"details": json.dumps(dict(entry.details), sort_keys=True)} if entry.details else {}),
    }
    return ParticipantObject(
        str(entry.number), _ROW, ObjectType.SYSTEM_OBJECT, ObjectRole.SECURITY_RESOURCE, name="audit row",
        details=details,
    )  # fmt: skip
