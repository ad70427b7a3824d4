"""Which SOP classes a peer would take, without sending anything."""

from __future__ import annotations

from collections.abc import Iterable

from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.presentation import build_context

from dicom_node.network.association import Peer, Timeouts, association_with

__all__ = ["accepted_classes", "class_name"]


def accepted_classes(
    peer: Peer, calling_ae_title: str, sop_classes: Iterable[str], *, timeouts: Timeouts | None = None
) -> frozenset[str]:
    """Those of some SOP classes (at most 128) that the peer accepts, uncompressed. Raises PeerUnreachable."""
    syntaxes = ExplicitVRLittleEndian, ImplicitVRLittleEndian
    contexts = [build_context(sop_class, [*syntaxes]) for sop_class in sorted(set(sop_classes))]
    with association_with(peer, calling_ae_title, contexts, timeouts or Timeouts()) as association:
        return frozenset(str(context.abstract_syntax) for context in association.accepted_contexts)


def class_name(sop_class: str) -> str:
    """The standard's name of a SOP class with its UID, for messages."""
    return f"{UID(sop_class).name} ({sop_class})"
