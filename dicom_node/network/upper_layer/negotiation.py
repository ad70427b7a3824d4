"""What is answered to an A-ASSOCIATE-RQ (PS3.8 7.1.1, PS3.7 annex D): pure, no socket."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydicom.uid import ImplicitVRLittleEndian

from dicom_node.network.contexts import STORAGE_COMMITMENT
from dicom_node.network.peer_text import peer_ae_title
from dicom_node.network.upper_layer.pdu import (
    APPLICATION_CONTEXT,
    AssociateRequest,
    ContextAnswer,
    ContextResult,
    ProposedContext,
    Rejection,
    accept,
)
from dicom_node.network.upper_layer.services import Service, ServiceOffer
from dicom_node.storage.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

__all__ = ["AcceptedContext", "Negotiated", "negotiate", "rejection_of"]


@dataclass(frozen=True)
class AcceptedContext:
    """A presentation context that was accepted."""

    service: Service
    abstract_syntax: str
    transfer_syntax: str


@dataclass(frozen=True)
class Negotiated:
    """An association that stands. `maximum_length`: of the P-DATA-TF PDUs that the peer takes, in bytes; 0: any."""

    calling_ae_title: str
    called_ae_title: str
    peer_address: str
    maximum_length: int
    contexts: Mapping[int, AcceptedContext]

    def as_json(self) -> dict[str, Any]:
        """For another process."""
        contexts = {
            number: [context.service.value, context.abstract_syntax, context.transfer_syntax]
            for number, context in self.contexts.items()
        }
        return {**vars(self), "contexts": contexts}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Negotiated:
        """The inverse of `as_json`."""
        contexts = {
            int(number): AcceptedContext(Service(service), abstract_syntax, transfer_syntax)
            for number, (service, abstract_syntax, transfer_syntax) in told["contexts"].items()
        }
        return cls(**{**told, "contexts": contexts})


def rejection_of(request: AssociateRequest, allowed_calling_ae: tuple[str, ...]) -> Rejection | None:
    """Why a request is rejected whatever else is going on, or None.

    The called AE title is not looked at: who sends is what is checked, and peers that share one destination name, or
    have none, would only be turned away.
    """
    if not request.protocol_version & 1:
        return Rejection.PROTOCOL_VERSION_NOT_SUPPORTED
    if request.application_context != APPLICATION_CONTEXT:
        return Rejection.APPLICATION_CONTEXT_NOT_SUPPORTED
    if allowed_calling_ae and request.calling_ae_title not in allowed_calling_ae:
        return Rejection.CALLING_AE_TITLE_NOT_RECOGNIZED
    return None


def negotiate(
    request: AssociateRequest, offer: ServiceOffer, peer_address: str, maximum_pdu_bytes: int
) -> tuple[Negotiated, bytes]:
    """The association that comes of a request, and the A-ASSOCIATE-AC for it."""
    contexts, answers = dict[int, AcceptedContext](), list[ContextAnswer]()
    for proposed in request.contexts:
        answer = _answer(proposed, request, offer)
        if isinstance(answer, AcceptedContext):
            contexts[proposed.context_id] = answer
            answers.append(ContextAnswer(proposed.context_id, ContextResult.ACCEPTANCE, answer.transfer_syntax))
        else:  # PS3.8 9.3.3.2: the transfer syntax of a refused context says nothing, but it has one
            answers.append(ContextAnswer(proposed.context_id, answer, str(ImplicitVRLittleEndian)))
    negotiated = Negotiated(
        calling_ae_title=peer_ae_title(request.calling_ae_title),
        called_ae_title=peer_ae_title(request.called_ae_title),
        peer_address=peer_address,
        maximum_length=request.maximum_length,
        contexts=contexts,
    )
    accepted = accept(
        request,
        answers,
        maximum_length=maximum_pdu_bytes,
        implementation=(IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME),
        roles=_roles(request, contexts),
    )
    return negotiated, accepted


def _answer(
    proposed: ProposedContext, request: AssociateRequest, offer: ServiceOffer
) -> AcceptedContext | ContextResult:
    service = offer.service_of(proposed.abstract_syntax)
    if service is None:
        return ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED
    if service is Service.STORAGE_COMMITMENT and not _may_report(request):
        return ContextResult.USER_REJECTION
    transfer_syntax = offer.transfer_syntax_for(service, proposed.transfer_syntaxes)
    if transfer_syntax is None:
        return ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED
    return AcceptedContext(service, proposed.abstract_syntax, transfer_syntax)


def _may_report(request: AssociateRequest) -> bool:
    """Whether the peer is, or may be, the SCP of storage commitment: it says so, or proposes no role at all."""
    return request.roles.get(STORAGE_COMMITMENT, (False, True))[1]


def _roles(request: AssociateRequest, contexts: Mapping[int, AcceptedContext]) -> dict[str, tuple[bool, bool]]:
    """An archive that proposes itself as the SCP of storage commitment gets that role (PS3.7 D.3.3.4)."""
    accepted = any(context.service is Service.STORAGE_COMMITMENT for context in contexts.values())
    return {STORAGE_COMMITMENT: (False, True)} if accepted and STORAGE_COMMITMENT in request.roles else {}
