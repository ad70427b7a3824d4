"""What becomes of a message's data set; here, at the edge, every exception becomes a status."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import structlog

from dicom_node.errors import IdentifierMismatch, InstanceRefused, InstanceTooLarge
from dicom_node.fault_points import FaultPoint, fault_point
from dicom_node.network.availability import InstanceAvailability, read_availability
from dicom_node.network.commitment import CommitmentAnswer, read_event_report, read_report
from dicom_node.network.peer_text import LONGEST_COMMENT, peer_uid
from dicom_node.network.status import PROCESSING_FAILURE, SUCCESS, StoreStatus, store_status
from dicom_node.storage.sink import InstanceSink, InstanceWriter, StoreRequest

__all__ = ["AvailabilityNotice", "CommitmentReport", "Content", "Discarded", "Instance"]

_log = structlog.get_logger()

_LARGEST_NOTICE = 4 * 1024 * 1024
"""Bytes of a data set that is kept in memory: some 25,000 instances in one answer about storage commitment."""
_DONE = StoreStatus(SUCCESS, "")
_RESOURCE_LIMITATION = StoreStatus(0x0213, "The data set is larger than is taken here")  # PS3.7 C.5


class Content(Protocol):
    """A data set on its way. Raises nothing."""

    def write(self, fragment: memoryview) -> None:
        """Take the next bytes."""

    def finish(self) -> StoreStatus:
        """It is whole: the status of the response."""

    def abandon(self) -> None:
        """It will never be whole."""


class Discarded:
    """A data set that nobody wants, and the status that is answered all the same."""

    def __init__(self, status: StoreStatus = _DONE) -> None:
        self._status = status

    def write(self, fragment: memoryview) -> None:
        pass

    def finish(self) -> StoreStatus:
        return self._status

    def abandon(self) -> None:
        pass


class Instance:
    """An instance on its way to the sink, of at most `largest` bytes."""

    def __init__(self, sink: InstanceSink, request: StoreRequest, largest: int) -> None:
        self._request = request
        self._largest = largest
        self._size = 0
        self._refusal: StoreStatus | None = None
        self._writer: InstanceWriter | None = None
        try:
            self._writer = sink.open(request)
        except Exception as error:
            self._refuse(error)

    def write(self, fragment: memoryview) -> None:
        if self._writer is None:
            return
        self._size += len(fragment)
        try:
            if self._size > self._largest:
                raise InstanceTooLarge(f"it has more than the {self._largest} bytes that [limits] instance_mb takes")
            self._writer.write(fragment)
        except Exception as error:
            self._refuse(error)
        fault_point(FaultPoint.MID_PDU)

    def finish(self) -> StoreStatus:
        if self._writer is not None:
            try:
                self._writer.commit()
            except Exception as error:
                self._refuse(error)
        self._writer = None
        return self._refusal or _DONE

    def abandon(self) -> None:
        if self._writer is not None:
            self._writer.abandon()
            self._writer = None

    def _refuse(self, error: Exception) -> None:
        """Other reasons than a wrong identifier may name files and hosts: they are the log's."""
        self.abandon()
        status, uid = store_status(error), peer_uid(self._request.sop_instance_uid)
        if not isinstance(error, InstanceRefused):
            _log.error("instance_receive_failed", sop_instance_uid=uid, exc_info=error)
        _log.warning(
            "instance_refused",
            status=f"0x{status.status:04X}",
            reason=str(error) if isinstance(error, InstanceRefused) else type(error).__name__,
            sop_instance_uid=uid,
            calling_ae_title=self._request.calling_ae_title,
        )
        # Which identifier is wrong, and how, fits; what does not fit is in the log.
        reason = str(error) if isinstance(error, IdentifierMismatch) else ""
        self._refusal = StoreStatus(status.status, reason if 0 < len(reason) <= LONGEST_COMMENT else status.comment)


class _Notice:
    """A small data set, in memory."""

    def __init__(self) -> None:
        self._encoded = bytearray()
        self._too_large = False

    def write(self, fragment: memoryview) -> None:
        if len(self._encoded) + len(fragment) > _LARGEST_NOTICE:
            self._too_large = True
            self._encoded.clear()
        if not self._too_large:
            self._encoded += fragment

    def finish(self) -> StoreStatus:
        return _RESOURCE_LIMITATION if self._too_large else StoreStatus(self._told(bytes(self._encoded)), "")

    def abandon(self) -> None:
        self._encoded.clear()

    def _told(self, encoded: bytes) -> int:
        raise NotImplementedError


class CommitmentReport(_Notice):
    """What an archive answers about storage commitment (PS3.4 J.3.3)."""

    def __init__(
        self,
        committed: Callable[[CommitmentAnswer], object],
        event_type_id: int | None,
        transfer_syntax: str,
        peer_ae_title: str,
    ) -> None:
        super().__init__()
        self._committed = committed
        self._event_type_id = event_type_id
        self._transfer_syntax = transfer_syntax
        self._peer_ae_title = peer_ae_title

    def _told(self, encoded: bytes) -> int:
        report = read_report(encoded, self._transfer_syntax)
        status, answer = read_event_report(self._event_type_id, report, self._peer_ae_title)
        if answer is not None:
            try:
                self._committed(answer)
            except Exception:
                _log.exception("commitment_answer_failed", transaction_uid=answer.transaction_uid)
                return PROCESSING_FAILURE.status
        return status


class AvailabilityNotice(_Notice):
    """What a peer says of the instances of a study that it has (PS3.4 R.3)."""

    def __init__(
        self, available: Callable[[InstanceAvailability], object], transfer_syntax: str, peer_ae_title: str
    ) -> None:
        super().__init__()
        self._available = available
        self._transfer_syntax = transfer_syntax
        self._peer_ae_title = peer_ae_title

    def _told(self, encoded: bytes) -> int:
        status, told = read_availability(encoded, self._transfer_syntax, self._peer_ae_title)
        if told is not None:
            try:
                self._available(told)
            except Exception:
                _log.exception("availability_failed", study_uid=told.study_uid)
                return PROCESSING_FAILURE.status
        return status
