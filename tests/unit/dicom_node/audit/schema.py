"""The rules of the audit message schema (PS3.15 A.5.1, a RELAX NG grammar there) as a table, and a check by it."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element, fromstring

__all__ = ["mistakes_in"]

_DATE_TIME = r"-?\d{4,}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?"
_ANY = r"[\s\S]*"
_TOKEN = r"(?!\s)[^\t\n\r]*(?<!\s)|"
_BOOLEAN = "true|false|0|1"
_ROLES = "|".join(str(number) for number in range(1, 27))


@dataclass(frozen=True)
class Rule:
    """An element: its attributes with a pattern each, those that must be there, its children in their order.

    `children`: name, least and most of it; groups of names of which exactly one must be there are written `a|b`.
    `text`: `none`, `any`, or `base64`.
    """

    attributes: dict[str, str] = field(default_factory=dict)
    needed: tuple[str, ...] = ()
    children: tuple[tuple[str, int, int | None], ...] = ()
    text: str = "none"


_CODED = Rule(
    {"csd-code": _TOKEN, "codeSystemName": _TOKEN, "displayName": _TOKEN, "originalText": _TOKEN},
    ("csd-code", "codeSystemName", "originalText"),
)
RULES = {
    "AuditMessage": Rule(
        children=(
            ("EventIdentification", 1, 1),
            ("ActiveParticipant", 1, None),
            ("AuditSourceIdentification", 1, 1),
            ("ParticipantObjectIdentification", 0, None),
        )
    ),
    "EventIdentification": Rule(
        {"EventActionCode": "C|R|U|D|E", "EventDateTime": _DATE_TIME, "EventOutcomeIndicator": "0|4|8|12"},
        ("EventDateTime", "EventOutcomeIndicator"),
        (("EventID", 1, 1), ("EventTypeCode", 0, None), ("EventOutcomeDescription", 0, 1)),
    ),
    "EventOutcomeDescription": Rule(text="any"),
    "ActiveParticipant": Rule(
        {
            "UserID": _ANY, "AlternativeUserID": _ANY, "UserName": _ANY, "UserIsRequestor": _BOOLEAN,
            "NetworkAccessPointID": _TOKEN, "NetworkAccessPointTypeCode": "1|2|3|4|5",
        },
        ("UserID", "UserIsRequestor"),
        (("RoleIDCode", 0, None), ("MediaIdentifier", 0, 1)),
    ),
    "MediaIdentifier": Rule(children=(("MediaType", 1, 1),)),
    "AuditSourceIdentification": Rule(
        {"AuditEnterpriseSiteID": _TOKEN, "AuditSourceID": _TOKEN},
        ("AuditSourceID",),
        (("AuditSourceTypeCode", 0, None),),
    ),
    "AuditSourceTypeCode": Rule({"csd-code": "[1-9]"}, ("csd-code",)),
    "ParticipantObjectIdentification": Rule(
        {
            "ParticipantObjectID": _TOKEN, "ParticipantObjectTypeCode": "1|2|3|4",
            "ParticipantObjectTypeCodeRole": _ROLES, "ParticipantObjectDataLifeCycle": "1[0-5]|[1-9]",
            "ParticipantObjectSensitivity": _TOKEN,
        },
        ("ParticipantObjectID",),
        (
            ("ParticipantObjectIDTypeCode", 1, 1),
            ("ParticipantObjectName|ParticipantObjectQuery", 1, 1),
            ("ParticipantObjectDetail", 0, None),
            ("ParticipantObjectDescription", 0, None),
        ),
    ),
    "ParticipantObjectName": Rule(text="any"),
    "ParticipantObjectQuery": Rule(text="base64"),
    "ParticipantObjectDetail": Rule({"type": _TOKEN, "value": "base64"}, ("type", "value")),
    "ParticipantObjectDescription": Rule(
        children=(
            ("MPPS", 0, None), ("Accession", 0, None), ("SOPClass", 0, None),
            ("ParticipantObjectContainsStudy", 0, 1), ("Encrypted", 0, 1), ("Anonymized", 0, 1),
        )
    ),
    "SOPClass": Rule(
        {"UID": r"[0-2](\.(0|[1-9][0-9]*))*", "NumberOfInstances": r"\d+"}, ("NumberOfInstances",),
        (("Instance", 0, None),),
    ),
    **dict.fromkeys(("EventID", "EventTypeCode", "RoleIDCode", "MediaType", "ParticipantObjectIDTypeCode"), _CODED),
}  # fmt: skip


def mistakes_in(xml: bytes) -> list[str]:
    """What in a message the schema does not allow; raises ParseError for what is no XML."""
    root = fromstring(xml)
    return [f"the root is {root.tag}"] if root.tag != "AuditMessage" else list(_of(root, "AuditMessage"))


def _of(element: Element, path: str) -> list[str]:
    rule = RULES.get(element.tag)
    if rule is None:
        return [f"{path}: not in the schema"]
    wrong = [f"{path}: lacks {name}" for name in rule.needed if name not in element.attrib]
    for name, value in element.attrib.items():
        if name not in rule.attributes:
            wrong.append(f"{path}: has no attribute {name}")
        elif not _fits(value, rule.attributes[name]):
            wrong.append(f"{path}: {name} may not be {value!r}")
    text = element.text or ""
    if rule.text == "base64" and not _fits(text, "base64"):
        wrong.append(f"{path}: no base64")
    elif rule.text == "none" and text.strip():
        wrong.append(f"{path}: has a text")
    wrong += _order(element, rule, path)
    for child in element:
        wrong += _of(child, f"{path}/{child.tag}")
    return wrong


def _order(element: Element, rule: Rule, path: str) -> list[str]:
    """Children must stand in the order of the rule, and as often as it says."""
    tags, at = [child.tag for child in element], 0
    wrong: list[str] = []
    for names, least, most in rule.children:
        allowed, count = names.split("|"), 0
        while at < len(tags) and tags[at] in allowed and (most is None or count < most):
            at, count = at + 1, count + 1
        if count < least:
            wrong.append(f"{path}: lacks {names}")
    return wrong + [f"{path}: {tag} stands where it may not" for tag in tags[at:]]


def _fits(value: str, pattern: str) -> bool:
    if pattern == "base64":
        try:
            base64.b64decode(value, validate=True)
        except binascii.Error:
            return False
        return True
    return re.fullmatch(pattern, value) is not None
