"""What planning keeps of a study, and the node's history out of it: the same before and after the images are gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dicom_node.headers.attributes import KeptStudy
from dicom_node.headers.study import read_study_header, study_header
from workflows.state.keeping import KeepingRules
from workflows.state.kept_headers import PlannedStudy
from workflows.state.repository import Repository
from workflows.steps.kept_headers import history, kept_study_of, known_study
from workflows.steps.retain import retain

if TYPE_CHECKING:
    from .conftest import Marking, Steps

Study = Callable[..., list[Path]]
UID = "1.2.3.1"
RULES = KeepingRules(after_commitment=timedelta(days=1), uncommitted=timedelta(days=1))


class KeptNothing(Repository):
    """A node that planned before headers were kept."""

    def kept_study(self, study_uid: str) -> KeptStudy | None:
        return None

    def kept_studies(self, *given: Any, **named: Any) -> Iterator[PlannedStudy]:
        return (replace(one, kept=None) for one in super().kept_studies(*given, **named))


def test_what_is_kept_gives_the_header_that_the_files_give(steps: Steps, marking: Marking, study: Study) -> None:
    files = study(1, "20260101")
    steps.tick(5)
    last = steps.now
    steps.through(*files)
    kept = kept_study_of(steps.repository.instances(UID), steps.folder)
    read = read_study_header({f"{UID}.1": list(steps.folder.instances.rglob("*.dcm"))}, sources=["CT1"])
    assert study_header(kept) == replace(read, received_at=last)
    assert study_header(KeptStudy.from_json(kept.as_json())) == study_header(kept)


def test_the_history_is_the_same_when_images_are_gone_and_where_nothing_was_kept(
    steps: Steps, marking: Marking, study: Study
) -> None:
    steps.through(*study(1, "20260101"))
    expected = study_header(kept_study_of(steps.repository.instances(UID), steps.folder))
    of_before = KeptNothing(steps.repository._engine, clock=lambda: steps.now)

    def told() -> list[Any]:
        return [one.header for whose in (steps.repository, of_before) for one in history(whose, steps.folder)]

    assert told() == [expected, expected]
    steps.tick(2 * 86400)
    assert retain(steps.repository, steps.store, steps.folder, RULES) == 1
    assert told() == [expected, expected]
    (known,) = history(of_before, steps.folder, limit=1)
    assert known.received_at == expected.received_at
    assert known_study(UID, of_before, steps.folder) == known_study(UID, steps.repository, steps.folder)
    for kept_file in steps.folder.headers.rglob("*.dcm"):
        kept_file.unlink()
    assert list(history(of_before, steps.folder)) == [] and known_study(UID, of_before, steps.folder) is None
    assert known_study("9.9", steps.repository, steps.folder) is None


def test_no_character_of_a_description_reaches_a_database_or_a_terminal_that_cannot_take_it(
    steps: Steps, marking: Marking, study: Study
) -> None:
    steps.receive(*study(1, "20260101", SeriesDescription="Abdomen\x00 \x07red"))
    _state, reason = steps.state(steps.to_plan())
    assert reason == "abdomen matched series Abdomen   red"
