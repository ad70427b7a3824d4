"""Images whose time is over: their files go and nothing else does, wherever the node is killed meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from workflows.quarantine import Quarantine, QuarantinedInstance
from workflows.state.keeping import KeepingRules
from workflows.steps.kept_headers import kept_header_path, study_header_of
from workflows.steps.purge import finish_purges, purge_study
from workflows.steps.retain import retain

if TYPE_CHECKING:
    from .conftest import Archive, Marking, Steps

Study = Callable[..., list[Path]]
UID = "1.2.3.1"
RULES = KeepingRules(after_commitment=timedelta(days=1), uncommitted=timedelta(days=1))


class Killed(BaseException):
    """Stands for a process that ends here."""


def relieve(steps: Steps, rules: KeepingRules = RULES) -> int:
    return retain(steps.repository, steps.store, steps.folder, rules)


def delivered(steps: Steps, study: Study) -> list[Path]:
    files = study(1, "20260101")
    steps.through(*files)
    steps.tick(2 * 86400)
    return files


def killed_at(target: object, method: str, monkeypatch: pytest.MonkeyPatch, *, after: int = 0) -> None:
    """The process ends when it comes to a method for the (`after` + 1)-th time."""
    calls = iter(range(1000))
    was = getattr(target, method)

    def die(*given: object, **named: object) -> object:
        if next(calls) >= after:
            raise Killed
        return was(*given, **named)

    monkeypatch.setattr(target, method, die)


def test_files_go_and_rows_results_and_headers_stay(steps: Steps, marking: Marking, study: Study) -> None:
    delivered(steps, study)
    before = study_header_of(steps.repository.instances(UID), steps.folder)
    size = sum(file.stat().st_size for file in steps.folder.instances.rglob("*.dcm"))
    assert relieve(steps) == 1 and steps.stored() == set()
    assert steps.reconcile() == (0, 0) and steps.repository.lost_instances(UID) == []
    assert [path.exists() for path in steps.saved(steps.keys(UID)[0])] == [True, True]
    kept = kept_header_path(UID, f"{UID}.1", steps.folder)
    assert kept.is_file() and kept.stat().st_size < size / 4
    known = steps.repository.known_instances(UID)
    assert len(known) == 4 and study_header_of(known, steps.folder) == before, "what the planner saw can be seen again"
    assert relieve(steps) == 0


def test_without_rules_nothing_is_ever_removed(steps: Steps, marking: Marking, study: Study) -> None:
    delivered(steps, study)
    steps.tick(10_000 * 86400)
    assert relieve(steps, KeepingRules()) == 0 and len(steps.stored()) == 4


def test_what_is_no_image_stays(steps: Steps, marking: Marking, study: Study, phantom: Callable[..., Path]) -> None:
    document = phantom(
        9, 1, SOPClassUID="1.2.840.10008.5.1.4.1.1.88.33", StudyInstanceUID=UID, SOPInstanceUID=f"{UID}.9.1",
        SeriesInstanceUID=f"{UID}.9", Modality="SR",
    )  # fmt: skip
    steps.receive(document)
    delivered(steps, study)
    assert relieve(steps) == 1
    assert [path.name for path in steps.stored()] == [f"{UID}.9.1.dcm"]
    assert len(study_header_of(steps.repository.known_instances(UID), steps.folder).series) == 2


def test_sent_again_they_are_read_again_when_a_person_asks(steps: Steps, marking: Marking, study: Study) -> None:
    files = delivered(steps, study)
    relieve(steps)
    assert not steps.repository.reopen(UID, "again")
    steps.receive(*files)
    assert steps.state(UID)[0] == "DELIVERED" and len(steps.stored()) == 4
    assert steps.complete() == []
    assert steps.repository.reopen(UID, "again")
    steps.plan(UID)
    assert steps.state(UID)[0] == "DELIVERED", "nothing has changed, so nothing is asked"
    steps.tick(2 * 86400)
    assert relieve(steps) == 1 and steps.stored() == set()


def test_killed_before_the_rows_say_it_nothing_is_removed(
    steps: Steps, marking: Marking, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivered(steps, study)
    with monkeypatch.context() as patch:
        killed_at(steps.repository, "remove_inputs", patch)
        with pytest.raises(Killed):
            relieve(steps)
    assert len(steps.stored()) == 4 and steps.reconcile() == (0, 0)
    assert len(steps.repository.instances(UID)) == 4
    assert relieve(steps) == 1


@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize("mended_by", ["retain", "sweep"])
def test_killed_between_rows_and_files_leaves_files_that_go_later(
    steps: Steps, marking: Marking, study: Study, monkeypatch: pytest.MonkeyPatch, after: int, mended_by: str
) -> None:
    delivered(steps, study)
    with monkeypatch.context() as patch:
        killed_at(steps.store, "discard", patch, after=after)
        with pytest.raises(Killed):
            relieve(steps)
    assert len(steps.stored()) == 4 - after
    if mended_by == "sweep":
        assert steps.reconcile() == (0, 0)
    else:
        assert relieve(steps) == 1 and relieve(steps) == 0
    assert steps.stored() == set() and steps.repository.lost_instances(UID) == []
    assert steps.state(UID)[0] == "DELIVERED"


def test_an_image_that_comes_again_while_it_is_removed_is_kept(
    steps: Steps, marking: Marking, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = delivered(steps, study)
    was = steps.repository.remove_inputs

    def remove(study_uid: str, rules: KeepingRules) -> object:
        found = was(study_uid, rules)
        steps.receive(files[1])
        return found

    monkeypatch.setattr(steps.repository, "remove_inputs", remove)
    relieve(steps)
    assert [path.name for path in steps.stored()] == [f"{UID}.1.1.dcm"]
    assert [one.sop_instance_uid for one in steps.repository.instances(UID)] == [f"{UID}.1.1"]


def test_a_file_that_is_gone_does_not_stand_in_the_way_for_ever(steps: Steps, marking: Marking, study: Study) -> None:
    delivered(steps, study)
    steps.folder.absolute(min(one.path for one in steps.repository.instances(UID))).unlink()
    assert relieve(steps) == 0 and steps.repository.due_recoveries() == [UID]


# --- Purging ----------------------------------------------------------------------------------------------------------


def purge(steps: Steps) -> None:
    purged = purge_study(UID, "anna", steps.repository, steps.store, steps.folder)
    assert purged is not None and purged.refused == ""


def left(steps: Steps) -> list[Path]:
    """Every file and folder that a study has on the disk."""
    roots = (steps.folder.instances, steps.folder.results, steps.folder.headers)
    return [path for root in roots for path in (root / UID).rglob("*")]


def test_a_purge_removes_images_results_headers_and_what_was_set_aside(
    steps: Steps, archive: Archive, marking: Marking, study: Study
) -> None:
    delivered(steps, study)
    steps.receive(*study(2, "20260102"))
    aside = steps.folder.absolute(steps.repository.instances(UID)[0].path)
    aside.with_name(f"{aside.name}.damaged").write_bytes(b"x")
    relieve(steps, RULES)
    assert kept_header_path(UID, f"{UID}.1", steps.folder).is_file()
    purge(steps)
    assert left(steps) == [] and not (steps.folder.instances / UID).exists()
    assert steps.repository.study(UID) is None and steps.repository.unfinished_purges() == {}
    assert len(steps.repository.instances("1.2.3.2")) == 4 and len(steps.stored()) == 4, "another study stays"
    assert archive.kinds() == ["SEG", "SR"], "the archive keeps what it has"
    assert steps.reconcile() == (0, 0)


def test_a_purge_empties_the_quarantine_of_its_study_alone(steps: Steps, marking: Marking, study: Study) -> None:
    delivered(steps, study)
    quarantine = Quarantine(steps.folder.quarantine)
    for digest, study_uid in (("a" * 64, UID), ("b" * 64, "1.2.9")):
        instance = QuarantinedInstance(
            digest, "1.2.9.1", study_uid, "", "", "CT1", "2025-01-01T00:00:00+00:00", "no row can hold it", 1
        )
        quarantine.keep(instance, lambda file: file.write(b"x"))
    purge(steps)
    assert [one.study_uid for one in quarantine.instances()] == ["1.2.9"]


@pytest.mark.parametrize("mended_by", ["purge", "sweep"])
def test_a_purge_that_is_killed_before_the_files_go_is_finished(
    steps: Steps, marking: Marking, study: Study, monkeypatch: pytest.MonkeyPatch, mended_by: str
) -> None:
    delivered(steps, study)
    steps.repository.purge(UID, "anna")
    assert len(steps.stored()) == 4
    if mended_by == "sweep":
        assert steps.reconcile() == (0, 0) and steps.stored() == set(), "they are not indexed as if they had come"
    finish_purges(steps.repository, steps.store, steps.folder)
    assert left(steps) == [] and steps.repository.study(UID) is None


def test_a_study_that_comes_again_before_its_purge_is_finished_stays(
    steps: Steps, marking: Marking, study: Study
) -> None:
    files = delivered(steps, study)
    steps.repository.purge(UID, "anna")
    steps.receive(*files[:3])
    finish_purges(steps.repository, steps.store, steps.folder)
    assert len(steps.stored()) == 3 and len(steps.repository.instances(UID)) == 3
    assert steps.repository.unfinished_purges() == {}
    steps.receive(files[3])
    for key in steps.keys(steps.to_plan()):
        steps.predict(key)
        steps.publish(key)
    assert steps.state(UID)[0] == "DELIVERED"
