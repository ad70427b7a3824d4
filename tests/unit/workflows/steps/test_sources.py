"""Sources are asked now and then; one that does not answer keeps no other from being asked."""

from __future__ import annotations

from typing import Any

from dicom_node.errors import PeerRejected, PeerUnreachable
from workflows.steps.evidence import ArchiveSource
from workflows.steps.sources import wake_sources


class Asked:
    """An archive that answers, or fails with `error`."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.keys = error, [dict[str, str]()]

    def studies(self, **keys: str) -> list[Any]:
        self.keys.append(keys)
        if self.error is not None:
            raise self.error
        return []


def test_a_source_that_is_away_keeps_no_other_from_being_asked() -> None:
    archives = [Asked(PeerUnreachable("away")), Asked(PeerRejected("no C-FIND")), Asked()]
    sources = [ArchiveSource("S", lambda one=one: one, lambda path: None) for one in archives]  # type: ignore[misc]
    assert wake_sources(sources) == 1
    assert [one.keys[-1] for one in archives] == [{"study_uid": "2.25.0"}] * 3
