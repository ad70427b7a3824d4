"""Errors become DIMSE statuses here, and DIMSE statuses become what to do next."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from dicom_node.errors import IdentifierMismatch, InstanceTooLarge, StorageFull, UnparseableInstance

__all__ = ["PROCESSING_FAILURE", "SUCCESS", "Delivery", "StoreStatus", "delivery_of", "is_warning", "store_status"]

SUCCESS = 0x0000


class StoreStatus(NamedTuple):
    """A C-STORE response's Status (0000,0900) and Error Comment (0000,0902, at most 64 characters)."""

    status: int
    comment: str


PROCESSING_FAILURE = StoreStatus(0x0110, "Processing failure, see the node's log")

_STORE_STATUSES: dict[type[BaseException], StoreStatus] = {
    # PS3.4 Table B.2-1
    StorageFull: StoreStatus(0xA700, "Out of resources: no room left to store"),
    InstanceTooLarge: StoreStatus(0xA700, "Out of resources: larger than this node takes"),
    IdentifierMismatch: StoreStatus(0xA900, "Identifiers are missing or other than the command's"),
    UnparseableInstance: StoreStatus(0xC000, "The data set cannot be parsed"),
}


def store_status(error: BaseException) -> StoreStatus:
    """The status that tells a peer of `error`: the nearest class in the table, else processing failure (PS3.7 C.5)."""
    known = (_STORE_STATUSES[kind] for kind in type(error).__mro__ if kind in _STORE_STATUSES)
    return next(known, PROCESSING_FAILURE)


class Delivery(Enum):
    """What became of an instance that was sent, and so what to do next."""

    DELIVERED = "delivered"
    TRY_AGAIN = "try-again"
    REFUSED = "refused"


# Optional attributes not supported, attribute list error, attribute value out of range (PS3.7 C.4).
_WARNINGS = frozenset({0x0001, 0x0107, 0x0116, *range(0xB000, 0xC000)})
# Duplicate SOP instance (PS3.7 annex C): it came before and its answer was lost; we always send the same bytes.
_DUPLICATE = 0x0111
# Processing failure, resource limitation, and no resources: the peer's state, not the instance's fault.
_PASSING = frozenset({0x0110, 0x0213, *range(0xA700, 0xA800)})


def is_warning(status: int) -> bool:
    """Whether it was done, with something to say about it (PS3.7 C.4.2, every 0xBxxx); PS3.4 B.2.3: it is kept."""
    return status in _WARNINGS


def delivery_of(status: int) -> Delivery:
    """What a C-STORE response's status means for the instance."""
    if status in (SUCCESS, _DUPLICATE) or is_warning(status):
        return Delivery.DELIVERED
    return Delivery.TRY_AGAIN if status in _PASSING else Delivery.REFUSED
