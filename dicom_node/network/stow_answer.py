"""What an archive answers to STOW-RS (PS3.18 10.5.3 and I.2): the outcome of each instance, in JSON or XML."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from dicom_node.errors import IdentifierMismatch
from dicom_node.identifiers import checked_uid

__all__ = ["EMPTY", "StowAnswer", "read_stow_answer"]

EMPTY = "an empty answer"

_FAILED, _REFERENCED, _OTHER_FAILURES = "00081198", "00081199", "0008119A"
_LARGEST_US = 0xFFFF
_UID, _FAILURE_REASON, _WARNING_REASON = "00081155", "00081197", "00081196"


@dataclass(frozen=True)
class StowAnswer:
    """What an answer says.

    `stored`: SOP Instance UIDs with their Warning Reason, or 0; `failed`: with their Failure Reason, or None where it
    gives none; `problem`: why it cannot be read, "" where it can.
    """

    stored: Mapping[str, int]
    failed: Mapping[str, int | None]
    problem: str = ""


def read_stow_answer(content: bytes) -> StowAnswer:
    """Read an answer by what it is, whatever its Content-Type says. Never raises: what is broken is named."""
    begin = content.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if not begin:
        return StowAnswer({}, {}, EMPTY)
    try:
        if begin in (b"{", b"["):
            return _outcomes(_json_attributes(json.loads(content)))
        if begin == b"<":
            return _outcomes(_xml_attributes(content))
    except (ValueError, RecursionError, ElementTree.ParseError, LookupError) as error:
        return StowAnswer({}, {}, f"an answer that cannot be parsed ({type(error).__name__})")
    return StowAnswer({}, {}, "an answer that is neither DICOM JSON nor DICOM XML")


_Attributes = Mapping[str, list[Any]]
"""Values by tag; those of a sequence are _Attributes again."""


def _outcomes(answer: _Attributes | None) -> StowAnswer:
    if answer is None:
        return StowAnswer({}, {}, "an answer without a Store Instances Response (PS3.18 I.2)")
    stored = {uid: _number(item, _WARNING_REASON) or 0 for uid, item in _items(answer, _REFERENCED)}
    failed = {
        uid: _number(item, _FAILURE_REASON)
        for sequence in (_FAILED, _OTHER_FAILURES)
        for uid, item in _items(answer, sequence)
    }
    return StowAnswer(stored, failed)


def _items(answer: _Attributes, sequence: str) -> Iterator[tuple[str, _Attributes]]:
    """The items that name an instance, with its SOP Instance UID."""
    for item in answer.get(sequence, []):
        if isinstance(item, Mapping) and (values := item.get(_UID)):
            try:
                yield checked_uid(str(values[0]).strip(" \0"), "ReferencedSOPInstanceUID"), item
            except IdentifierMismatch:
                continue


def _number(item: _Attributes, tag: str) -> int | None:
    """A reason, which is a US; 0 is none: it would say of what failed that it went well."""
    try:
        reason = int(item.get(tag, [])[0])
    except (IndexError, TypeError, ValueError, OverflowError):
        return None
    return reason if 0 < reason <= _LARGEST_US else None


def _json_attributes(document: Any) -> _Attributes | None:
    """DICOM JSON (PS3.18 annex F), bare or as the one element of an array."""
    if isinstance(document, list):
        document = document[0] if len(document) == 1 else None
    if not isinstance(document, dict):
        return None
    attributes: dict[str, list[Any]] = {}
    for tag, element in document.items():
        values = element.get("Value") if isinstance(element, dict) else None
        if isinstance(values, list):
            attributes[tag.upper()] = [
                _json_attributes(value) if isinstance(value, dict) else value for value in values
            ]
    # An error of some other kind, such as {"error": "..."}, has no tags; an empty data set is one.
    return attributes if attributes or not document or _has_tags(document) else None


def _has_tags(document: Mapping[str, Any]) -> bool:
    return any(len(tag) == 8 and all(digit in "0123456789abcdefABCDEF" for digit in tag) for tag in document)


def _xml_attributes(content: bytes) -> _Attributes | None:
    """The Native DICOM Model (PS3.19 A.1); without a document type, which it never has."""
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        return None
    root = ElementTree.fromstring(content)
    return _xml_item(root) if _name(root) == "NativeDicomModel" else None


def _xml_item(item: ElementTree.Element) -> _Attributes:
    attributes: dict[str, list[Any]] = {}
    for element in item:
        if _name(element) != "DicomAttribute":
            continue
        values = [(value.text or "").strip() for value in element if _name(value) == "Value"]
        items = [_xml_item(child) for child in element if _name(child) == "Item"]
        attributes[element.get("tag", "").upper()] = [*values, *items]
    return attributes


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]
