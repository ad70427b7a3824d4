"""Earlier results that a reviewer has corrected or rejected: no later study is compared with the model's numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from workflows.state.reviewing import FindingVerdict, Missed, ReviewState

from .conftest import LARGE, SMALL
from .reviewing import ACCEPT, NAME, NOT_THERE, OUTLINE, correct, reviewed, sign, verdict, write

if TYPE_CHECKING:
    from .conftest import Archive, Marking, Steps

Study = Callable[..., list[Path]]
THEN, NOW = "20260102", "20260506"
BOTH = {"liver": (0.9, SMALL), "spleen": (0.8, np.s_[1:3, 10:14, 10:14])}


def earlier(steps: Steps, study: Study) -> tuple[str, str]:
    study_uid = steps.through(*study(1, THEN))
    (key,) = steps.keys(study_uid)
    return study_uid, key


def volumes(steps: Steps, study_uid: str) -> dict[str, float]:
    """Of each finding, the volume that it had before."""
    findings = [finding for job in steps.jobs(study_uid) for answer in job.answers for finding in answer.findings]
    changes = {finding.label: {one.name: one.before for one in finding.changes} for finding in findings}
    return {label: names["volume"] for label, names in changes.items() if "volume" in names}


def compared(steps: Steps, study_uid: str) -> tuple[str, ...]:
    return tuple(told for job in steps.jobs(study_uid) for answer in job.answers for told in answer.compared)


def review_of(steps: Steps, study_uid: str, *verdicts: FindingVerdict, missed: tuple[Missed, ...] = ()) -> None:
    sign(steps, study_uid, verdicts, missed)
    write(steps, study_uid)
    assert reviewed(steps, study_uid) is ReviewState.WRITTEN


def test_what_was_rejected_is_no_prior(steps: Steps, archive: Archive, marking: Marking, study: Study) -> None:
    marking.marked = BOTH
    then, key = earlier(steps, study)
    review_of(steps, then, verdict(key, 0, NOT_THERE), verdict(key, 1, ACCEPT))
    now = steps.through(*study(2, NOW))
    assert set(volumes(steps, now)) == {"spleen"}
    assert compared(steps, now) == ("liver: not seen on 2026-01-02",)


def test_where_all_was_rejected_nothing_was_seen_then(
    steps: Steps, archive: Archive, marking: Marking, study: Study
) -> None:
    then, key = earlier(steps, study)
    review_of(steps, then, verdict(key, 0, NOT_THERE))
    now = steps.through(*study(2, NOW))
    assert volumes(steps, now) == {} and compared(steps, now) == ("liver: not seen on 2026-01-02",)


def test_a_corrected_outline_is_what_is_compared_with(
    steps: Steps, archive: Archive, marking: Marking, study: Study
) -> None:
    then, key = earlier(steps, study)
    mask = np.zeros((4, 24, 32), dtype=bool)
    mask[LARGE] = True
    digest = correct(steps, then, key, mask)
    review_of(steps, then, verdict(key, 0, OUTLINE, correction=digest))
    now = steps.through(*study(2, NOW))
    assert volumes(steps, now) == {"liver": 0.11}


def test_what_was_not_outlined_was_seen_and_has_no_size(
    steps: Steps, archive: Archive, marking: Marking, study: Study
) -> None:
    then, key = earlier(steps, study)
    review_of(steps, then, verdict(key, 0, OUTLINE), missed=(Missed(key, 0, "spleen", 1, 11.0, 11.0),))
    marking.marked = BOTH
    now = steps.through(*study(2, NOW))
    assert volumes(steps, now) == {}
    told = "seen on 2026-01-02, no size that both have"
    assert compared(steps, now) == (f"liver: {told}", f"spleen: {told}")


def test_another_name_is_another_thing_then(steps: Steps, archive: Archive, marking: Marking, study: Study) -> None:
    then, key = earlier(steps, study)
    review_of(steps, then, verdict(key, 0, NAME, label="spleen"))
    now = steps.through(*study(2, NOW))
    assert volumes(steps, now) == {}
    assert "liver: not seen on 2026-01-02" in compared(steps, now)


def test_what_was_accepted_is_compared_with_as_before(
    steps: Steps, archive: Archive, marking: Marking, study: Study
) -> None:
    then, key = earlier(steps, study)
    review_of(steps, then, verdict(key, 0, ACCEPT))
    assert volumes(steps, steps.through(*study(2, NOW))) == {"liver": 0.054}


def test_what_a_person_has_signed_as_wrong_is_no_prior_before_it_is_written(
    steps: Steps, archive: Archive, marking: Marking, study: Study
) -> None:
    then, key = earlier(steps, study)
    sign(steps, then, [verdict(key, 0, NOT_THERE)])
    (job,) = steps.jobs(steps.through(*study(2, NOW)))
    assert job.prior is None or job.prior.result is None


def test_a_later_study_that_was_compared_with_what_is_rejected_now_needs_a_person(
    steps: Steps, archive: Archive, marking: Marking, study: Study
) -> None:
    then, key = earlier(steps, study)
    now = steps.through(*study(2, NOW))
    assert volumes(steps, now) == {"liver": 0.054}
    review_of(steps, then, verdict(key, 0, NOT_THERE))
    known = steps.repository.study(now)
    assert known is not None
    assert f"compared with a result of study {then} that Adler^Eva has corrected since" in known.attention
    assert f"medseg-node reread --study {now}" in known.attention
    (job,) = steps.jobs(now)
    assert job.prior is not None and steps.repository.is_to_be_retracted(job.prior)


def test_an_outline_that_is_wrong_is_not_marked_under_another_name_either(
    steps: Steps, archive: Archive, marking: Marking, study: Study
) -> None:
    marking.marked = BOTH
    then, key = earlier(steps, study)
    review_of(steps, then, verdict(key, 0, OUTLINE, label="pancreas"), verdict(key, 1, ACCEPT))
    ((answer,),) = steps.repository.reviewed_answers(then).values()
    assert [finding.label for finding in answer.findings] == ["spleen"]
    assert "not marked here" in answer.text


def test_a_prior_that_is_rejected_before_the_job_is_answered_is_not_compared_with(
    steps: Steps, archive: Archive, marking: Marking, study: Study
) -> None:
    then, key = earlier(steps, study)
    steps.receive(*study(2, NOW))
    now = steps.to_plan()
    assert steps.jobs(now)[0].prior is not None
    review_of(steps, then, verdict(key, 0, NOT_THERE))
    for job_key in steps.keys(now):
        steps.predict(job_key)
    assert (volumes(steps, now), compared(steps, now)) == ({}, ())
