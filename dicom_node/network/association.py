"""Associations that we ask a peer for, as an SCU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext

from dicom_node.errors import PeerUnreachable
from dicom_node.network.contexts import configure_pynetdicom
from dicom_node.network.sockets import send_at_once, stop_waiting

__all__ = ["Peer", "Timeouts", "association_with", "leave_responses"]


@dataclass(frozen=True)
class Peer:
    """Another application entity and where it listens."""

    ae_title: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.ae_title}@{self.host}:{self.port}"


@dataclass(frozen=True)
class Timeouts:
    """How long to wait for a peer: to connect, for association messages, for a response, without any traffic."""

    connection_s: float = 10
    acse_s: float = 30
    dimse_s: float = 120
    network_s: float = 120


@contextmanager
def association_with(
    peer: Peer,
    calling_ae_title: str,
    contexts: list[PresentationContext],
    timeouts: Timeouts,
    *,
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
    handlers: Sequence[evt.EventHandlerType] = (),
) -> Iterator[Association]:
    """An association, or one that the peer accepted without a single context; anything else is PeerUnreachable.

    `roles`: for what the peer is to send over it; `handlers`: of pynetdicom, for what it sends.
    """
    configure_pynetdicom()
    entity = AE(calling_ae_title)
    entity.connection_timeout = timeouts.connection_s
    entity.acse_timeout = timeouts.acse_s
    entity.dimse_timeout = timeouts.dimse_s
    entity.network_timeout = timeouts.network_s
    try:
        association = entity.associate(
            peer.host,
            peer.port,
            contexts,
            ae_title=peer.ae_title,
            ext_neg=list(roles),
            evt_handlers=[(evt.EVT_CONN_OPEN, send_at_once), (evt.EVT_CONN_CLOSE, stop_waiting), *handlers],
        )
    except OSError as error:
        raise PeerUnreachable(f"{peer}: {error}") from error
    try:
        if not association.is_established and not association.rejected_contexts:
            raise PeerUnreachable(f"{peer}: {_why_no_association(association)}")
        leave_responses(association)
        yield association
    finally:
        if association.is_established:
            association.release()


def leave_responses(association: Association) -> None:
    """Let nobody but the request that waits for a response take it.

    pynetdicom's reactor, which serves requests of the peer, is paused while a request waits (pydicom/pynetdicom#351,
    #435); caught between two of its steps it goes on for a moment, and then drops the response: the request waits for
    the DIMSE timeout. Version 3.0.4 still does, and no later issue says so. As an SCU we serve no requests, so the
    reactor need not look at all. tests/unit/dicom_node/network/test_pynetdicom.py fails once this can go.
    """
    take = association.dimse.get_msg

    def take_if_waiting(block: bool = False) -> Any:
        return take(block) if block else (None, None)

    association.dimse.get_msg = take_if_waiting  # type: ignore[method-assign]


def _why_no_association(association: Association) -> str:
    answer = association.acceptor.primitive
    if association.is_rejected and answer is not None:
        return f"association rejected: {answer.reason_str}"
    if answer is None:
        return "no connection, or no answer to the association request"
    return "association aborted"
