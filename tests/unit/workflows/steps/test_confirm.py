"""Confirm: what an archive took is committed or seen again, or sent once more; nothing else is believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dicom_node.commissioning.marker import Marker
from dicom_node.errors import PeerRejected, PeerUnreachable
from dicom_node.network.commitment import CommitmentAnswer
from workflows.state.records import ResultObject
from workflows.state.views import ObjectView, Selection
from workflows.steps.confirm import confirm_deliveries, record_commitment
from workflows.steps.route import Route

if TYPE_CHECKING:
    from .conftest import Archive, Steps

Marked = tuple[list[Path], Marker]


@dataclass(frozen=True)
class Scripted(Route):
    """A way to an archive that answers as a test wants. `asked`: transactions; `answers`: one for each, or an error."""

    asked: list[str] = field(default_factory=list)
    looked: list[str] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)
    no_query: bool = False

    def ask_commitment(self, transaction_uid: str, objects: Sequence[ResultObject]) -> CommitmentAnswer | None:
        self.asked.append(transaction_uid)
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        return None if answer is None else answer(transaction_uid, [one.sop_instance_uid for one in objects])

    def shown(self, study_uid: str, objects: Sequence[ResultObject]) -> set[str]:
        self.looked.append(study_uid)
        if self.no_query:
            raise PeerRejected("PACS: no query service")
        return {one.sop_instance_uid for one in objects if one.kind.value not in self.lost}


def all_of(transaction_uid: str, uids: list[str]) -> CommitmentAnswer:
    return CommitmentAnswer(transaction_uid, frozenset(uids), {})


def none_of(transaction_uid: str, uids: list[str]) -> CommitmentAnswer:
    return CommitmentAnswer(transaction_uid, frozenset(), dict.fromkeys(uids, 0x0112))


def scripted(steps: Steps, **how: Any) -> Scripted:
    route = steps.sender.routes["pacs"]
    found = Scripted(route.address, route.calling_ae_title, **how)
    steps.sender = replace(steps.sender, routes={"pacs": found})
    return found


def confirm(steps: Steps, after_s: float = 2) -> None:
    """Wake whatever is due after a while, and do it."""
    steps.tick(after_s)
    steps.waker.confirmations.clear()
    steps.wake()
    for key, archive in steps.waker.confirmations:
        confirm_deliveries(key, archive, steps.repository, steps.sender)


def objects(steps: Steps, study_uid: str) -> list[ObjectView]:
    (view,) = steps.repository.study_views(Selection(study_uid=study_uid))
    return [one for job in view.jobs for one in job.objects]


def told(steps: Steps, study_uid: str) -> list[tuple[bool, bool, str]]:
    """Whether each object is committed, seen, and why not."""
    found = [delivery for one in objects(steps, study_uid) for delivery in one.deliveries]
    return [(one.committed_at is not None, one.seen_at is not None, one.confirm_reason) for one in found]


def test_commitment_on_the_same_association(steps: Steps, archive: Archive, marked: Marked) -> None:
    route = scripted(steps, commitment=True, answers=[all_of])
    study_uid = steps.through(*marked[0][:3])
    confirm(steps)
    assert told(steps, study_uid) == [(True, False, "")] * 2
    assert (len(route.asked), route.looked) == (1, [])
    confirm(steps, 10000)
    assert len(route.asked) == 1, "it is known"


def test_an_answer_that_comes_late_or_twice_on_another_association_is_taken(
    steps: Steps, archive: Archive, marked: Marked
) -> None:
    route = scripted(steps, commitment=True)
    study_uid = steps.through(*marked[0][:3])
    confirm(steps)
    assert told(steps, study_uid) == [(False, False, "PACS was asked for commitment and has not answered yet")] * 2
    uids = [one.result.sop_instance_uid for one in objects(steps, study_uid)]
    confirm(steps, 61)
    assert len(set(route.asked)) == 2, "each request is a transaction of its own"
    for _ in range(2):
        record_commitment(all_of(route.asked[0], uids), steps.repository)
    assert told(steps, study_uid) == [(True, False, "")] * 2
    record_commitment(all_of("1.2.3.4", uids), steps.repository)


def test_an_archive_that_never_answers_is_queried_in_the_end(steps: Steps, archive: Archive, marked: Marked) -> None:
    route = scripted(steps, commitment=True)
    study_uid = steps.through(*marked[0][:3])
    for after_s in (2, 61, 601, 3601):
        confirm(steps, after_s)
    assert (len(route.asked), len(route.looked)) == (3, 1)
    assert told(steps, study_uid) == [(False, True, "PACS did not answer for commitment")] * 2


def test_an_archive_that_does_not_commit_itself_is_queried_at_once(
    steps: Steps, archive: Archive, marked: Marked
) -> None:
    scripted(steps, commitment=True, answers=[PeerRejected("no such service")])
    study_uid = steps.through(*marked[0][:3])
    confirm(steps)
    assert told(steps, study_uid) == [(False, True, "PACS does not commit itself (no such service)")] * 2


def test_an_archive_that_breaks_off_when_it_is_asked_to_commit_itself_is_queried_in_the_end(
    steps: Steps, archive: Archive, marked: Marked
) -> None:
    away = PeerUnreachable("PACS: no answer")
    route = scripted(steps, commitment=True, answers=[away] * 3)
    study_uid = steps.through(*marked[0][:3])
    for after_s in (2, 61, 601, 3601):
        confirm(steps, after_s)
    assert (len(route.asked), len(route.looked)) == (3, 1)
    assert all(seen for _, seen, _ in told(steps, study_uid))


def test_what_the_archive_says_that_it_does_not_have_is_sent_again_byte_for_byte(
    steps: Steps, archive: Archive, marked: Marked
) -> None:
    scripted(steps, commitment=True, answers=[none_of, all_of])
    study_uid = steps.through(*marked[0][:3])
    confirm(steps)
    assert steps.state(study_uid)[0] == "DELIVERING"
    (key,) = steps.keys(study_uid)
    steps.publish(key)
    assert archive.kinds() == ["SEG", "SR"] * 2
    assert archive.objects[:2] == archive.objects[2:]
    confirm(steps)
    assert told(steps, study_uid) == [(True, False, "")] * 2
    assert steps.state(study_uid)[0] == "DELIVERED"


def test_an_object_that_no_query_shows_is_sent_again(steps: Steps, archive: Archive, marked: Marked) -> None:
    route = scripted(steps, lost={"SEG"})
    study_uid = steps.through(*marked[0][:3])
    for after_s in (2, 11, 61, 301, 1801):
        assert steps.state(study_uid)[0] == "DELIVERED"
        confirm(steps, after_s)
    assert told(steps, study_uid)[1] == (False, True, "")
    assert steps.state(study_uid)[0] == "DELIVERING"
    (key,) = steps.keys(study_uid)
    steps.publish(key)
    assert archive.kinds() == ["SEG", "SR", "SEG"]
    route.lost.clear()
    confirm(steps)
    assert told(steps, study_uid) == [(False, True, "")] * 2


@pytest.mark.parametrize("error", [PeerUnreachable("PACS: away"), RuntimeError("a defect")])
def test_an_archive_that_is_away_is_asked_again(
    steps: Steps, archive: Archive, marked: Marked, error: Exception
) -> None:
    scripted(steps, commitment=True, answers=[error, all_of])
    study_uid = steps.through(*marked[0][:3])
    confirm(steps)
    assert not any(committed or seen for committed, seen, _ in told(steps, study_uid))
    confirm(steps, 301)
    assert told(steps, study_uid) == [(True, False, "")] * 2


def test_an_archive_that_offers_neither_is_not_asked_for_ever(steps: Steps, archive: Archive, marked: Marked) -> None:
    route = scripted(steps, no_query=True)
    study_uid = steps.through(*marked[0][:3])
    confirm(steps)
    assert told(steps, study_uid) == [(False, False, "it cannot be queried: PACS: no query service")] * 2
    confirm(steps, 100000)
    assert len(route.looked) == 1
