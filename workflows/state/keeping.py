"""What is kept, and for how long: frozen records of retention and purges."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

__all__ = ["KeepingRules", "Purged"]


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
