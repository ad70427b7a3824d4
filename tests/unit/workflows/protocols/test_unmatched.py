"""Unmatched: of a study that nothing asks, what the protocols that are on say of it, the nearest first."""

from __future__ import annotations

from workflows.protocols.unmatched import told_unmatched
from workflows.protocols.verdicts import Verdict, off

OFF = [off(f"off-{number}", "1", "the weights have not learned these") for number in range(22)]


def no(protocol: str, reason: str, series_uid: str | None = "1.2") -> Verdict:
    return Verdict(False, protocol, series_uid, reason, "1")


def test_what_came_nearest_is_named_first_and_what_is_off_is_counted_last() -> None:
    verdicts = [
        *OFF,
        no("adults", "age 7 years, wanted is at least 18", None),
        no("cardiac-mr", "modality CT is not MR"),
        no("abdominal-ct", "2 instances, wanted are at least 10"),
        no("abdominal-ct", "a localizer", "1.3"),
    ]
    assert told_unmatched(verdicts) == (
        "abdominal-ct: 2 instances, wanted are at least 10 / a localizer; cardiac-mr: modality CT is not MR; "
        "adults: age 7 years, wanted is at least 18; 22 are off"
    )


def test_one_series_of_the_right_modality_brings_a_protocol_forward_and_is_told_first() -> None:
    verdicts = [
        no("mr", "modality CT is not MR"),
        no("ct", "modality SR is not CT"),
        no("ct", "region head is not abdomen", "1.3"),
    ]
    assert told_unmatched(verdicts) == (
        "ct: region head is not abdomen / modality SR is not CT; mr: modality CT is not MR"
    )


def test_many_protocols_and_many_series_are_cut() -> None:
    many = [no(f"p{number}", f"reason {series}", f"1.{series}") for number in range(7) for series in range(9)]
    told = told_unmatched([*OFF[:1], *many])
    assert told.startswith("p0: reason 0 / reason 1 / reason 2 / and 6 reasons more; p1: ")
    assert told.endswith("; and 2 protocols more: `medseg-node explain`; 1 is off")


def test_without_a_protocol_that_is_on_this_is_said() -> None:
    assert told_unmatched(OFF) == "all 22 protocols are off"
    assert told_unmatched([]) == "no reading protocols"
