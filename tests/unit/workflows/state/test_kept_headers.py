"""Headers are kept with the plan that was made from them; they outlive the images, but not the study."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Engine, update

from dicom_node.headers.attributes import KeptSeries, KeptStudy
from workflows.state.engine import open_engine
from workflows.state.header_tables import KeptHeadersRow
from workflows.state.keeping import KeepingRules
from workflows.state.records import NewInstance

if TYPE_CHECKING:
    from .conftest import World

STUDY = "1.2.3"


def kept(description: str = "Oberbauch nativ, Schädel\0", **attributes: tuple[str, ...]) -> KeptStudy:
    return KeptStudy((KeptSeries({"SeriesDescription": (description,), **attributes}, ("1.2",), 7),), ("CT1",))


def plan(world: World, study_uid: str, headers: KeptStudy | None, generation: int = 1) -> bool:
    return world.repository.save_plan(study_uid, generation, [], [], "planned", headers) is not None


def receive(world: World, *study_uids: str) -> None:
    """Instances of several studies that come at the same time, until each study is complete."""
    world.repository.record_instances(
        [
            NewInstance(uid, f"{uid}.1", f"{uid}.1.1", "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1",
                        path=Path(f"{uid}/1"), bytes=1, digest="a", calling_ae_title="CT1", accession_number=f"A{uid}")
            for uid in study_uids
        ],
        lambda _title: 60.0,
    )  # fmt: skip
    world.tick(60)
    world.complete()


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = open_engine(url)
    yield engine
    engine.dispose()


def test_what_a_study_was_planned_from_is_there_until_the_next_plan(world: World) -> None:
    assert world.repository.kept_study(STUDY) is None
    world.receive()
    world.make_complete()
    assert not plan(world, STUDY, kept("of another generation"), generation=2)
    assert world.repository.kept_study(STUDY) is None
    assert plan(world, STUDY, kept())
    assert world.repository.kept_study(STUDY) == kept()
    world.reopen()
    assert world.repository.kept_study(STUDY) == kept(), "the new plan is not made yet"
    assert plan(world, STUDY, kept("more"), generation=2)
    assert world.repository.kept_study(STUDY) == kept("more")


def test_it_outlives_the_images_and_goes_with_the_study(world: World) -> None:
    world.receive()
    world.make_complete()
    plan(world, STUDY, kept())
    world.tick(10 * 86400)
    assert world.repository.remove_inputs(STUDY, KeepingRules(uncommitted=timedelta(days=1)))
    world.repository.finish_removal(STUDY)
    assert world.repository.kept_study(STUDY) == kept()
    world.repository.purge(STUDY, "anna")
    assert world.repository.kept_study(STUDY) is None and list(world.repository.kept_studies()) == []


def test_studies_come_newest_first_in_portions(world: World) -> None:
    begin = world.clock[0]
    for uids in (["1.1", "1.2", "1.3"], ["1.4"], ["1.5", "1.6"]):
        receive(world, *uids)
    receive(world, "1.7")  # complete, and never planned
    for uid in ("1.1", "1.2", "1.3", "1.4", "1.5"):
        assert plan(world, uid, kept(uid))
    assert plan(world, "1.6", None), "by a version that kept no headers"
    for at_once in (1, 2, 3, 100):
        found = list(world.repository.kept_studies(at_once=at_once))
        assert [one.study_uid for one in found] == ["1.6", "1.5", "1.4", "1.3", "1.2", "1.1"]
    assert [one.kept for one in found] == [None, *map(kept, ("1.5", "1.4", "1.3", "1.2", "1.1"))]
    assert (found[1].accession_number, found[1].received_at) == ("A1.5", begin + timedelta(seconds=120))
    repository = world.repository
    assert [one.study_uid for one in repository.kept_studies(limit=3, at_once=2)] == ["1.6", "1.5", "1.4"]
    later = begin + timedelta(seconds=60)
    assert [one.study_uid for one in repository.kept_studies(later, later + timedelta(seconds=1))] == ["1.4"]
    assert [one.study_uid for one in repository.kept_studies(until=later)] == ["1.3", "1.2", "1.1"]


def test_what_another_version_wrote_counts_as_not_kept(world: World, engine: Engine) -> None:
    receive(world, "1.1")
    plan(world, "1.1", kept())
    with engine.begin() as connection:
        connection.execute(update(KeptHeadersRow).values(kept=b"of tomorrow"))
    assert world.repository.kept_study("1.1") is None
    assert [one.kept for one in world.repository.kept_studies()] == [None]
