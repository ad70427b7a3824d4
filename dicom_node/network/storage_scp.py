"""StorageSCP: takes C-STORE, C-ECHO and answers about storage commitment from peers, and hands them on as they came."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from socketserver import TCPServer
from threading import Thread
from time import monotonic
from types import TracebackType
from typing import Any, Self, cast

import structlog
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.pdu_primitives import A_ASSOCIATE, SCP_SCU_RoleSelectionNegotiation
from pynetdicom.transport import ThreadedAssociationServer

from dicom_node.errors import IdentifierMismatch, InstanceRefused, ListenError, PortInUse
from dicom_node.network.commitment import CommitmentAnswer, read_event_report
from dicom_node.network.contexts import (
    STORAGE_COMMITMENT,
    accepted_contexts,
    belongs_to_another_service,
    configure_pynetdicom,
)
from dicom_node.network.peer_text import LONGEST_COMMENT, peer_ae_title, peer_uid
from dicom_node.network.sockets import send_at_once
from dicom_node.network.status import PROCESSING_FAILURE, SUCCESS, store_status
from dicom_node.storage.instance import ReceivedInstance

__all__ = ["ReceivedInstance", "StorageSCP", "StorageSCPSettings"]

_log = structlog.get_logger()


@dataclass(frozen=True)
class StorageSCPSettings:
    """How a StorageSCP listens.

    `host`, `port`: address to listen on; port 0 takes a free one. `allowed_calling_ae`: empty allows every peer.
    `maximum_associations`: more are rejected as "local limit exceeded". `acse_timeout_s`: for association messages,
    `dimse_timeout_s`: between messages of one operation, `network_timeout_s`: without any traffic.
    `maximum_pdu_bytes`: the largest P-DATA-TF PDU that peers may send.
    """

    ae_title: str = "MEDSEG"
    host: str = "127.0.0.1"
    port: int = 11112
    allowed_calling_ae: tuple[str, ...] = ()
    maximum_associations: int = 32
    acse_timeout_s: float = 30
    dimse_timeout_s: float = 60
    network_timeout_s: float = 120
    maximum_pdu_bytes: int = 128 * 1024


_POLL_S = 0.05


class _Listener(ThreadedAssociationServer):
    """Listens with room for a burst of connections, and stops within _POLL_S."""

    request_queue_size = 128

    def shutdown(self) -> None:
        # pynetdicom 3.0.4's own shutdown takes the server off a list that AE.start_server puts it on and AE.make_server
        # does not, and so raises ValueError. Only make_server takes a class of server (pydicom/pynetdicom#453, and #533
        # on how the two differ). tests/unit/dicom_node/network/test_pynetdicom.py fails once this can go.
        TCPServer.shutdown(self)
        self.server_close()


class StorageSCP:
    """Storage and Verification SCP; listens from `start` to `stop`, or within `with`.

    `receive` is called in the association's own thread, several at once. When it returns, the peer is told 0x0000;
    when it raises, the status that `network.status` has for the error. So it returns only once the instance is safe.

    `committed` is called likewise with what an archive answers about storage commitment over an association of its own
    (PS3.4 J.3.3); it decides what a transaction is that it does not know. Without it that service is not offered.
    """

    def __init__(
        self,
        settings: StorageSCPSettings,
        receive: Callable[[ReceivedInstance], object],
        *,
        committed: Callable[[CommitmentAnswer], object] | None = None,
    ) -> None:
        configure_pynetdicom()
        self._settings = settings
        self._receive = receive
        self._committed = committed
        self._server: _Listener | None = None
        self._strangers = _Strangers()
        self._ae = AE(settings.ae_title)
        self._ae.supported_contexts = accepted_contexts()
        if committed is not None:
            self._ae.add_supported_context(STORAGE_COMMITMENT, scu_role=False, scp_role=True)
        self._ae.require_calling_aet = list(settings.allowed_calling_ae)
        # Who sends is what is checked; peers that share one destination name, or none, would only be turned away.
        self._ae.require_called_aet = False
        self._ae.maximum_associations = settings.maximum_associations
        self._ae.maximum_pdu_size = settings.maximum_pdu_bytes
        self._ae.acse_timeout = settings.acse_timeout_s
        self._ae.dimse_timeout = settings.dimse_timeout_s
        self._ae.network_timeout = settings.network_timeout_s

    @property
    def port(self) -> int:
        """The port that is listened on; raises ListenError before `start`."""
        if self._server is None:
            raise ListenError("the storage SCP is not started")
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Listen. Raises PortInUse, or ListenError for an address that cannot be listened on."""
        host, port = self._settings.host, self._settings.port
        try:
            self._server = cast(
                _Listener,
                self._ae.make_server(
                    (host, port),
                    evt_handlers=[
                        (evt.EVT_CONN_OPEN, send_at_once),
                        (evt.EVT_REQUESTED, self._choose_services),
                        (evt.EVT_FSM_TRANSITION, self._strangers.hear),
                        (evt.EVT_REJECTED, _log_rejected),
                        (evt.EVT_ABORTED, _log_aborted),
                        (evt.EVT_C_STORE, self._store),
                        (evt.EVT_N_EVENT_REPORT, self._take_commitment),
                    ],
                    server_class=_Listener,
                ),
            )
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortInUse(
                    f"port {port} on {host} is in use: stop the program that listens there "
                    f"(`ss -ltnp 'sport = {port}'` names it) or set another [node] port"
                ) from error
            raise ListenError(f"cannot listen on {host} port {port}: {error}; check [node] host and port") from error
        Thread(target=self._server.serve_forever, args=(_POLL_S,), name="storage-scp", daemon=True).start()
        if not self._settings.allowed_calling_ae:
            _log.warning("every_calling_ae_allowed", remedy="list the peers in [node] allowed_calling_ae")
        _log.info("storage_scp_listening", ae_title=self._settings.ae_title, host=host, port=self.port)

    def stop(self, grace_s: float = 5.0) -> None:
        """Take no new association, let those that are open end for `grace_s` seconds, then abort them.

        An instance whose `receive` is running is answered in any case; one that was cut off was not acknowledged.
        """
        if self._server is None:
            return
        server, self._server = self._server, None
        server.shutdown()
        deadline = monotonic() + grace_s
        open_associations = server.active_associations
        for association in open_associations:
            association.join(max(0.0, deadline - monotonic()))
        for association in open_associations:
            if association.is_alive():
                association.abort()
        _log.info("storage_scp_stopped")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _store(self, event: evt.Event) -> int | Dataset:
        """Answer one C-STORE request; here, at the edge, every exception becomes a status."""
        received = _received_instance(event)
        try:
            self._receive(received)
        except InstanceRefused as error:
            return _refusal(error, received)
        except Exception as error:
            _log.exception("instance_receive_failed", sop_instance_uid=peer_uid(received.sop_instance_uid))
            return _refusal(error, received)
        return SUCCESS

    def _take_commitment(self, event: evt.Event) -> tuple[int, None]:
        """Answer one N-EVENT-REPORT request; here, at the edge, every exception becomes a status."""
        status, answer = read_event_report(event)
        if answer is not None and self._committed is not None:
            try:
                self._committed(answer)
            except Exception:
                _log.exception("commitment_answer_failed", transaction_uid=answer.transaction_uid)
                status = PROCESSING_FAILURE.status
        return status, None

    def _choose_services(self, event: evt.Event) -> None:
        """Before the contexts of an association are answered."""
        _refuse_other_services(event, but=None if self._committed is None else STORAGE_COMMITMENT)
        if self._committed is not None:
            _answer_roles(event)


