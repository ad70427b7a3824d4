"""What is kept, for how long, and what was done to it: frozen records of retention, purges and the audit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

__all__ = ["AuditEntry", "KeepingRules", "Purged"]


@dataclass(frozen=True)
class KeepingRules:
    """How long images are kept; None: for ever. `after_commitment`: from when the last archive was known to keep all.

    `uncommitted`: from the end of a study that is UNMATCHED or FAILED, or whose results no archive is known to keep.
    """

    after_commitment: timedelta | None = None
    uncommitted: timedelta | None = None

    @property
    def shortest(self) -> timedelta | None:
        """No study's images are removed before this; None: no image ever is."""
        return min((one for one in (self.after_commitment, self.uncommitted) if one is not None), default=None)


@dataclass(frozen=True)
class Purged:
    """What the node has of a study that is to be purged, or was. `refused`: why it is not, or "".

    `bytes`: of the instances whose files are there.
    """

    study_uid: str
    state: str
    instances: int
    bytes: int
    jobs: int
    results: int
    refused: str = ""


@dataclass(frozen=True)
class AuditEntry:
    """What a person had done. `subject`: UIDs or names of things, never a patient's; `counts`: how much of what."""

    number: int
    at: datetime
    who: str
    action: str
    subject: str
    counts: Mapping[str, int]
