"""The same job gives the same bytes in every object: twice, and on either database."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dicom_node.results.profiles import ADDED_KINDS, Profile, ResultKind, Wishes
from workflows.state.records import Destination
from workflows.steps.retract import retract_results

if TYPE_CHECKING:
    from .conftest import Steps

STUDY = "1.2.3"
ALSO = tuple(sorted(ADDED_KINDS, key=lambda kind: kind.value))
EVERYTHING = (
    *(Destination(profile.value, profile, Wishes(also=ALSO)) for profile in Profile),
    Destination("single", Profile.PLAIN_PACS, Wishes(also=ALSO, single_images=True)),
)


def all_bytes(steps: Steps, images: list[Path]) -> dict[str, str]:
    """The digest of every file that two readings of a study leave, and the note that takes the first back, by name."""
    steps.planner = replace(steps.planner, destinations=EVERYTHING)
    steps.sender = replace(steps.sender, routes={one.archive: steps.sender.routes["pacs"] for one in EVERYTHING})
    for some in (images[:2], images[2:]):
        steps.receive(*some)
        steps.to_plan()
        for key in steps.keys(STUDY):
            steps.predict(key)
            for destination in EVERYTHING:
                steps.publish(key, destination.archive)
        assert steps.state(STUDY)[0] == "DELIVERED"
    retract_results(STUDY, "ohif", steps.repository, steps.folder, steps.sender, steps.waker)
    files = sorted(steps.folder.results.rglob("*.dcm"))
    return {str(path.relative_to(steps.folder.root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def images(phantom: Callable[..., Path]) -> list[Path]:
    return [phantom(1, number) for number in range(3)]


def test_twice(steps: Steps, images: list[Path], steps_in: Callable[[str], Steps], tmp_path: Path) -> None:
    first = all_bytes(steps, images)
    assert {Path(name).stem for name in first} >= {
        "seg", "sr", "capture", "capture-image", "document", "key-objects", "presentation-state",
    }  # fmt: skip
    assert any("rejection-" in name for name in first)
    assert all_bytes(steps_in(f"sqlite:///{tmp_path / 'again.db'}"), images) == first
    kinds = {one.kind for key in steps.keys(STUDY) for one in steps.repository.objects(key)}
    assert kinds == set(ResultKind) - {ResultKind.REJECTION_NOTE}


@pytest.mark.service("postgres")
def test_on_the_other_database(
    steps: Steps, images: list[Path], steps_in: Callable[[str], Steps], request: pytest.FixtureRequest
) -> None:
    other = steps_in(str(request.getfixturevalue("postgres").fresh_url()))
    assert all_bytes(other, images) == all_bytes(steps, images)
