"""StorageSCP: takes C-STORE, C-ECHO and what archives tell from peers, and hands it on as it comes."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import structlog

from dicom_node.errors import ListenError
from dicom_node.network.availability import InstanceAvailability
from dicom_node.network.commitment import CommitmentAnswer
from dicom_node.network.sockets import allow_many_connections, listening_socket
from dicom_node.network.upper_layer.association import Association, AssociationLimits
from dicom_node.network.upper_layer.handover import AcceptorLink, end_all
from dicom_node.network.upper_layer.listener import Listener, ListenerSettings
from dicom_node.network.upper_layer.messages import Services
from dicom_node.network.upper_layer.negotiation import Negotiated
from dicom_node.network.upper_layer.services import ServiceOffer
from dicom_node.network.upper_layer.slots import Served
from dicom_node.storage.sink import InstanceSink

__all__ = ["SharedStorageSCP", "StorageSCP", "StorageSCPSettings"]

_log = structlog.get_logger()


@dataclass(frozen=True)
class StorageSCPSettings:
    """How a StorageSCP listens.

    `host`, `port`: address to listen on; port 0 takes a free one. `allowed_calling_ae`: empty allows every peer.
    `maximum_associations`, `associations_per_peer`: one more waits some seconds for a place, which a silent association
    loses to it, and is then rejected as "local limit exceeded". `waiting_connections`: those without an association.
    `acse_timeout_s`: until the A-ASSOCIATE-RQ is there; `dimse_timeout_s`: silence within a message;
    `network_timeout_s`: silence between messages; `pdu_s`: from a PDU's first byte to its last; `association_s`: an
    association as a whole.
    `maximum_pdu_bytes`: the largest P-DATA-TF PDU that peers may send; `largest_instance_bytes`: of a data set.
    """

    ae_title: str = "MEDSEG"
    host: str = "127.0.0.1"
    port: int = 11112
    allowed_calling_ae: tuple[str, ...] = ()
    maximum_associations: int = 32
    associations_per_peer: int = 16
    waiting_connections: int = 2048
    acse_timeout_s: float = 30
    dimse_timeout_s: float = 60
    network_timeout_s: float = 120
    pdu_s: float = 30
    association_s: float = 4 * 3600
    maximum_pdu_bytes: int = 128 * 1024
    largest_instance_bytes: int = 4096 * 1024 * 1024

    @property
    def association_limits(self) -> AssociationLimits:
        """What one association may take."""
        return AssociationLimits(
            maximum_pdu_bytes=self.maximum_pdu_bytes,
            pdu_s=self.pdu_s,
            silence_s=self.network_timeout_s,
            message_silence_s=self.dimse_timeout_s,
            association_s=self.association_s,
            send_s=self.acse_timeout_s,
        )

    def services(
        self,
        sink: InstanceSink,
        committed: Callable[[CommitmentAnswer], object] | None = None,
        available: Callable[[InstanceAvailability], object] | None = None,
    ) -> Services:
        """Who takes what comes in."""
        return Services(sink, committed, available, self.largest_instance_bytes)


class _Port:
    """A port that is listened on from `start` to `stop`, or within `with`."""

    def __init__(self, settings: StorageSCPSettings, offer: ServiceOffer) -> None:
        self._settings = settings
        self._offer = offer
        self._listener: Listener | None = None
        self._port = 0

    @property
    def port(self) -> int:
        """The port that is listened on; raises ListenError before `start`."""
        if self._listener is None:
            raise ListenError("the storage SCP is not started")
        return self._port

    def start(self, listening: socket.socket | None = None) -> None:
        """Listen on the address of the settings, or on a socket that listens already; `stop` closes it.

        Raises PortInUse, or ListenError for an address that cannot be listened on.
        """
        settings = self._settings
        allow_many_connections()
        listening = listening or listening_socket(settings.host, settings.port)
        self._port = int(listening.getsockname()[1])
        limits = ListenerSettings(
            maximum_pdu_bytes=settings.maximum_pdu_bytes,
            allowed_calling_ae=settings.allowed_calling_ae,
            maximum_associations=settings.maximum_associations,
            associations_per_peer=settings.associations_per_peer,
            artim_s=settings.acse_timeout_s,
            waiting_connections=settings.waiting_connections,
        )
        self._listener = Listener(limits, self._offer, self._serve, self._can_serve)
        self._listener.start(listening)
        if not settings.allowed_calling_ae:
            _log.warning("every_calling_ae_allowed", remedy="list the peers in [node] allowed_calling_ae")
        _log.info("storage_scp_listening", ae_title=settings.ae_title, host=settings.host, port=self._port)

    def stop(self, grace_s: float = 5.0) -> None:
        """Take no new association, let those that are open end for `grace_s` seconds, then abort them.

        An instance that is being committed is answered in any case; one that was cut off was not acknowledged.
        """
        if self._listener is None:
            return
        listener, self._listener = self._listener, None
        listener.stop()
        self._end(listener.associations, grace_s)
        _log.info("storage_scp_stopped")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _serve(self, connection: socket.socket, negotiated: Negotiated) -> Served:
        raise NotImplementedError

    def _can_serve(self) -> bool:
        return True

    def _end(self, associations: Sequence[Served], grace_s: float) -> None:
        raise NotImplementedError


class StorageSCP(_Port):
    """Storage and Verification SCP in this process; listens from `start` to `stop`, or within `with`.

    `sink` is used in the association's own thread, several at once. When a writer's `commit` returns, the peer is told
    0x0000; when a method raises, the status that `network.status` has for the error.

    `committed` is called likewise with what an archive answers about storage commitment over an association of its own
    (PS3.4 J.3.3); it decides what a transaction is that it does not know. `available` is called with what a peer says
    of instances that can be had (PS3.4 R.3). A service without its callable is not offered.
    """

    def __init__(
        self,
        settings: StorageSCPSettings,
        sink: InstanceSink,
        *,
        committed: Callable[[CommitmentAnswer], object] | None = None,
        available: Callable[[InstanceAvailability], object] | None = None,
    ) -> None:
        super().__init__(settings, ServiceOffer(committed is not None, available is not None))
        self._services = settings.services(sink, committed, available)

    def _serve(self, connection: socket.socket, negotiated: Negotiated) -> Association:
        association = Association(connection, negotiated, self._services, self._settings.association_limits)
        association.start()
        return association

    def _end(self, associations: Sequence[Served], grace_s: float) -> None:
        end_all([association for association in associations if isinstance(association, Association)], grace_s)


class SharedStorageSCP(_Port):
    """The same over several acceptor processes: this one listens, and each association goes to who has fewest.

    One that has not reported lately gets none while another can have it.
    `links`: to the acceptor processes that there are now. What they serve must be the services of `offer`. Ending them
    is for who started them.
    """

    def __init__(
        self, settings: StorageSCPSettings, offer: ServiceOffer, links: Callable[[], Sequence[AcceptorLink]]
    ) -> None:
        super().__init__(settings, offer)
        self._links = links

    def _serve(self, connection: socket.socket, negotiated: Negotiated) -> Served:
        for link in sorted((link for link in self._links() if link.ready), key=lambda link: (link.late, len(link))):
            try:
                return link.serve(connection, negotiated)
            except OSError:
                continue  # it has just died: another can
        raise ConnectionError("no acceptor process takes a connection")

    def _can_serve(self) -> bool:
        return any(link.ready for link in self._links())

    def _end(self, associations: Sequence[Served], grace_s: float) -> None:
        for link in self._links():
            link.stop(grace_s)
