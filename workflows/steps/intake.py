"""Intake: what a process must know to take instances in: plain values and few imports, so that acceptors start fast."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dicom_node.network.storage_scp import StorageSCPSettings
from dicom_node.storage.journal import Journal
from workflows.data_folder import DataFolder
from workflows.steps.room import Room, SinkWithRoom

__all__ = ["IntakeSettings"]


@dataclass(frozen=True)
class IntakeSettings:
    """How instances are taken in.

    `data_dir`: absolute. `journal_bytes`: what may wait to be indexed. `minimum_free_bytes`: room that is left to the
    rest of the node. `has_budget`: whether [retention] limits what instances may take.
    """

    scp: StorageSCPSettings
    data_dir: Path
    journal_bytes: int
    minimum_free_bytes: int
    has_budget: bool

    def open_journal(self) -> Journal:
        """A journal of this process, to be closed. Raises OSError."""
        return Journal(
            DataFolder(self.data_dir).intake,
            room_bytes=self.journal_bytes,
            instance_bytes=self.scp.largest_instance_bytes,
            minimum_free_bytes=self.minimum_free_bytes,
        )

    def room(self) -> Room:
        """Whether there is room for another instance."""
        return Room(DataFolder(self.data_dir), limited=self.has_budget)

    def sink(self, journal: Journal) -> SinkWithRoom:
        """The journal, while there is room for what it takes."""
        return SinkWithRoom(journal, self.room())
