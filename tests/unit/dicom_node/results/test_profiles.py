"""Every profile has its meaning; what a destination gets follows from it, its wishes, and whether anything was seen."""

from __future__ import annotations

import pytest

from dicom_node.results.profiles import (
    PROFILES,
    Profile,
    ResultKind,
    WhenNothingSeen,
    Wishes,
    kinds_of,
    profile_without,
)

SEG, SR, SC, IMAGES, PDF = (
    ResultKind.SEGMENTATION, ResultKind.REPORT, ResultKind.CAPTURE, ResultKind.CAPTURE_IMAGES, ResultKind.DOCUMENT,
)  # fmt: skip


def test_every_profile_has_a_meaning() -> None:
    assert set(PROFILES) == set(Profile)
    assert PROFILES[Profile.OHIF].omit_empty_frames is False


@pytest.mark.parametrize(("kind", "profile"), [(SEG, Profile.PLAIN_PACS), (SR, Profile.PLAIN_PACS), (SC, Profile.OHIF)])
def test_a_profile_that_does_without_is_named(kind: ResultKind, profile: Profile) -> None:
    assert profile_without(kind) is profile


@pytest.mark.parametrize(
    ("profile", "wishes", "seen", "kinds"),
    [
        (Profile.OHIF, Wishes(), True, {SEG, SR}),
        (Profile.OHIF, Wishes(), False, {SR}),
        (Profile.OHIF, Wishes(also=(PDF,)), True, {SEG, SR, PDF}),
        (Profile.OHIF, Wishes(also=(PDF,)), False, {SR}),
        (Profile.OHIF, Wishes(also=(PDF,), when_nothing_seen=WhenNothingSeen.ALL), False, {SEG, SR, PDF}),
        (Profile.AIR, Wishes(when_nothing_seen=WhenNothingSeen.NOTHING), False, set()),
        (Profile.PLAIN_PACS, Wishes(), False, {SC}),
        (Profile.PLAIN_PACS, Wishes(single_images=True), True, {IMAGES}),
        (Profile.PLAIN_PACS, Wishes(single_images=True, also=(PDF,)), True, {IMAGES, PDF}),
        (Profile.AIR, Wishes(single_images=True), True, {SEG, SR}),
    ],
)
def test_what_a_destination_gets(profile: Profile, wishes: Wishes, seen: bool, kinds: set[ResultKind]) -> None:
    assert kinds_of(profile, wishes, seen=seen) == kinds
    assert kinds_of(profile, Wishes.from_json(wishes.as_json()), seen=seen) == kinds


def test_a_destination_that_the_database_kept_before_there_were_wishes_has_none() -> None:
    assert Wishes.from_json({"archive": "pacs", "profile": "air"}) == Wishes()


@pytest.mark.parametrize("kind", [ResultKind.SEGMENTATION, ResultKind.REPORT])
def test_an_archive_without_either_class_still_gets_a_capture(kind: ResultKind) -> None:
    assert profile_without(kind) is Profile.PLAIN_PACS


def test_the_first_profile_that_does_without_is_named() -> None:
    assert profile_without(ResultKind.CAPTURE) is next(iter(Profile)) is Profile.OHIF


def test_a_viewer_gets_only_what_it_shows() -> None:
    """OHIF draws the contours of a projection image and no SEG of it; dcmqi, Slicer's engine, refuses such a SEG."""
    assert {profile for profile in Profile if PROFILES[profile].projections_segmented} == {Profile.AIR}
    assert PROFILES[Profile.OHIF].omit_empty_frames is False


def test_only_what_is_drawn_has_the_title_that_ohif_draws() -> None:
    ohif = PROFILES[Profile.OHIF]
    assert ohif.report.title.scheme_designator == "99MEDSEG"
    assert (ohif.drawn_report.title.value, PROFILES[Profile.AIR].report.title.value) == ("126000", "126000")
