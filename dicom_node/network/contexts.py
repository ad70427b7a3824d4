"""Presentation contexts that the node accepts and proposes (PS3.8 7.1.1.13)."""

from __future__ import annotations

from collections.abc import Iterable

from pydicom.uid import (
    UID,
    AllTransferSyntaxes,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom import _config
from pynetdicom.presentation import AllStoragePresentationContexts, PresentationContext, build_context

__all__ = [
    "ACCEPTED_STORAGE_CLASSES",
    "ACCEPTED_TRANSFER_SYNTAXES",
    "INSTANCE_AVAILABILITY",
    "MOST_CONTEXTS",
    "STORAGE_COMMITMENT",
    "VERIFICATION",
    "ContextKey",
    "belongs_to_another_service",
    "configure_pynetdicom",
    "convertible",
    "proposed_contexts",
    "wanted_contexts",
]

VERIFICATION = "1.2.840.10008.1.1"

MOST_CONTEXTS = 128
"""Context IDs are the odd numbers from 1 to 255 (PS3.8 9.3.2.2)."""

STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
"""Storage Commitment Push Model (PS3.4 annex J)."""

INSTANCE_AVAILABILITY = "1.2.840.10008.5.1.4.33"
"""Instance Availability Notification (PS3.4 annex R)."""

ContextKey = tuple[str, str]
"""(SOP Class UID, Transfer Syntax UID)."""

ACCEPTED_STORAGE_CLASSES: tuple[str, ...] = tuple(
    sorted(str(context.abstract_syntax) for context in AllStoragePresentationContexts)
)
"""Every storage SOP class known by name. Private and yet unknown ones are accepted beside them."""

ACCEPTED_TRANSFER_SYNTAXES: tuple[str, ...] = tuple(str(uid) for uid in AllTransferSyntaxes)
"""Every transfer syntax known by name. Private and yet unknown ones are accepted beside them."""

_CONVERTIBLE = frozenset({ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian})


def configure_pynetdicom() -> None:
    """Set pynetdicom's process-wide switches; every entry point of this package that uses them calls it.

    Storage SCPs then accept each storage, private or unknown SOP class with the first transfer syntax that the peer
    proposes: the peer's choice is stored as it came. Files are sent as they are, without being decoded. Messages are
    not logged by pynetdicom, whose identifiers may name patients.
    """
    _config.UNRESTRICTED_STORAGE_SERVICE = True
    _config.STORE_SEND_CHUNKED_DATASET = True
    _config.LOG_HANDLER_LEVEL = "none"


def belongs_to_another_service(abstract_syntax: str) -> bool:
    """Whether the standard knows this SOP class, and it is neither a storage class nor Verification.

    Worklist, MPPS, UPS, Print, Query/Retrieve and their like; private and yet unknown classes are taken for storage.
    """
    if abstract_syntax == VERIFICATION or abstract_syntax in ACCEPTED_STORAGE_CLASSES:
        return False
    uid = UID(abstract_syntax)
    if uid.name == abstract_syntax:  # private, or of a later edition
        return False
    return "Storage" not in uid.name or "Commitment" in uid.name


def convertible(transfer_syntax_uid: str) -> bool:
    """Whether a data set in this transfer syntax can become Implicit VR Little Endian without touching its pixels."""
    return transfer_syntax_uid in _CONVERTIBLE


def wanted_contexts(key: ContextKey) -> tuple[ContextKey, ...]:
    """What is proposed for one instance: its encoding, and the default one (PS3.5 10.1) if it can be converted to that.

    The default transfer syntax must be offered for whatever is not compressed.
    """
    sop_class_uid, transfer_syntax_uid = key
    if not convertible(transfer_syntax_uid) or transfer_syntax_uid == ImplicitVRLittleEndian:
        return (key,)
    return (key, (sop_class_uid, str(ImplicitVRLittleEndian)))


def proposed_contexts(keys: Iterable[ContextKey]) -> list[PresentationContext]:
    """One context per key, so that the peer answers for each encoding. Raises ValueError beyond MOST_CONTEXTS."""
    distinct = list(dict.fromkeys(keys))
    if len(distinct) > MOST_CONTEXTS:
        raise ValueError(f"{len(distinct)} presentation contexts; an association has {MOST_CONTEXTS} at most")
    return [build_context(sop_class_uid, transfer_syntax_uid) for sop_class_uid, transfer_syntax_uid in distinct]
