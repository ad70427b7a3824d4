"""Sources are asked a small question now and then: an Orthanc whose script waits with studies for us then looks again.

Orthanc before 1.11.1 calls no script by the clock (deploy/orthanc/medseg-node.lua), and a node that was away is back
without anything new arriving there.
"""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from dicom_node.errors import DicomNodeError
from workflows.steps.evidence import ArchiveSource

__all__ = ["wake_sources"]

log = structlog.get_logger()

_NO_STUDY = "2.25.0"
"""No study has this UID: the answer is empty and costs the source nothing."""


def wake_sources(sources: Iterable[ArchiveSource]) -> int:
    """Ask each source for a study that nobody has; return how many answered. One that does not is no trouble here."""
    answered = 0
    for source in sources:
        try:
            source.archive().studies(study_uid=_NO_STUDY)
            answered += 1
        except DicomNodeError as error:
            log.debug("source_not_woken", source=source.name, reason=str(error))
    return answered