_A_SERVICE_NOT_OFFERED = UID("1.2.840.10008.3.1.2.3.3")


def _refuse_other_services(event: evt.Event, *, but: str | None) -> None:
    """Answer "abstract syntax not supported" to services other than Storage and Verification (PS3.8 9.3.3.2).

    With unrestricted storage pynetdicom 3.0.4 takes every class that it has no name for itself for storage, such as
    Modality Worklist or MPPS, although the standard has one. The answer names contexts by their ID alone; so a class
    that pynetdicom knows and that is not offered can stand for those. tests/unit/dicom_node/network/test_pynetdicom.py
    fails once this can go.
    """
    proposal = cast(A_ASSOCIATE, event.assoc.requestor.primitive)
    for context in proposal.presentation_context_definition_list:
        if context.abstract_syntax != but and belongs_to_another_service(str(context.abstract_syntax)):
            context.abstract_syntax = _A_SERVICE_NOT_OFFERED


def _answer_roles(event: evt.Event) -> None:
    """Grant an archive the role of the SCP of storage commitment, which it proposes when it reports (PS3.7 D.3.3.4).

    With unrestricted storage pynetdicom 3.0.4 negotiates the role and leaves it out of its answer.
    tests/unit/dicom_node/network/test_pynetdicom.py fails once this can go.
    """
    proposed = event.assoc.requestor.role_selection.get(UID(STORAGE_COMMITMENT))
    if proposed is not None and proposed.scp_role:
        granted = SCP_SCU_RoleSelectionNegotiation()
        granted.sop_class_uid, granted.scu_role, granted.scp_role = UID(STORAGE_COMMITMENT), False, True
        event.assoc.acceptor.add_negotiation_item(granted)


