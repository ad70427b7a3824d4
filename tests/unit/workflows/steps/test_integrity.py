"""Images that are gone or damaged: never read, set aside, asked for again, and all goes on once they are back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from shutil import copy
from typing import TYPE_CHECKING

import pytest
from pydicom import dcmread

from dicom_node.errors import PeerUnreachable
from dicom_node.storage.whole import WholeInstances
from workflows.steps.evidence import ArchiveSource, take_file
from workflows.steps.integrity import Recovery, recover_due

if TYPE_CHECKING:
    from .conftest import Marking, Steps

Study = Callable[..., list[Path]]
UID = "1.2.3.1"


class Shelf:
    """An archive that has some files, and counts how often it is asked."""

    def __init__(self, files: Sequence[Path], *, away: bool = False) -> None:
        self.files = {str(dcmread(path).SOPInstanceUID): path for path in files}
        self.away, self.asked = away, 0

    def retrieve(
        self, study_uid: str, folder: Path, *, series_uid: str = "", sop_instance_uids: Sequence[str] = ()
    ) -> list[Path]:
        self.asked += 1
        if self.away:
            raise PeerUnreachable("SHELF does not answer")
        return [Path(copy(self.files[uid], folder / f"{uid}.dcm")) for uid in sop_instance_uids if uid in self.files]


def recover(steps: Steps, *shelves: Shelf, move: Callable[[str, str, Sequence[str]], None] | None = None) -> None:
    sink = WholeInstances(steps.take)
    take = lambda path: take_file(path, "CT1", sink)  # noqa: E731
    sources = [ArchiveSource("SHELF", lambda shelf=shelf: shelf, take, move) for shelf in shelves]  # type: ignore[misc]
    recover_due(Recovery(steps.repository, steps.store, steps.folder, lambda _title: sources))


def planned(steps: Steps, study: Study) -> tuple[list[Path], str, Path]:
    """A planned study: its files, its job, and one of them as it is stored."""
    files = study(1, "20260101")
    steps.receive(*files)
    (key,) = steps.keys(steps.to_plan())
    return files, key, steps.folder.absolute(steps.repository.instances(UID)[1].path)


def spoil(path: Path, how: str) -> None:
    contents = path.read_bytes()
    if how == "gone":
        path.unlink()
    elif how == "prefix":
        path.write_bytes(b"x" * 200 + contents[200:])
    else:
        path.write_bytes(contents[:-3] + b"xxx")


@pytest.mark.parametrize("how", ["pixels", "prefix", "gone"])
def test_a_spoiled_image_is_never_read_and_is_asked_for_again(
    steps: Steps, marking: Marking, study: Study, how: str
) -> None:
    files, key, path = planned(steps, study)
    spoil(path, how)
    steps.predict(key)
    assert (marking.asked, steps.state(UID)[0]) == (0, "PLANNED")
    shelf = Shelf(files)
    recover(steps, shelf)
    assert shelf.asked == 1
    assert path.with_name(f"{path.name}.damaged").exists() is (how != "gone")
    assert steps.repository.lost_instances(UID) == []
    assert steps.repository.due_recoveries() == []
    assert steps.to_plan() == UID
    assert steps.keys(UID) == [key], "the same inputs are the same job"
    steps.predict(key)
    steps.publish(key)
    assert (marking.asked, steps.state(UID)[0]) == (1, "DELIVERED")
    assert list((steps.folder.run).glob("asked-*")) == []


def test_without_a_source_the_study_names_what_to_send_again(steps: Steps, marking: Marking, study: Study) -> None:
    files, key, path = planned(steps, study)
    spoil(path, "pixels")
    steps.predict(key)
    recover(steps)
    steps.complete()
    recover(steps)
    state, reason = steps.state(UID)
    assert state == "FAILED" and f"{UID}.1.1 (its file was damaged, and is set aside)" in reason
    assert reason.endswith("send the study again")
    steps.receive(*files)
    steps.to_plan()
    steps.predict(key)
    assert steps.jobs(UID)[0].state.value == "DELIVERING"


def test_a_source_that_is_away_is_asked_a_few_times_and_no_more(steps: Steps, marking: Marking, study: Study) -> None:
    _, key, path = planned(steps, study)
    spoil(path, "gone")
    steps.predict(key)
    shelf = Shelf([], away=True)
    for _ in range(12):
        recover(steps, shelf)
        steps.complete()
        steps.tick(8000)
    assert shelf.asked == 6, "when it was found gone, and five times after that"
    assert "asked for again, in vain so far (SHELF: SHELF does not answer)" in steps.state(UID)[1]


def test_what_a_source_does_not_copy_it_is_asked_to_send(steps: Steps, marking: Marking, study: Study) -> None:
    files, key, path = planned(steps, study)
    spoil(path, "gone")
    steps.predict(key)
    recover(steps, Shelf([], away=True), move=lambda _study, _series, _uids: steps.receive(*files))
    assert steps.repository.lost_instances(UID) == [] and steps.to_plan() == UID


def test_a_suspicion_that_is_wrong_changes_nothing(steps: Steps, marking: Marking, study: Study) -> None:
    files, key, _ = planned(steps, study)
    shelf = Shelf(files)
    steps.repository.suspect(UID)
    recover(steps, shelf)
    assert (shelf.asked, steps.state(UID)[0], steps.repository.due_recoveries()) == (0, "PLANNED", [])
    steps.predict(key)
    assert marking.asked == 1


def test_a_folder_that_is_not_there_loses_nothing(steps: Steps, marking: Marking, study: Study) -> None:
    steps.folder.claim(steps.repository.claim_database("a" * 32))
    files, key, path = planned(steps, study)
    spoil(path, "gone")
    steps.folder.marker.rename(steps.folder.root / "elsewhere")
    steps.predict(key)
    recover(steps, Shelf(files))
    assert steps.repository.lost_instances(UID) == [] and steps.state(UID)[0] == "PLANNED"


def test_results_that_stand_are_not_read_again_for_it(steps: Steps, marking: Marking, study: Study) -> None:
    files = study(1, "20260101")
    steps.through(*files)
    spoil(steps.folder.absolute(steps.repository.instances(UID)[0].path), "pixels")
    steps.repository.suspect(UID)
    shelf = Shelf(files)
    recover(steps, shelf)
    assert (shelf.asked, steps.state(UID)[0]) == (0, "DELIVERED")
    assert len(steps.repository.lost_instances(UID)) == 1


def test_a_damaged_header_does_not_fail_the_plan(steps: Steps, marking: Marking, study: Study) -> None:
    files = study(1, "20260101")
    steps.receive(*files)
    steps.tick(60)
    steps.complete()
    path = steps.folder.absolute(min(one.path for one in steps.repository.instances(UID)))
    path.write_bytes(b"\0" * path.stat().st_size)
    steps.plan(UID)
    state, reason = steps.state(UID)
    assert state == "COMPLETE" and "reads other bytes in" in reason
    recover(steps, Shelf(files))
    assert steps.to_plan() == UID and steps.state(UID)[0] == "PLANNED"
