"""Removed images are fetched to be looked at, stay out of the store, and are told about where nobody gives them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from dicom_node.errors import PeerUnreachable
from tests.scene import make_scene, scene_node
from workflows.bootstrap import Node
from workflows.errors import NotShown
from workflows.state.records import Instance, Job
from workflows.state.views import Selection
from workflows.steps.fetch_shown import FetchedImages
from workflows.steps.showing import Showing


@dataclass
class Archive:
    """An archive that has some files, or does not answer."""

    files: Sequence[Path] = ()
    away: bool = False
    name: str = "PACS"
    asked: list[tuple[str, ...]] = field(default_factory=list)

    @property
    def archive(self) -> Callable[[], Archive]:
        return lambda: self

    def retrieve(
        self, study_uid: str, folder: Path, *, series_uid: str = "", sop_instance_uids: Sequence[str] = ()
    ) -> list[Path]:
        self.asked.append(tuple(sop_instance_uids))
        if self.away:
            raise PeerUnreachable("PACS at 192.0.2.1:104 does not answer")
        return [Path(shutil.copy(file, folder / f"{number}.dcm")) for number, file in enumerate(self.files)]


@pytest.fixture(scope="module")
def _read(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("removed")
    node = scene_node(folder / "data")
    (body,) = make_scene(node, folder / "images")
    node.repository.close()
    return folder, str(body.study_uid)


@dataclass
class Removed:
    node: Node
    job: Job
    originals: list[Path]

    def showing(self, *archives: Archive) -> Showing:
        """Whose fetches are over when they have begun."""
        fetched = FetchedImages(self.node.folder, lambda _calling: archives, start=lambda work: work())
        return Showing(self.node.repository, self.node.folder, fetched)


@pytest.fixture
def removed(_read: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Removed:
    """A study whose images retention removed."""
    shutil.copytree(_read[0] / "data", tmp_path / "data")
    node = scene_node(tmp_path / "data")
    (view,) = node.repository.study_views(Selection(study_uid=_read[1]))
    job = next(one.job for one in view.jobs if len(one.job.inputs) == 16)
    rows = node.repository.series_instances(job.study_uid, job.series_uid)
    originals = [Path(shutil.copy(node.folder.absolute(row.path), tmp_path / row.path.name)) for row in rows]
    gone = [_removed(row) for row in rows]
    for row in rows:
        node.folder.absolute(row.path).unlink()
    monkeypatch.setattr(node.repository, "series_instances", lambda _study, _series: gone)
    return Removed(node, job, originals)


def _removed(row: Instance) -> Instance:
    return replace(row, removed_at=row.received_at)


def test_they_are_fetched_and_shown_and_stay_out_of_the_store(removed: Removed) -> None:
    archive = Archive(removed.originals)
    showing = removed.showing(archive)
    with pytest.raises(NotShown, match="being fetched") as first:
        showing.values(removed.job, 0, 3)
    assert first.value.why == "fetching"
    assert np.isfinite(showing.values(removed.job, 0, 3)).all()
    assert len(archive.asked) == 1
    assert not list(removed.node.folder.instances.rglob(f"{removed.job.series_uid}/*.dcm"))
    place = removed.node.folder.results / removed.job.study_uid / "shown" / removed.job.series_uid
    assert len(list(place.iterdir())) == 16


def test_an_archive_that_is_away_is_named(removed: Removed) -> None:
    showing = removed.showing(Archive(away=True))
    with pytest.raises(NotShown):
        showing.stacks(removed.job)
    with pytest.raises(NotShown, match="PACS does not answer") as second:
        showing.stacks(removed.job)
    assert second.value.why == "gone"


def test_the_next_archive_is_asked_for_what_the_first_has_not(removed: Removed) -> None:
    first, second = Archive(removed.originals[:6]), Archive(removed.originals, name="VNA")
    showing = removed.showing(first, second)
    with pytest.raises(NotShown):
        showing.stacks(removed.job)
    assert len(showing.stacks(removed.job)[0].slices) == 16
    assert len(second.asked[0]) == 10


def test_without_an_archive_one_is_told_to_send_it_again(removed: Removed) -> None:
    showing = removed.showing()
    with pytest.raises(NotShown):
        showing.stacks(removed.job)
    with pytest.raises(NotShown, match="Send the study again"):
        showing.stacks(removed.job)
