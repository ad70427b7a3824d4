"""The budget for received instances: a warning before it is used up, a refusal then, room again after a removal."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from dicom_node.errors import StorageFull
from workflows.data_folder import DataFolder
from workflows.steps.room import Room, RoomWatch, told_of_room

GB = 1_000_000_000


class Watched:
    """A watch that always looks anew, and a room of another process that does too."""

    def __init__(self, folder: Path, budget_gb: float = 10) -> None:
        self.folder, self.used = DataFolder(folder), 0
        self.budget_gb = budget_gb
        self._watch = RoomWatch(self.folder, lambda: self.used, budget_gb=budget_gb, warn_at=0.8)
        self.room = Room(self.folder, limited=budget_gb > 0, look_every_s=0)

    def look(self, used: float) -> list[str]:
        """Count so many GB; the events that were logged."""
        self.used = int(used * GB)
        self._watch._next = 0.0
        with capture_logs() as logs:
            self._watch.look()
        return [entry["event"] for entry in logs]


def test_it_warns_once_at_each_crossing_and_refuses_at_the_budget(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    assert watched.look(7.9) == [] and told_of_room(watched.folder) == ("", False)
    assert watched.look(8) == ["room_is_short"] and watched.look(9) == []
    watched.room()
    told, full = told_of_room(watched.folder)
    assert told.startswith("9.0 of 10 GB ([retention] budget_gb) are used") and not full
    assert watched.look(10) == ["no_room_left"] and watched.look(11) == []
    with pytest.raises(StorageFull, match=r"11\.0 of 10 GB .*medseg-node purge"):
        watched.room()
    assert told_of_room(watched.folder)[1] is True
    assert watched.look(9) == ["room_is_short"]
    watched.room()
    assert watched.look(1) == ["room_again"] and told_of_room(watched.folder) == ("", False)
    small = Watched(tmp_path, budget_gb=0.018)
    small.look(0.0147)
    assert told_of_room(small.folder)[0].startswith("0.015 of 0.018 GB"), "a small budget is told in MB"


def test_what_was_said_outlives_who_said_it_and_a_budget_that_is_lifted(tmp_path: Path) -> None:
    Watched(tmp_path).look(12)
    again = Watched(tmp_path)
    with pytest.raises(StorageFull):
        again.room()
    without = Watched(tmp_path, budget_gb=0)
    without.room()
    without.look(12)
    assert told_of_room(without.folder) == ("", False)


def test_a_room_that_was_looked_at_is_not_looked_at_for_every_instance(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    room = Room(watched.folder, limited=True, look_every_s=3600)
    room()
    watched.look(12)
    room()
    with pytest.raises(StorageFull):
        watched.room()
