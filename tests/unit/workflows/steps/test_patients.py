"""The right patient: a study whose images contradict each other is held until they agree, or is read as it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from sqlalchemy import text

from workflows.commands.reporting import explain_study, status_of_all
from workflows.commands.reread import candidates, candidates_as_is, reopen_as_is
from workflows.commands.telling import explained
from workflows.state.engine import open_engine
from workflows.state.states import DeliveryState
from workflows.state.views import EVERY_STUDY, Selection

if TYPE_CHECKING:
    from .conftest import Archive, Steps

pytestmark = pytest.mark.slow


Phantom = Callable[..., Path]
STUDY = "1.2.3"
OTHER: dict[str, Any] = {"PatientID": "P2", "PatientName": "Box^Berta"}


def series(phantom: Phantom, number: int = 1, **changes: Any) -> list[Path]:
    return [phantom(number, index, **changes) for index in range(3)]


def read_all(steps: Steps) -> None:
    for key in steps.keys(STUDY):
        steps.predict(key)
        steps.publish(key)


def to_retract(steps: Steps) -> list[tuple[str, list[str]]]:
    """Kind of what is to be retracted and the states of its deliveries."""
    return [
        (one.result.kind.value, [delivery.state.value for delivery in one.deliveries]) for one in steps.to_retract()
    ]


def lines(steps: Steps) -> str:
    known = explain_study(steps.repository, steps.folder, STUDY)
    assert known is not None
    return "\n".join(explained(known))


def test_a_series_of_two_patients_is_held_and_its_reason_names_both(
    steps: Steps, archive: Archive, phantom: Phantom
) -> None:
    steps.receive(*series(phantom)[:2], phantom(1, 2, **OTHER))
    with structlog.testing.capture_logs() as logged:
        steps.to_plan()
    state, reason = steps.state(STUDY)
    assert state == "HELD"
    for told in ("series 1.2.3.1", "Patient ID and Patient's Name", "ID P1", "Box^Anna", "ID P2", "Box^Berta"):
        assert told in reason
    assert "never read" in reason and "corrected images" in reason and "--as-is" not in reason
    assert steps.keys(STUDY) == [] and steps.waker.jobs == []
    (held,) = [one for one in logged if one["event"] == "study_held"]
    assert held["attributes"] == "Patient ID and Patient's Name"
    assert not any(value in str(logged) for value in ("P1", "P2", "Anna", "Berta"))
    steps.plan(STUDY)
    assert steps.state(STUDY) == (state, reason)


def test_series_of_two_patients_are_held_and_the_reason_says_how_to_read_them(steps: Steps, phantom: Phantom) -> None:
    steps.receive(*series(phantom), *series(phantom, 2, **OTHER))
    steps.to_plan()
    state, reason = steps.state(STUDY)
    assert state == "HELD" and "1.2.3.1 is of ID P1" in reason and "1.2.3.2 is of ID P2" in reason
    assert "--as-is" in reason


@pytest.mark.parametrize(
    "second",
    [
        {"PatientID": "", "PatientName": "", "PatientBirthDate": ""},
        {"PatientID": " P1", "PatientName": "BOX^ANNA^^^"},
        {"PatientName": "Box^Anna==", "IssuerOfPatientID": "A"},
        {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "Box^Anna=ボックス^アンナ"},
    ],
)
def test_what_does_not_contradict_is_read(steps: Steps, phantom: Phantom, second: dict[str, str]) -> None:
    steps.receive(*series(phantom)[:2], phantom(1, 2, **second), *series(phantom, 2, **second))
    steps.to_plan()
    assert steps.state(STUDY)[0] == "PLANNED" and len(steps.keys(STUDY)) == 2


def test_one_that_names_nobody_between_two_patients_does_not_join_them(steps: Steps, phantom: Phantom) -> None:
    nobody = {"PatientID": "", "PatientName": "", "PatientBirthDate": ""}
    steps.receive(phantom(1, 0), *series(phantom, 2, **nobody), phantom(3, 0, **OTHER))
    steps.to_plan()
    assert steps.state(STUDY)[0] == "HELD"


def test_a_correction_lets_the_study_be_read(steps: Steps, archive: Archive, phantom: Phantom) -> None:
    steps.receive(*series(phantom)[:2], phantom(1, 2, **OTHER))
    steps.to_plan()
    steps.receive(phantom(1, 2))
    assert steps.state(STUDY)[0] == "RECEIVING"
    steps.to_plan()
    read_all(steps)
    assert steps.state(STUDY)[0] == "DELIVERED" and to_retract(steps) == []
    assert {str(one.PatientID) for one in archive.objects} == {"P1"}


def test_another_patients_image_stops_what_is_being_read_and_sent(
    steps: Steps, archive: Archive, phantom: Phantom
) -> None:
    steps.receive(*series(phantom), *series(phantom, 2))
    steps.to_plan()
    first, second = steps.keys(STUDY)
    steps.predict(first)
    assert steps.repository.claim_job(second, "other", 600, 3)
    steps.receive(phantom(3, 0, **OTHER))
    steps.to_plan()
    assert steps.state(STUDY)[0] == "HELD"
    steps.publish(first)
    steps.tick(1000)
    steps.wake()
    assert not steps.repository.save_results(second, "other", steps.predictor.description, [], [], [])
    assert archive.objects == [] and steps.waker.deliveries == [(first, "pacs")], "woken once, when it was answered"
    steps.receive(phantom(3, 0))
    steps.to_plan()
    read_all(steps)
    assert steps.state(STUDY)[0] == "DELIVERED" and first in steps.keys(STUDY), "what was answered is sent now"


# --- As it is ---------------------------------------------------------------------------------------------------------


def test_series_are_read_as_they_are_each_under_its_own_patient_and_who_wanted_it_is_kept(
    steps: Steps, archive: Archive, phantom: Phantom
) -> None:
    steps.receive(*series(phantom), *series(phantom, 2, **OTHER))
    steps.to_plan()
    chosen = candidates_as_is(steps.repository, EVERY_STUDY)
    assert [(one.ready, one.state) for one in chosen] == [(True, "HELD")]
    with structlog.testing.capture_logs() as logged:
        (done,) = reopen_as_is(steps.repository, chosen, "someone")
    assert done.outcome == "will be read as it is"
    (event,) = logged
    assert (event["event"], event["study_uid"], event["wanted_by"]) == ("reread_as_is", STUDY, "someone")
    assert not any(value in str(logged) for value in ("P1", "P2", "Anna", "Berta"))
    steps.plan(STUDY)
    steps.plan(STUDY)
    read_all(steps)
    assert steps.state(STUDY)[0] == "DELIVERED"
    of = {str(one.PatientID): set() for one in archive.objects}
    for one in archive.objects:
        sequence = one.get("ReferencedSeriesSequence")
        if sequence:
            of[str(one.PatientID)].add(str(sequence[0].SeriesInstanceUID))
    assert of == {"P1": {"1.2.3.1"}, "P2": {"1.2.3.2"}}
    assert f"generation 2 read as it is: someone wanted it at {steps.now.replace(microsecond=0).isoformat()}" in lines(
        steps
    )


def test_a_held_study_is_not_said_to_be_read_again_while_its_images_contradict(steps: Steps, phantom: Phantom) -> None:
    steps.receive(*series(phantom), *series(phantom, 2, **OTHER))
    steps.to_plan()
    (one,) = candidates(steps.repository, EVERY_STUDY)
    assert not one.ready and "would be held again" in one.outcome and "--as-is" in one.outcome
    steps.receive(phantom(1, 1, **OTHER))
    steps.to_plan()
    (one,) = candidates(steps.repository, EVERY_STUDY)
    assert not one.ready and "never read" in one.outcome and "--as-is" not in one.outcome


def test_as_is_holds_for_one_generation_only(steps: Steps, phantom: Phantom) -> None:
    steps.receive(*series(phantom), *series(phantom, 2, **OTHER))
    steps.to_plan()
    reopen_as_is(steps.repository, candidates_as_is(steps.repository, EVERY_STUDY), "someone")
    steps.plan(STUDY)
    assert steps.state(STUDY)[0] == "PLANNED"
    steps.receive(phantom(3, 0))
    steps.to_plan()
    assert steps.state(STUDY)[0] == "HELD"
    assert [one.generation for one in steps.repository.as_is_readings(STUDY)] == [2], "the audit stays"


def test_a_series_that_disagrees_in_itself_is_not_read_as_it_is(steps: Steps, phantom: Phantom) -> None:
    steps.receive(phantom(1, 0), phantom(1, 1, **OTHER), *series(phantom, 2))
    steps.to_plan()
    (one,) = candidates_as_is(steps.repository, EVERY_STUDY)
    assert not one.ready and "series 1.2.3.1 names two patients in itself and is never read" in one.outcome
    assert reopen_as_is(steps.repository, [one], "someone") == [one]
    assert steps.state(STUDY)[0] == "HELD"
    assert steps.repository.reopen_as_is(STUDY, 1, "someone"), "even if somebody asked so late that nobody looked"
    steps.plan(STUDY)
    assert steps.state(STUDY)[0] == "HELD"


def test_a_study_that_is_not_held_or_has_changed_is_not_read_as_it_is(steps: Steps, phantom: Phantom) -> None:
    steps.receive(*series(phantom), *series(phantom, 2, **OTHER))
    (one,) = candidates_as_is(steps.repository, EVERY_STUDY)
    assert not one.ready and one.outcome.startswith("RECEIVING: --as-is is for a study that is HELD")
    steps.to_plan()
    chosen = candidates_as_is(steps.repository, EVERY_STUDY)
    steps.receive(phantom(3, 0))
    (one,) = reopen_as_is(steps.repository, chosen, "someone")
    assert one.outcome.startswith("not read: it has changed") and steps.repository.as_is_readings(STUDY) == []


# --- A correction after the results -----------------------------------------------------------------------------------


def test_a_correction_after_delivery_marks_the_old_results_and_leaves_them_delivered(
    steps: Steps, archive: Archive, phantom: Phantom
) -> None:
    steps.through(*series(phantom), *series(phantom, 2))
    assert len(steps.keys(STUDY)) == 2
    read_all(steps)
    before = len(archive.objects)
    steps.receive(*series(phantom, 1, **OTHER))
    assert to_retract(steps) == [("SEG", ["DELIVERED"]), ("SR", ["DELIVERED"])], "those of the other series stand"
    (known,) = status_of_all(steps.repository, steps.folder)
    assert [(one["kind"], one["state"]) for one in known["to_retract"]] == [("SEG", "DELIVERED"), ("SR", "DELIVERED")]
    assert known["to_retract"][0]["retract"]["at"] == steps.now.isoformat()
    told = known["to_retract"][0]["retract"]["reason"]
    assert told == "image 1.2.3.1.0 came again with another Patient ID and Patient's Name"
    assert not any(value in str(known) + lines(steps) for value in ("P1", "P2", "Anna", "Berta"))
    steps.receive(*series(phantom, 2, **OTHER))
    steps.to_plan()
    read_all(steps)
    assert steps.state(STUDY)[0] == "DELIVERED" and len(archive.objects) == before + 4
    assert {str(one.PatientID) for one in archive.objects[before:]} == {"P2"}
    assert len(to_retract(steps)) == 4
    assert "to be retracted since" in lines(steps)


@pytest.mark.parametrize(
    ("changes", "marked"),
    [
        ({"SeriesDescription": "other"}, 0),
        ({"PatientName": "BOX^ANNA^"}, 0),
        ({"PatientBirthDate": "19700102"}, 2),
        ({"IssuerOfPatientID": "HOSPITAL"}, 2),
        ({"PatientBirthDate": ""}, 2),
    ],
)
def test_only_another_patient_is_a_reason_to_retract(
    steps: Steps, phantom: Phantom, changes: dict[str, str], marked: int
) -> None:
    steps.through(*series(phantom))
    steps.receive(*series(phantom, 1, **changes))
    assert len(to_retract(steps)) == marked


def test_what_is_to_be_retracted_and_was_not_sent_is_not_sent_any_more(
    steps: Steps, archive: Archive, phantom: Phantom
) -> None:
    steps.receive(*series(phantom))
    steps.to_plan()
    (key,) = steps.keys(STUDY)
    steps.predict(key)
    steps.receive(*series(phantom, 1, **OTHER))
    assert to_retract(steps) == [("SEG", ["WITHHELD"]), ("SR", ["WITHHELD"])]
    steps.publish(key)
    steps.to_plan()
    steps.publish(key)
    steps.tick(1000)
    steps.wake()
    assert archive.objects == []
    assert steps.waker.deliveries == [(key, "pacs")], "woken once, when it was answered"


def test_a_correction_while_results_are_sent_stops_the_rest_and_knows_what_arrived(
    steps: Steps, archive: Archive, phantom: Phantom
) -> None:
    steps.receive(*series(phantom))
    steps.to_plan()
    (key,) = steps.keys(STUDY)
    steps.predict(key)
    claimed = steps.repository.claim_deliveries(key, "pacs", "io", 600)
    steps.receive(*series(phantom, 1, **OTHER))
    steps.to_plan()
    segmentation = claimed[0].result.sop_instance_uid
    assert not steps.repository.record_delivery(segmentation, "pacs", "io", DeliveryState.DELIVERED), "and no more"
    steps.repository.release_deliveries(key, "pacs", "io", "", 1)
    assert to_retract(steps) == [("SEG", ["DELIVERED"]), ("SR", ["WITHHELD"])]


def test_a_correction_that_is_taken_back_makes_the_old_results_right_again(
    steps: Steps, archive: Archive, phantom: Phantom
) -> None:
    originals = series(phantom)
    steps.receive(*originals)
    steps.to_plan()
    (key,) = steps.keys(STUDY)
    steps.predict(key)
    steps.receive(*series(phantom, 1, **OTHER))
    steps.to_plan()
    steps.receive(*originals)
    steps.to_plan()
    assert steps.keys(STUDY) == [key] and to_retract(steps) == []
    steps.publish(key)
    assert steps.state(STUDY)[0] == "DELIVERED" and archive.kinds() == ["SEG", "SR"]


# --- What was received before rows kept patients ----------------------------------------------------------------------


def forget_patients(steps: Steps) -> None:
    engine = open_engine(f"sqlite:///{steps.folder.root / 'state.db'}")
    names = ("patient_id", "patient_id_issuer", "patient_name", "patient_birth_date")
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE instances SET {', '.join(f'{name} = NULL' for name in names)}"))
    engine.dispose()


def test_rows_without_a_patient_get_it_from_their_files(steps: Steps, phantom: Phantom) -> None:
    steps.receive(*series(phantom)[:2], phantom(1, 2, **OTHER))
    forget_patients(steps)
    assert steps.repository.study_views(Selection(patient_id="P2")) == []
    steps.to_plan()
    assert steps.state(STUDY)[0] == "HELD"
    assert len(steps.repository.study_views(Selection(patient_id="P2"))) == 1


def test_a_correction_of_a_row_without_a_patient_is_known_by_the_file_that_it_replaces(
    steps: Steps, phantom: Phantom
) -> None:
    steps.through(*series(phantom))
    forget_patients(steps)
    steps.receive(phantom(1, 0, SeriesDescription="other"))
    assert to_retract(steps) == []
    steps.receive(phantom(1, 1, **OTHER))
    assert len(to_retract(steps)) == 2
