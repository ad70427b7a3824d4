"""Fault points: places where a test has the process killed, to see that nothing was lost there.

The variable MEDSEG_FAULT_POINTS names a folder. Whichever process of the node next passes a point whose name a file in
it has removes that file and is killed with SIGKILL: once, and the node need not be started anew for the next point.
Without the variable a point costs one look at a constant.
"""

from __future__ import annotations

import os
import signal
from enum import Enum

__all__ = ["WITHOUT_A_PERSON", "FaultPoint", "fault_point"]


class FaultPoint(Enum):
    """Where a process can be killed, in the order in which a study passes them."""

    MID_PDU = "mid-pdu"
    WRITTEN = "written"  # an instance is written, not synced
    SYNCED = "synced"  # synced, its row not committed
    BEFORE_RESPONSE = "before-response"
    INDEXED = "indexed"  # its row is committed, its journal not released
    COMPLETED = "completed"  # COMPLETE is committed, nobody is woken
    PLANNED = "planned"
    CLAIMED = "claimed"
    PREDICTING = "predicting"  # while the model answers
    SEG_SAVED = "seg-saved"
    SENDING = "sending"
    SENT = "sent"  # the archive has it, no row says so
    COMMITMENT_ASKED = "commitment-asked"
    REVIEW_SAVED = "review-saved"  # the objects of a review are saved, their rows not committed


WITHOUT_A_PERSON = tuple(point for point in FaultPoint if point is not FaultPoint.REVIEW_SAVED)
"""Those that every study passes; the others wait for a reviewer."""


_FOLDER = os.environ.get("MEDSEG_FAULT_POINTS", "")


def fault_point(point: FaultPoint) -> None:
    """Die here if that is wanted."""
    if not _FOLDER:
        return
    try:
        os.unlink(os.path.join(_FOLDER, point.value))  # whoever removes it is the one that dies
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
