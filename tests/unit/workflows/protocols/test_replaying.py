"""Replaying: what two sets of protocols make of the same studies, counted by production's own matching."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_node.headers.study import SeriesHeader
from dicom_node.volumes.frames import MIDDLE_FRAME, FrameChoice
from tests.unit.workflows.protocols.headers import SERIES, STUDY, equals, pattern, protocol
from workflows.protocols.conditions import ALWAYS, Condition, NumberRange, Test
from workflows.protocols.costing import Cost, MeasuredAnswer, cost_of, slices_read
from workflows.protocols.replaying import Difference, KnownStudy, difference, joined_differences, replay
from workflows.protocols.schema import ProtocolQuestion, ReadingProtocol
from workflows.protocols.summing import joined_summaries, summary

CINE = "1.2.840.10008.5.1.4.1.1.3.1"
CT = equals("modality", "CT")
THIN = Test("slice_thickness", (NumberRange(maximum=2.0),))


def of_protocol(found: Difference, name: str) -> tuple[int, int, int]:
    """How many series are added, removed, and the same, of one protocol; the first two counted in the lists."""
    same = next((protocol.same for protocol in found.protocols if protocol.name == name), 0)
    added, removed = (sum(one.protocol == name for one in some) for some in (found.added, found.removed))
    return added, removed, same


def known(number: int, *series: SeriesHeader, description: str = "CT") -> KnownStudy:
    header = replace(STUDY, study_uid=f"1.2.{number}", study_description=description, series=series)
    return KnownStudy(header, f"A-{number}", datetime(2026, 11, 1, tzinfo=UTC) + timedelta(hours=number))


def one(number: int, **changes: object) -> SeriesHeader:
    return replace(SERIES, series_uid=f"1.2.{number}.1", **changes)  # type: ignore[arg-type]


THICK_AND_THIN = known(1, one(1, slice_thickness_mm=5.0), replace(one(1, slice_thickness_mm=1.0), series_uid="1.2.1.2"))
WITHOUT_THICKNESS = known(2, one(2, slice_thickness_mm=None))
FOOT = known(3, one(3, modality="MR", series_description="Fuss", slice_thickness_mm=3.0), description="MR foot")


def named(where: Condition, name: str = "abdomen", version: str = "1", **parts: object) -> ReadingProtocol:
    return replace(protocol(where, name=name, **parts), version=version)


def test_what_is_added_and_removed_is_told_with_both_reasons_and_what_was_missing() -> None:
    before, after = [named(CT, version="1")], [named(THIN, version="2")]
    found = difference([THICK_AND_THIN, WITHOUT_THICKNESS, FOOT], before, after)
    assert (found.studies, found.same, len(found.added), len(found.removed)) == (3, 1, 0, 2)
    assert of_protocol(found, "abdomen") == (0, 2, 1)
    assert (found.unmatched_before, found.unmatched_after) == (1, 2)
    latest, earlier = found.by_study()  # the newest first
    (change,) = latest.changes
    assert latest.study.accession_number == "A-2" and not change.added
    assert change.before is not None and change.before.asked and change.before.version == "1"
    assert change.after is not None and not change.after.asked and change.after.version == "2"
    assert change.missing == ("Slice Thickness (0018,0050)",)
    (change,) = earlier.changes
    assert change.after is not None and "5" in change.after.reason
    assert json.loads(json.dumps(found.as_json()))["changed"][0]["before"]["asked"] is True


def test_a_protocol_that_one_set_lacks_has_no_verdict_there() -> None:
    found = difference([THICK_AND_THIN], [named(CT, "gone")], [named(CT, "new")])
    assert {(one.protocol, one.before is None, one.after is None) for one in (*found.added, *found.removed)} == {
        ("new", True, False),
        ("gone", False, True),
    }
    assert [(one.name, one.before, one.after) for one in found.protocols] == [("gone", "1", None), ("new", None, "1")]


def test_the_same_series_with_other_questions_is_the_same_and_said_to_be_asked_otherwise() -> None:
    before = named(CT)
    asks_more = replace(before, questions=(*before.questions, ProtocolQuestion("more", "Where is the spleen?", ())))
    found = difference([THICK_AND_THIN, FOOT], [before], [asks_more])
    assert (found.same, found.otherwise, found.added, found.removed) == (2, 2, (), ()) and found.changed
    (study,) = found.by_study()
    assert study.study.accession_number == "A-1" and len(study.changes) == 2
    assert all(change.questions is not None and not change.added for change in study.changes)
    told = found.as_json()
    assert told["studies_changed"] == 1 and told["changed"][0]["change"] == "other questions"
    assert told["changed"][0]["questions"] == {"came": ("Where is the spleen?",), "went": (), "otherwise": ()}


def test_questions_that_came_and_went_and_those_of_the_same_words_are_told_apart() -> None:
    liver, size = ProtocolQuestion("a", "Where?", ()), ProtocolQuestion("a-1", "How large?", (), "a")
    before = replace(named(CT), questions=(liver, size))
    after = replace(before, questions=(ProtocolQuestion("a", "Where is it?", ()), replace(size, predictor="organs")))
    (told, _) = difference([THICK_AND_THIN], [before], [after]).other_questions
    assert told.questions is not None
    assert told.questions.told == ("- Where?", "+ Where is it?", "How large?: other predictor")
    after = replace(before, frames=FrameChoice("all"), questions=(size, liver))
    (told, _) = difference([THICK_AND_THIN], [before], [after]).other_questions
    assert told.questions is not None and told.questions.told == ("frames middle before, all after",)
    parts = [difference([study], [before], [after]) for study in (THICK_AND_THIN, WITHOUT_THICKNESS)]
    assert len(joined_differences(parts).other_questions) == 3


def test_minutes_are_slices_times_questions_and_none_where_nothing_was_measured() -> None:
    cost = cost_of([MeasuredAnswer(30.0, 100, 3), MeasuredAnswer(60.0, 100, 2), MeasuredAnswer(9.0, 0, 2)])
    assert (cost.jobs, cost.seconds_a_slice_and_question) == (2, pytest.approx(0.2))
    before = named(CT)
    found = difference([THICK_AND_THIN], [before], [replace(before, questions=before.questions * 2)], cost=cost)
    slices = sum(series.instances for series in THICK_AND_THIN.header.series)
    assert found.minutes_before == pytest.approx(slices * len(before.questions) * 0.2 / 60)
    assert difference([THICK_AND_THIN], [before], [before]).minutes_after is None
    assert difference([THICK_AND_THIN], [before], [before], cost=Cost()).minutes_after is None


def test_of_a_cine_only_the_frames_that_are_read_count() -> None:
    cine = one(1, sop_class_uids=(CINE,), instances=2, frames=80)
    assert slices_read(cine, MIDDLE_FRAME) == 2
    assert slices_read(cine, FrameChoice("all")) == 80
    assert slices_read(replace(cine, sop_class_uids=("1.2.840.10008.5.1.4.1.1.2.1",)), MIDDLE_FRAME) == 80


def test_a_history_is_summed_up_with_what_nothing_matches_and_why() -> None:
    found = summary(
        [THICK_AND_THIN, WITHOUT_THICKNESS, FOOT, FOOT], [named(THIN), named(CT, "off", off_because="soon")]
    )
    assert (found.studies, found.matched, found.unmatched, found.series) == (4, 1, 3, 1)
    assert [(one.name, one.studies, one.unknown, one.off_because) for one in found.protocols] == [
        ("abdomen", 1, 1, ""),
        ("off", 0, 0, "soon"),
    ]
    assert (found.kinds[0].modalities, found.kinds[0].study_description, found.kinds[0].studies) == ("MR", "MR foot", 2)
    assert all(reason.protocols == ("abdomen",) for reason in found.reasons)  # what is off has no reasons
    assert found.missing == (("Slice Thickness (0018,0050)", 1),)


# --- Whatever the studies and the rules are ---------------------------------------------------------------------------

series_strategy = st.builds(
    lambda modality, thickness, description, instances: one(
        1, modality=modality, slice_thickness_mm=thickness, series_description=description, instances=instances
    ),
    st.sampled_from(["CT", "MR", ""]),
    st.sampled_from([None, 1.0, 5.0]),
    st.sampled_from(["Abdomen", "Thorax", ""]),
    st.integers(1, 300),
)
conditions = st.sampled_from(
    [ALWAYS, CT, THIN, equals("modality", "MR"), pattern("series_description", "abdomen"), pattern("description", "CT")]
)
rules = st.lists(conditions, max_size=3).map(lambda some: [named(one, f"p{n}") for n, one in enumerate(some)])
studies_strategy = st.lists(st.lists(series_strategy, max_size=3), max_size=5).map(
    lambda some: [
        known(n, *(replace(one, series_uid=f"1.2.{n}.{m}") for m, one in enumerate(series)))
        for n, series in enumerate(some)
    ]
)
caps = st.sampled_from([None, 1, 2])
COST = Cost(60.0, 60.0, 3)  # whole minutes


@settings(max_examples=60, deadline=None)
@given(studies_strategy, rules, rules, caps)
def test_counts_add_up_and_nothing_differs_from_itself(
    studies: list[KnownStudy], before: list[ReadingProtocol], after: list[ReadingProtocol], at_most: int | None
) -> None:
    found = difference(studies, before, after, at_most, COST)
    asked = [sum(len(one.asked) for one in replay(studies, some, at_most)) for some in (before, after)]
    assert found.same + len(found.removed) == asked[0]
    assert found.same + len(found.added) == asked[1]
    by_name = [of_protocol(found, one.name) for one in found.protocols]
    assert [sum(column) for column in zip(*by_name, strict=True)] in (
        [len(found.added), len(found.removed), found.same],
        [],
    )
    assert sum(len(one.changes) for one in found.by_study()) == len(found.added) + len(found.removed)
    itself = difference(studies, before, before, at_most, COST)
    assert not itself.changed and itself.minutes_before == itself.minutes_after
    back = difference(studies, after, before, at_most, COST)
    assert {(one.series_uid, one.protocol) for one in back.removed} == {
        (one.series_uid, one.protocol) for one in found.added
    }
    told = summary(studies, before, at_most, COST)
    assert (told.series, told.minutes) == (asked[0], pytest.approx(found.minutes_before))
    assert told.unmatched == found.unmatched_before


@settings(max_examples=30, deadline=None)
@given(studies_strategy, rules, rules)
def test_parts_of_a_history_together_are_the_whole(
    studies: list[KnownStudy], before: list[ReadingProtocol], after: list[ReadingProtocol]
) -> None:
    halves = [studies[::2], studies[1::2]]
    whole = difference(studies, before, after, cost=COST)
    joined = joined_differences([difference(half, before, after, cost=COST) for half in halves])
    assert joined.by_study() == whole.by_study() and joined.same == whole.same
    assert joined.minutes_after == pytest.approx(whole.minutes_after)
    assert [one.name for one in joined.protocols] == [one.name for one in whole.protocols]
    told = joined_summaries([summary(half, before, cost=COST) for half in halves])
    expected = summary(studies, before, cost=COST)
    assert (told.studies, told.matched, told.protocols) == (expected.studies, expected.matched, expected.protocols)
    assert [(one.reason, one.studies) for one in told.reasons] == [
        (one.reason, one.studies) for one in expected.reasons
    ]