class _Strangers:
    """Peers whose first bytes are no A-ASSOCIATE-RQ: one line in the log for each, and again after some minutes."""

    _SILENCE_S = 600
    _MOST = 1000

    def __init__(self) -> None:
        self._told: dict[str, float] = {}

    def hear(self, event: evt.Event) -> None:
        """Log a peer that sent something else than a PDU on a fresh connection (PS3.8 9.2.3: Sta2, Evt19)."""
        if event.fsm_event != "Evt19" or event.current_state != "Sta2":
            return
        address, now = str(event.assoc.requestor.address), monotonic()
        if now - self._told.get(address, -self._SILENCE_S) < self._SILENCE_S:
            return
        if len(self._told) >= self._MOST:
            self._told.clear()
        self._told[address] = now
        _log.warning(
            "peer_did_not_speak_dicom",
            peer_address=address,
            remedy="it may speak TLS or HTTP: let it send DICOM without TLS, or point it elsewhere",
            silent_for_s=self._SILENCE_S,
        )


def _received_instance(event: evt.Event) -> ReceivedInstance:
    """The request's data set as it was encoded, and who sent it to whom."""
    association = event.assoc
    request = cast(Any, event.request)
    proposal = cast(A_ASSOCIATE, association.requestor.primitive)
    return ReceivedInstance(
        data_set=request.DataSet.getvalue() if request.DataSet is not None else b"",
        sop_class_uid=str(request.AffectedSOPClassUID),
        sop_instance_uid=str(request.AffectedSOPInstanceUID),
        transfer_syntax_uid=str(event.context.transfer_syntax),
        calling_ae_title=peer_ae_title(association.requestor.ae_title),
        called_ae_title=peer_ae_title(proposal.called_ae_title),
        peer_address=str(association.requestor.address),
    )


def _refusal(error: BaseException, received: ReceivedInstance) -> Dataset:
    """The response's status and comment; other reasons than a wrong identifier may name files and hosts: the log's."""
    status = store_status(error)
    _log.warning(
        "instance_refused",
        status=f"0x{status.status:04X}",
        reason=str(error) if isinstance(error, InstanceRefused) else type(error).__name__,
        sop_instance_uid=peer_uid(received.sop_instance_uid),
        calling_ae_title=received.calling_ae_title,
    )
    response = Dataset()
    response.Status = status.status
    # Which identifier is wrong, and how, fits; what does not fit is in the log.
    reason = str(error) if isinstance(error, IdentifierMismatch) else ""
    response.ErrorComment = reason if 0 < len(reason) <= LONGEST_COMMENT else status.comment
    return response


def _log_rejected(event: evt.Event) -> None:
    requestor = event.assoc.requestor
    answer = event.assoc.acceptor.primitive
    _log.warning(
        "association_rejected",
        calling_ae_title=peer_ae_title(requestor.ae_title),
        peer_address=str(requestor.address),
        reason=getattr(answer, "reason_str", ""),
    )


def _log_aborted(event: evt.Event) -> None:
    requestor = event.assoc.requestor
    if requestor.primitive is None:  # it asked for no association: a probe of the port, or a stranger
        return
    _log.warning(
        "association_aborted", calling_ae_title=peer_ae_title(requestor.ae_title), peer_address=str(requestor.address)
    )
