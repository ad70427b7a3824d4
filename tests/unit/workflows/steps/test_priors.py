"""Earlier results: which one a study is compared with, and what is said of it, through all steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.rules import of_modality
from workflows.commands.reporting import explain_study
from workflows.commands.telling import explained
from workflows.state.answers import FindingRecord
from workflows.state.records import Job

if TYPE_CHECKING:
    from .conftest import Archive, Marking, Steps

from .conftest import LARGE, SMALL, protocol

pytestmark = pytest.mark.slow

Phantom = Callable[..., Path]
Study = Callable[..., list[Path]]
THEN, NOW = "20260102", "20260506"


def only_job(steps: Steps, study_uid: str) -> Job:
    (job,) = steps.jobs(study_uid)
    return job


def finding(steps: Steps, study_uid: str) -> FindingRecord:
    ((one,),) = [answer.findings for answer in only_job(steps, study_uid).answers]
    return one


def compared(steps: Steps, study_uid: str) -> tuple[str, ...]:
    (answer,) = only_job(steps, study_uid).answers
    return answer.compared


def lines(steps: Steps, study_uid: str) -> str:
    known = explain_study(steps.repository, steps.folder, study_uid)
    assert known is not None
    return "\n".join(explained(known))


def test_what_was_marked_then_and_now_has_changed_by_so_much(
    steps: Steps, archive: Archive, marking: Marking, study: Study
) -> None:
    then = steps.through(*study(1, THEN))
    marking.marked = {"liver": (0.9, LARGE)}
    now = steps.through(*study(2, NOW))
    assert only_job(steps, then).prior is None and finding(steps, then).changes == ()
    changes = {change.name: change for change in finding(steps, now).changes}
    # 2 x 4 x 4 and 2 x 4 x 8 voxels of 3 x 0.8 x 0.7 mm
    volume = changes["volume"]
    assert (volume.before, volume.after, volume.unit) == (0.054, 0.11, "ml")
    assert (volume.before_date, volume.after_date) == ("2026-01-02", "2026-05-06")
    assert volume.per_cent == pytest.approx(103.7, abs=0.01)
    assert not volume.before_at_least and not volume.after_at_least
    assert set(changes) == {"volume", "long axis", "short axis"} and changes["long axis"].unit == "mm"
    assert "2026-01-02" in volume.text and "2026-05-06" in volume.text and "+103.7 %" in volume.text
    told = lines(steps, now)
    assert "is to be retracted" not in told
    assert f"compared with the result of 2026-01-02, study {then}" in told and volume.text in told
    prior = only_job(steps, now).prior
    assert prior is not None and prior.answer_key == only_job(steps, then).answer_key
    assert compared(steps, now) == (), "the spleen was seen neither then nor now"


def test_not_seen_then_is_not_not_asked_then(steps: Steps, marking: Marking, study: Study) -> None:
    steps.through(*study(1, THEN))
    steps.planner = replace(steps.planner, protocols=(protocol("liver", "spleen", "pancreas", version="2"),))
    marking.marked = {"spleen": (0.9, SMALL), "pancreas": (0.9, SMALL)}
    now = steps.through(*study(2, NOW))
    assert compared(steps, now) == (
        "spleen: not seen on 2026-01-02",
        "pancreas: was not asked on 2026-01-02",
        "liver: seen on 2026-01-02 (0.054 ml), not seen now",
    )
    assert "compared: spleen: not seen on 2026-01-02" in lines(steps, now)


@pytest.mark.parametrize(("then_confidence", "now_confidence", "said"), [
    (0.3, 0.9, "liver: seen on 2026-01-02 with low confidence, not measured"),
    (0.9, 0.3, "liver: seen on 2026-01-02 (0.054 ml), now with low confidence, so not compared"),
])  # fmt: skip
def test_what_is_of_low_confidence_is_not_compared(
    steps: Steps, marking: Marking, study: Study, then_confidence: float, now_confidence: float, said: str
) -> None:
    marking.marked = {"liver": (then_confidence, SMALL)}
    steps.through(*study(1, THEN))
    marking.marked = {"liver": (now_confidence, SMALL)}
    now = steps.through(*study(2, NOW))
    assert finding(steps, now).changes == () and compared(steps, now) == (said,)


def test_of_what_may_go_on_beyond_the_images_no_change_is_told(steps: Steps, marking: Marking, study: Study) -> None:
    marking.marked = {"liver": (0.9, np.s_[0:3, 4:8, 4:8])}
    steps.through(*study(1, THEN))
    marking.marked = {"liver": (0.9, SMALL)}
    now = steps.through(*study(2, NOW))
    changes = finding(steps, now).changes
    assert changes and all(one.before_at_least and not one.after_at_least for one in changes)
    assert {(one.difference, one.per_cent) for one in changes} == {(None, None)}
    assert changes[0].text.startswith("volume: at least ") and changes[0].text.count("at least") == 1


def test_another_grid_is_said_and_an_area_is_no_volume(steps: Steps, marking: Marking, study: Study) -> None:
    steps.through(*study(1, THEN, PixelSpacing=[0.4, 0.35]))
    now = steps.through(*study(2, NOW))
    assert finding(steps, now).changes
    assert compared(steps, now) == (
        "another grid: slices of 3 mm, pixels of 0.4 x 0.35 mm on 2026-01-02, slices of 3 mm, pixels of 0.8 x 0.7 mm "
        "now; sizes may differ by that alone",
    )
    marking.marked = {"liver": (0.9, np.s_[0:1, 4:8, 4:8])}
    later = steps.through(*study(3, "20260607", slices=1))
    assert finding(steps, later).changes == ()
    assert "liver: a volume on 2026-05-06, an area now, not comparable" in compared(steps, later)


@pytest.mark.parametrize(("changes", "why"), [
    ({"PatientName": "Other^Berta"}, "of another patient under the same ID: they contradict each other in Patient's N"),
    ({"PatientBirthDate": "19500101"}, "they contradict each other in Patient's Birth Date"),
    ({"IssuerOfPatientID": "ELSEWHERE"}, "does not name the same Patient ID and Issuer of Patient ID"),
    ({"ImageOrientationPatient": [1, 0, 0, 0, 0, -1], "ImagePositionPatient": None}, "another plane"),
    ({"StudyDate": ""}, "has no date"),
])  # fmt: skip
def test_what_is_not_known_to_be_this_patients_or_alike_is_not_used_and_it_is_said(
    steps: Steps, marking: Marking, phantom: Phantom, study: Study, changes: dict[str, Any], why: str
) -> None:
    if "ImagePositionPatient" in changes:
        root = "1.2.3.1"
        files = [
            phantom(1, index, **{**changes, "ImagePositionPatient": [0, 3 * index, 0]}, StudyInstanceUID=root,
                    SeriesInstanceUID=f"{root}.1", SOPInstanceUID=f"{root}.1.{index}", StudyDate=THEN)
            for index in range(4)
        ]  # fmt: skip
    else:
        files = study(1, THEN, **changes)
    steps.through(*files)
    now = steps.through(*study(2, NOW))
    prior = only_job(steps, now).prior
    assert prior is not None and prior.result is None and why in prior.note
    assert finding(steps, now).changes == () and compared(steps, now) == ()
    told = lines(steps, now)
    assert f"no earlier result: {prior.note}" in told and "Berta" not in told


@pytest.mark.parametrize("changes", [{"PatientID": "P2"}, {"Modality": "MR", "RescaleType": "US"}])
def test_what_nobody_would_look_for_is_not_spoken_of(
    steps: Steps, marking: Marking, study: Study, changes: dict[str, Any]
) -> None:
    asked = replace(protocol("liver"), series=of_modality("CT", "MR"))
    steps.planner = replace(steps.planner, protocols=(asked,))
    steps.through(*study(1, THEN, **changes))
    now = steps.through(*study(2, NOW))
    assert only_job(steps, now).prior is None


def test_a_later_study_and_the_study_itself_are_no_prior(steps: Steps, marking: Marking, study: Study) -> None:
    later = steps.through(*study(1, NOW))
    earlier = steps.through(*study(2, THEN))
    assert only_job(steps, earlier).prior is None
    assert steps.repository.reopen(earlier, "a person wants it")
    steps.plan(earlier)
    assert only_job(steps, earlier).prior is None and only_job(steps, later).prior is None
    same_day = steps.through(*study(3, THEN, StudyTime="130000"))
    prior = only_job(steps, same_day).prior
    assert prior is not None and prior.study_uid == earlier, "earlier on the same day"


def test_the_newest_earlier_one_is_taken(steps: Steps, marking: Marking, study: Study) -> None:
    steps.through(*study(3, "20250101"))
    wanted = steps.through(*study(1, THEN))
    steps.through(*study(4, "20260606"))
    now = steps.through(*study(2, NOW))
    prior = only_job(steps, now).prior
    assert prior is not None and prior.study_uid == wanted


def test_what_is_to_be_retracted_is_no_prior(steps: Steps, marking: Marking, study: Study) -> None:
    files = study(1, THEN)
    steps.through(*files)
    # A corrected copy for another patient: the results of what was read are to be retracted.
    steps.receive(*study(1, THEN, PatientID="P9", PatientName="Other^Berta"))
    assert steps.to_retract()
    now = study(2, NOW)
    steps.receive(*now)
    steps.tick(60)
    for study_uid in steps.complete():
        steps.plan(study_uid)
    assert only_job(steps, "1.2.3.2").prior is None


def test_a_job_that_stands_keeps_its_prior_until_it_is_read_again(steps: Steps, marking: Marking, study: Study) -> None:
    now = steps.through(*study(2, NOW))
    job = only_job(steps, now)
    assert job.prior is None
    then = steps.through(*study(1, THEN))
    # An instance of another series opens a new generation: nothing is read anew for what has turned up meanwhile.
    steps.receive(*study(2, NOW, series=7, Modality="MR", slices=1))
    steps.to_plan()
    assert only_job(steps, now).job_key == job.job_key and marking.asked == 2
    assert steps.repository.reopen(now, "a person wants it")
    steps.plan(now)
    again = only_job(steps, now)
    assert again.prior is not None and again.prior.study_uid == then and again.predecessor_key == job.job_key
    assert again.request_key != job.request_key


def test_a_job_whose_prior_is_to_be_retracted_is_planned_without_it(
    steps: Steps, marking: Marking, study: Study
) -> None:
    steps.through(*study(1, THEN))
    now = steps.through(*study(2, NOW))
    job = only_job(steps, now)
    assert job.prior is not None
    steps.receive(*study(1, THEN, PatientID="P9", PatientName="Other^Berta"))
    steps.to_plan()
    told = lines(steps, now)
    assert "is to be retracted since, or a reviewer has corrected it" in told and f"reread --study {now}" in told
    steps.receive(*study(2, NOW, series=7, Modality="MR", slices=1))
    steps.to_plan()
    assert only_job(steps, now).prior is None and only_job(steps, now).job_key != job.job_key


def test_several_series_are_paired_by_their_descriptions_or_not_at_all(
    steps: Steps, marking: Marking, study: Study
) -> None:
    names = {"arterial": 1, "portal venous": 2}
    steps.receive(*[path for name, number in names.items()
                    for path in study(1, THEN, series=number, SeriesDescription=name)])  # fmt: skip
    then = steps.to_plan()
    for key in steps.keys(then):
        steps.predict(key)
    keys = {job.series_uid: job.answer_key for job in steps.jobs(then)}
    steps.receive(*study(2, NOW, series=1, SeriesDescription="Portal  venous"))
    steps.receive(*study(2, NOW, series=2, SeriesDescription="delayed"))
    now = steps.to_plan()
    portal, delayed = steps.jobs(now)
    assert portal.prior is not None and portal.prior.answer_key == keys["1.2.3.1.2"]
    assert delayed.prior is not None and delayed.prior.result is None
    assert "which belong together is not clear" in delayed.prior.note
