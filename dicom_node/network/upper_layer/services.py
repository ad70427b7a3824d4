"""Which service a SOP class belongs to, and so what is done with the messages of a presentation context."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_node.network.contexts import (
    INSTANCE_AVAILABILITY,
    STORAGE_COMMITMENT,
    VERIFICATION,
    belongs_to_another_service,
)

__all__ = ["Service", "ServiceOffer"]


class Service(Enum):
    """A service class of PS3.4 that the node offers."""

    VERIFICATION = "verification"
    STORAGE = "storage"
    STORAGE_COMMITMENT = "storage-commitment"
    INSTANCE_AVAILABILITY = "instance-availability"


_BY_CLASS = {
    VERIFICATION: Service.VERIFICATION,
    STORAGE_COMMITMENT: Service.STORAGE_COMMITMENT,
    INSTANCE_AVAILABILITY: Service.INSTANCE_AVAILABILITY,
}
_PLAIN = (str(ImplicitVRLittleEndian), str(ExplicitVRLittleEndian), str(ExplicitVRBigEndian))
_LONGEST_UID = 64


@dataclass(frozen=True)
class ServiceOffer:
    """The services of a port: Verification and Storage always, those that have somebody who listens beside them."""

    commitment: bool = False
    availability: bool = False

    def service_of(self, abstract_syntax: str) -> Service | None:
        """The service that a SOP class belongs to; private and yet unknown classes are stored. None: not offered."""
        service = _service_of(abstract_syntax)
        if service is Service.STORAGE_COMMITMENT:
            return service if self.commitment else None
        if service is Service.INSTANCE_AVAILABILITY:
            return service if self.availability else None
        return service

    @staticmethod
    def transfer_syntax_for(service: Service, proposed: tuple[str, ...]) -> str | None:
        """The peer's first choice for storage, kept as it comes; for the rest its first one that is not compressed."""
        usable = (syntax for syntax in proposed if 0 < len(syntax) <= _LONGEST_UID and syntax.isascii())
        if service is Service.STORAGE:
            return next(usable, None)
        return next((syntax for syntax in usable if syntax in _PLAIN), None)


@lru_cache(maxsize=4096)
def _service_of(abstract_syntax: str) -> Service | None:
    if not 0 < len(abstract_syntax) <= _LONGEST_UID or not abstract_syntax.isascii():
        return None
    if abstract_syntax in _BY_CLASS:
        return _BY_CLASS[abstract_syntax]
    return None if belongs_to_another_service(abstract_syntax) else Service.STORAGE
