"""DIMSE messages put together from their fragments, and the responses to them (PS3.7 6.3, 9, 10): no socket."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from dicom_node.errors import ProtocolViolation
from dicom_node.fault_points import FaultPoint, fault_point
from dicom_node.network.availability import InstanceAvailability
from dicom_node.network.commitment import CommitmentAnswer
from dicom_node.network.status import StoreStatus
from dicom_node.network.upper_layer.command_set import (
    MOST_BYTES,
    CommandField,
    CommandSet,
    read_command_set,
    response,
)
from dicom_node.network.upper_layer.contents import AvailabilityNotice, CommitmentReport, Content, Discarded, Instance
from dicom_node.network.upper_layer.negotiation import AcceptedContext, Negotiated
from dicom_node.network.upper_layer.services import Service
from dicom_node.storage.sink import InstanceSink, StoreRequest

__all__ = ["Messages", "Services"]

_COMMAND, _LAST = 0x01, 0x02  # message control header (PS3.8 E.2)
_SUCCESS = StoreStatus(0x0000, "")
_UNRECOGNIZED_OPERATION = StoreStatus(0x0211, "This operation is not offered here")  # PS3.7 C.5
_MOST_AT_ONCE = 8
"""Messages that may be under way in one association, each in a presentation context of its own."""


@dataclass(frozen=True)
class Services:
    """Who takes what comes in. `largest_instance`: bytes of a data set that are taken."""

    sink: InstanceSink
    committed: Callable[[CommitmentAnswer], object] | None = None
    available: Callable[[InstanceAvailability], object] | None = None
    largest_instance: int = 4096 * 1024 * 1024


@dataclass
class _Message:
    """One that is under way: first its command set, then its data set."""

    command: bytearray = field(default_factory=bytearray)
    request: CommandSet | None = None
    content: Content = field(default_factory=Discarded)


class Messages:
    """The messages of one association. A data set goes on as it comes; none is kept here."""

    def __init__(self, negotiated: Negotiated, services: Services) -> None:
        self._negotiated = negotiated
        self._services = services
        self._under_way: dict[int, _Message] = {}

    @property
    def under_way(self) -> bool:
        """Whether a message has begun and not ended."""
        return bool(self._under_way)

    def take(self, context_id: int, control: int, fragment: memoryview) -> bytes | None:
        """Take the next fragment; return the command set of the response once a request is whole and done.

        Raises ProtocolViolation for what no peer may send. What goes wrong with an instance becomes its status: the
        rest of its message is read and thrown away, and the association goes on.
        """
        message = self._under_way.get(context_id)
        if message is None:
            message = self._begin(context_id)
        if control & _COMMAND:
            return self._take_command(context_id, message, fragment, bool(control & _LAST))
        if message.request is None:
            raise ProtocolViolation("a data set's fragment came before its command set")
        message.content.write(fragment)
        return self._end(context_id, message) if control & _LAST else None

    def abandon(self) -> None:
        """The association is over: forget what is under way."""
        for message in self._under_way.values():
            message.content.abandon()
        self._under_way.clear()

    def _begin(self, context_id: int) -> _Message:
        if context_id not in self._negotiated.contexts:
            raise ProtocolViolation(f"presentation context {context_id} was not accepted")
        if len(self._under_way) >= _MOST_AT_ONCE:
            raise ProtocolViolation("too many messages are under way at once")
        message = self._under_way[context_id] = _Message()
        return message

    def _take_command(self, context_id: int, message: _Message, fragment: memoryview, last: bool) -> bytes | None:
        if message.request is not None:
            raise ProtocolViolation("a command set began before the data set of the one before it had ended")
        if len(message.command) + len(fragment) > MOST_BYTES:
            raise ProtocolViolation(f"a command set is longer than {MOST_BYTES} bytes")
        message.command += fragment
        if not last:
            return None
        message.request = request = read_command_set(bytes(message.command))
        message.content = self._content(request, self._negotiated.contexts[context_id])
        return None if request.has_data_set else self._end(context_id, message)

    def _content(self, request: CommandSet, context: AcceptedContext) -> Content:
        """What is done with the data set of a request, and what is answered to it (PS3.7 9.1, 10.1)."""
        services, calling = self._services, self._negotiated.calling_ae_title
        match request.command_field, context.service:
            case CommandField.C_ECHO_RQ, _:
                return Discarded(_SUCCESS)
            case CommandField.C_STORE_RQ, Service.STORAGE:
                return Instance(services.sink, self._store_request(request, context), services.largest_instance)
            case CommandField.N_EVENT_REPORT_RQ, Service.STORAGE_COMMITMENT if services.committed is not None:
                return CommitmentReport(services.committed, request.event_type_id, context.transfer_syntax, calling)
            case CommandField.N_CREATE_RQ, Service.INSTANCE_AVAILABILITY if services.available is not None:
                return AvailabilityNotice(services.available, context.transfer_syntax, calling)
            case _:
                return Discarded(_UNRECOGNIZED_OPERATION)

    def _store_request(self, request: CommandSet, context: AcceptedContext) -> StoreRequest:
        return StoreRequest(
            sop_class_uid=request.affected_sop_class_uid,
            sop_instance_uid=request.affected_sop_instance_uid,
            transfer_syntax_uid=context.transfer_syntax,
            calling_ae_title=self._negotiated.calling_ae_title,
            called_ae_title=self._negotiated.called_ae_title,
            peer_address=self._negotiated.peer_address,
        )

    def _end(self, context_id: int, message: _Message) -> bytes | None:
        del self._under_way[context_id]
        assert message.request is not None
        status = message.content.finish()
        if message.request.is_response or message.request.command_field == CommandField.C_CANCEL_RQ:
            return None  # nobody here waits for it, and it has no response
        fault_point(FaultPoint.BEFORE_RESPONSE)
        return response(_named(message.request), status.status, status.comment)


def _named(request: CommandSet) -> CommandSet:
    """An N-CREATE that leaves the SOP Instance UID to us gets one in its response (PS3.7 10.1.5.1.3)."""
    if request.command_field != CommandField.N_CREATE_RQ or request.affected_sop_instance_uid:
        return request
    return replace(request, affected_sop_instance_uid=f"2.25.{uuid.uuid4().int}")
