"""Every profile has its meaning, and one is named for an archive that takes less only where it would help."""

from __future__ import annotations

import pytest
from pydicom.uid import Comprehensive3DSRStorage, CTImageStorage, SegmentationStorage

from dicom_node.results import profiles
from dicom_node.results.profiles import PROFILES, Profile, profile_without


def test_every_profile_has_a_meaning() -> None:
    assert set(PROFILES) == set(Profile)


@pytest.mark.parametrize("sop_class", [SegmentationStorage, Comprehensive3DSRStorage])
def test_both_profiles_need_both_objects(sop_class: str) -> None:
    assert profile_without(sop_class) is None


def test_the_first_profile_that_does_without_is_named() -> None:
    assert profile_without(CTImageStorage) is next(iter(Profile))
    assert profiles.PROFILES[Profile.OHIF].omit_empty_frames is False
