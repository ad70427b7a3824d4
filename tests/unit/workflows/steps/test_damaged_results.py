"""Saved results whose files are gone or damaged: never sent, made again as they were, or anew under other UIDs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from workflows.errors import OtherWeights
from workflows.state.keeping import KeepingRules
from workflows.steps.retain import retain

from .conftest import SMALL

if TYPE_CHECKING:
    from .conftest import Archive, Marking, Steps

SEG = "1.2.840.10008.5.1.4.1.1.66.4"
Study = Callable[..., list[Path]]


def answered(steps: Steps, study: Study) -> str:
    """The key of a job that is answered and not sent."""
    steps.receive(*study(1, "20260101"))
    (key,) = steps.keys(steps.to_plan())
    steps.predict(key)
    return key


def damage(path: Path) -> bytes:
    """Change the file's last bytes; returns what it was."""
    contents = path.read_bytes()
    path.write_bytes(contents[:-2] + b"xx")
    return contents


@pytest.mark.parametrize("how", ["damaged", "gone"])
def test_a_damaged_result_is_made_again_with_the_same_bytes(
    steps: Steps, archive: Archive, marking: Marking, study: Study, how: str
) -> None:
    key = answered(steps, study)
    seg, report = steps.saved(key)
    was = damage(seg)
    if how == "gone":
        seg.unlink()
    steps.publish(key)
    (job,) = steps.jobs("1.2.3.1")
    assert (job.state.value, archive.objects) == ("PLANNED", [])
    assert "SEG is gone or damaged: made again" in job.reason
    assert seg.with_name("seg.dcm.damaged").exists() is (how == "damaged") and not seg.exists()
    steps.wake()
    assert steps.waker.jobs[-1] == key
    steps.predict(key)
    again, same = steps.saved(key)
    assert (again.read_bytes(), same) == (was, report) and again != seg
    steps.publish(key)
    assert steps.state("1.2.3.1")[0] == "DELIVERED"
    assert archive.kinds() == ["SEG", "SR"], "each once"


def test_what_an_archive_has_already_is_not_sent_again(
    steps: Steps, archive: Archive, marking: Marking, study: Study
) -> None:
    key = answered(steps, study)
    damage(steps.saved(key)[1])
    steps.publish(key)
    assert archive.kinds() == ["SEG"]
    steps.predict(key)
    steps.publish(key)
    assert (steps.state("1.2.3.1")[0], archive.kinds()) == ("DELIVERED", ["SEG", "SR"])


def test_a_result_that_comes_out_otherwise_goes_out_under_another_uid(
    steps: Steps, archive: Archive, marking: Marking, study: Study
) -> None:
    key = answered(steps, study)
    damage(steps.saved(key)[1])
    steps.publish(key)
    (old,) = (str(one.SOPInstanceUID) for one in archive.objects)
    marking.marked = {"spleen": (0.9, SMALL)}
    steps.predict(key)
    (job,) = steps.jobs("1.2.3.1")
    assert (job.state.value, job.edition) == ("PLANNED", 2)
    steps.predict(key)
    steps.publish(key)
    assert (steps.state("1.2.3.1")[0], archive.kinds()) == ("DELIVERED", ["SEG", "SEG", "SR"])
    assert old not in {one.sop_instance_uid for one in steps.repository.objects(key)}
    retracted = steps.repository.claim_retractions("1.2.3.1", "pacs", 60)
    assert [one.result.sop_instance_uid for one in retracted] == [old], "what it replaces is taken back"


def test_where_the_weights_are_gone_it_becomes_a_new_job(
    steps: Steps, archive: Archive, marking: Marking, study: Study
) -> None:
    key = answered(steps, study)
    damage(steps.saved(key)[1])
    steps.publish(key)
    newer = replace(marking.description, version="3", digest="e" * 64)

    def other(wanted: object) -> Marking:
        if wanted != newer:
            raise OtherWeights("planned for weights that are gone")
        return marking

    steps.inference = replace(steps.inference, predictor_for=other)
    steps.planner = replace(steps.planner, model=newer)
    steps.predict(key)
    assert steps.state("1.2.3.1")[0] == "COMPLETE"
    steps.plan("1.2.3.1")
    (new,) = steps.keys("1.2.3.1")
    assert new != key
    steps.predict(new)
    steps.publish(new)
    assert steps.state("1.2.3.1")[0] == "DELIVERED"


def test_where_its_images_were_removed_it_fails_and_says_what_to_do(
    steps: Steps, archive: Archive, marking: Marking, study: Study
) -> None:
    files = study(1, "20260101")
    steps.receive(*files)
    (key,) = steps.keys(steps.to_plan())
    steps.predict(key)
    archive.refused.add(SEG)
    steps.publish(key)
    assert steps.state("1.2.3.1")[0] == "FAILED"
    assert retain(steps.repository, steps.store, steps.folder, KeepingRules(uncommitted=timedelta(0))) == 1
    assert not steps.repository.reopen("1.2.3.1", "again")
    steps.receive(*files)
    assert steps.repository.reopen("1.2.3.1", "again"), "sent again, it can be read again"


def test_a_disk_that_damages_it_again_and_again_ends_with_a_person(
    steps: Steps, archive: Archive, marking: Marking, study: Study
) -> None:
    key = answered(steps, study)
    for _ in range(3):
        damage(steps.saved(key)[0])
        steps.publish(key)
        steps.predict(key)
        steps.tick(300)
    damage(steps.saved(key)[0])
    steps.publish(key)
    steps.tick(300)
    steps.publish(key)
    state, reason = steps.state("1.2.3.1")
    assert state == "FAILED" and "look at the disk" in reason and archive.objects == []
    (view,) = steps.repository.study_views()
    assert "look at the disk" in view.study.attention
    assert steps.repository.reopen("1.2.3.1", "the disk is a new one")
    steps.plan("1.2.3.1")
    steps.publish(key)
    steps.predict(key)
    steps.publish(key)
    assert (steps.state("1.2.3.1")[0], archive.kinds()) == ("DELIVERED", ["SEG", "SR"])


def test_a_result_is_made_again_from_what_was_read_though_other_images_came_late(
    steps: Steps, archive: Archive, marking: Marking, study: Study, edited: Callable[..., Path]
) -> None:
    files = study(1, "20260101")
    steps.receive(*files)
    (key,) = steps.keys(steps.to_plan())
    steps.predict(key)
    steps.publish(key)
    was = damage(steps.saved(key)[0])
    steps.receiver.keeps_late = lambda _title: True
    steps.receive(edited(files[1], RescaleIntercept=-1000))
    steps.repository.resend("1.2.3.1", "a person")
    steps.publish(key)
    assert steps.jobs("1.2.3.1")[0].state.value == "PLANNED"
    steps.wake()
    steps.predict(key)
    assert steps.saved(key)[0].read_bytes() == was
