"""Peers that speak no DICOM."""

from __future__ import annotations

from time import monotonic

import structlog

__all__ = ["Strangers"]

_log = structlog.get_logger()

_SILENCE_S = 600
_MOST = 1000


class Strangers:
    """Peers whose first bytes are no A-ASSOCIATE-RQ: one line in the log for each, and again after some minutes."""

    def __init__(self) -> None:
        self._told: dict[str, float] = {}

    def name(self, address: str) -> None:
        """Log a peer that sent something else than an A-ASSOCIATE-RQ on a fresh connection (PS3.8 9.2.3: Sta2)."""
        now = monotonic()
        if now - self._told.get(address, -_SILENCE_S) < _SILENCE_S:
            return
        if len(self._told) >= _MOST:
            self._told.clear()
        self._told[address] = now
        _log.warning(
            "peer_did_not_speak_dicom",
            peer_address=address,
            remedy="it may speak TLS or HTTP: let it send DICOM without TLS, or point it elsewhere",
            silent_for_s=_SILENCE_S,
        )
