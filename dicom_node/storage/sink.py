"""Where instances go while they come in: what the network needs of the store, and no more."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from dicom_node.headers.instance import InstanceHeader, InstanceIdentifiers

__all__ = ["AcknowledgedInstance", "InstanceSink", "InstanceWriter", "StoreRequest"]


@dataclass(frozen=True)
class StoreRequest:
    """What a C-STORE command and its association say of an instance before any of its bytes have come.

    The UIDs are the command's (PS3.7 9.1.1); the data set may contradict them, which `InstanceWriter.commit` tells.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    calling_ae_title: str = ""
    called_ae_title: str = ""
    peer_address: str = ""


class InstanceWriter(Protocol):
    """One instance on its way to the disk. Used by one thread; ends with `commit` or `abandon`."""

    def write(self, fragment: bytes | memoryview) -> None:
        """Take the next bytes of the data set; not kept in memory. Raises InstanceTooLarge, StorageFull."""

    def commit(self) -> None:
        """Return once the instance survives a power cut.

        Raises UnparseableInstance, IdentifierMismatch, StorageFull.
        """

    def abandon(self) -> None:
        """Forget it; nothing was acknowledged. Raises nothing; may be called after a failed `write` or `commit`."""


class InstanceSink(Protocol):
    """Takes instances from any number of threads."""

    def open(self, request: StoreRequest) -> InstanceWriter:
        """Begin an instance. Raises StorageFull."""


@dataclass(frozen=True)
class AcknowledgedInstance:
    """An instance that the journal holds and that has no row yet: its sender was told that it is safe.

    `digest`: sha256 (hex) of the data set's bytes without file meta. `size`: bytes of the data set.
    """

    request: StoreRequest
    identifiers: InstanceIdentifiers
    header: InstanceHeader
    digest: str
    size: int
    received_at: datetime
