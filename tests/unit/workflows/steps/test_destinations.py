"""Where a protocol's results go, and how long archives are asked for what it is compared with."""

from __future__ import annotations

import pytest

from dicom_node.errors import PeerUnreachable
from dicom_node.headers.patient import Patient
from dicom_node.headers.series_kind import SeriesKind
from dicom_node.results.profiles import Profile, WhenNothingSeen, Wishes
from workflows.protocols.schema import Limits, Results
from workflows.state.records import Destination
from workflows.steps.archived_priors import ArchivedResults
from workflows.steps.destinations import destinations_of, useful_for_s
from workflows.steps.priors import Wanted

WISHES = Wishes(when_nothing_seen=WhenNothingSeen.NOTHING)
PACS, RESEARCH = Destination("pacs", Profile.PLAIN_PACS), Destination("research", Profile.OHIF, WISHES)
ARCHIVES = {"pacs": PACS, "research": RESEARCH}


@pytest.mark.parametrize(
    ("results", "goes_to"),
    [
        (Results(), (PACS,)),
        (Results(profile="air"), (Destination("pacs", Profile.AIR),)),
        (Results(("research",)), (RESEARCH,)),
        (Results(("research", "pacs", "research"), "slicer"),
         (Destination("research", Profile.SLICER, WISHES), Destination("pacs", Profile.SLICER))),
        # Not configured any more: never silently elsewhere.
        (Results(("gone",)), (Destination("gone", Profile.PLAIN_PACS),)),
        (Results(("gone", "research"), "air"),
         (Destination("gone", Profile.AIR), Destination("research", Profile.AIR, WISHES))),
    ],
)  # fmt: skip
def test_results_go_where_their_protocol_says(results: Results, goes_to: tuple[Destination, ...]) -> None:
    assert destinations_of(results, (PACS,), ARCHIVES) == goes_to


def test_without_any_archive_results_wait_for_one() -> None:
    waits = Destination("", Profile.AIR)
    assert destinations_of(Results(), (waits,), {}) == (waits,)
    assert destinations_of(Results(("pacs",)), (waits,), {}) == (Destination("pacs", Profile.AIR),)


def test_an_answer_is_of_use_in_seconds() -> None:
    assert useful_for_s(Limits(useful_for_minutes=1.5)) == 90
    assert useful_for_s(Limits()) is None


def test_archives_are_asked_again_only_with_more_time_for_who_was_left_unasked() -> None:
    asked: list[str] = []

    def away() -> None:
        asked.append("away")
        raise PeerUnreachable("archive away is away")

    wanted = Wanted("1.2", (Patient("7", None, "", ""),), SeriesKind("CT", ""), ())
    archived = ArchivedResults({"away": away}, lambda _uids: set(), deadline_s=20)  # type: ignore[dict-item]
    unasked = archived.of(wanted, 0)
    assert (unasked.complete, asked) == (False, [])
    assert "asks no archives" in unasked.reasons[0]
    found = archived.of(wanted)
    assert asked == ["away"] and "is away" in found.reasons[0]
    assert archived.of(wanted, 10) is archived.of(wanted) is found
    archived.of(wanted, 30)
    assert asked == ["away", "away"]
