"""How many associations there may be, and which one goes when another needs its place."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

from dicom_node.network.upper_layer.negotiation import Negotiated

__all__ = ["STALLED_AFTER_S", "Served", "Slots"]

STALLED_AFTER_S = 5.0
_STALLED_BYTES = 64 * 1024
"""Who sends fewer in STALLED_AFTER_S may lose its place, but only to somebody who needs it: 128 kbit/s send more."""
_SAMPLE_S = 1.0


class Served(Protocol):
    """An association that somebody serves, here or in another process."""

    @property
    def negotiated(self) -> Negotiated: ...
    @property
    def received(self) -> int: ...
    @property
    def working(self) -> bool: ...
    @property
    def ended(self) -> bool: ...
    def abort(self, why: str) -> None: ...


@dataclass(eq=False)
class _Slot:
    association: Served
    samples: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=8))

    def progress(self, now: float) -> int | None:
        """Bytes that it sent in the last STALLED_AFTER_S; None: it is younger, or waits for us."""
        if self.association.working:
            return None
        before = next((bytes_ for when, bytes_ in reversed(self.samples) if now - when >= STALLED_AFTER_S), None)
        return None if before is None else self.association.received - before


class Slots:
    """The places for associations: `maximum` in all, `per_peer` of one calling AE title. For one thread."""

    def __init__(self, maximum: int, per_peer: int) -> None:
        self._maximum = maximum
        self._per_peer = per_peer
        self._slots: list[_Slot] = []
        self._sampled_at = float("-inf")

    @property
    def associations(self) -> list[Served]:
        """Those that have not ended."""
        self._slots = [slot for slot in self._slots if not slot.association.ended]
        return [slot.association for slot in self._slots]

    def take(self, association: Served, now: float) -> None:
        """Give a new association its place."""
        self._slots.append(_Slot(association))
        self._slots[-1].samples.append((now, association.received))

    def look(self, now: float) -> None:
        """Note how far each has come; about once a second."""
        if now - self._sampled_at >= _SAMPLE_S:
            self._sampled_at = now
            for slot in self._slots:
                slot.samples.append((now, slot.association.received))

    def has_room(self, calling_ae_title: str) -> bool:
        """Whether there is a place for one more of this peer."""
        associations = self.associations
        own = sum(association.negotiated.calling_ae_title == calling_ae_title for association in associations)
        return len(associations) < self._maximum and own < self._per_peer

    def make_room(self, calling_ae_title: str, now: float) -> bool:
        """Abort the association that has made least progress, if that is next to none; whether there is room then.

        Where it is the peer's own places that are taken, it is one of its own: a scanner that was switched off and on
        again has left some.
        """
        own = [slot for slot in self._slots if slot.association.negotiated.calling_ae_title == calling_ae_title]
        candidates = own if len(own) >= self._per_peer else self._slots
        progress = {slot: sent for slot in candidates if (sent := slot.progress(now)) is not None}
        slowest = min(progress, key=progress.__getitem__, default=None)
        if slowest is None or progress[slowest] >= _STALLED_BYTES:
            return False
        self._slots.remove(slowest)
        slowest.association.abort(f"sent next to nothing for {STALLED_AFTER_S:g} s, and another needed its place")
        return self.has_room(calling_ae_title)
