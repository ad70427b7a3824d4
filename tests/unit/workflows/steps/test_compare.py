"""The same images in another encoding start nothing; what a result depends on does."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydicom import dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.uid import ImplicitVRLittleEndian, RLELossless

from dicom_node.volumes.same_content import IRRELEVANT, PRIVATE_GROUPS, difference

if TYPE_CHECKING:
    from .conftest import Archive, Steps

Phantom = Callable[..., Path]
STUDY = "1.2.3"
CHECKOUT = Path(__file__).parents[4]


@pytest.fixture
def encoded(tmp_path: Path) -> Callable[..., Path]:
    """`encoded(path, syntax, Keyword=value)`: a copy in another transfer syntax and with other attributes."""

    def encode(path: Path, syntax: str | None = None, **changes: Any) -> Path:
        dataset = dcmread(path)
        for keyword, value in changes.items():
            setattr(dataset, keyword, value)
        if syntax == RLELossless:
            dataset.compress(RLELossless, generate_instance_uid=False)
        elif syntax is not None:
            dataset.file_meta.TransferSyntaxUID = syntax
        copy = tmp_path / f"encoded{len(list(tmp_path.glob('encoded*')))}.dcm"
        dataset.save_as(
            copy, enforce_file_format=True, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True
        )
        return copy

    return encode


@pytest.mark.parametrize("syntax", [RLELossless, ImplicitVRLittleEndian])
def test_another_encoding_of_an_image_holds_the_same(
    phantom: Phantom, encoded: Callable[..., Path], syntax: str
) -> None:
    original = phantom(1, 1, ReferringPhysicianName="Müller^Jörg", SpecificCharacterSet="ISO_IR 100")
    assert difference(original, encoded(original, syntax)) == ""


@pytest.mark.parametrize(
    "changes", [{"InstitutionName": "Elsewhere"}, {"StationName": "CT9"}, {"InstanceCreationDate": "20260102"}]
)
def test_what_no_result_depends_on_makes_no_difference(
    phantom: Phantom, encoded: Callable[..., Path], changes: dict[str, str]
) -> None:
    original = phantom(1, 1)
    assert difference(original, encoded(original, **changes)) == ""


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"PatientID": "P2"}, "patient or study"),
        ({"StudyDescription": "Another"}, "patient or study"),
        ({"ImagePositionPatient": [0, 0, 3.5]}, "ImagePositionPatient"),
        ({"RescaleIntercept": -1000}, "RescaleIntercept"),
        ({"SeriesDescription": "Another"}, "SeriesDescription"),
        ({"EchoTime": 30}, "EchoTime"),
        ({"PixelData": b"\1\0" * (24 * 32)}, "Pixel Data"),
    ],
)
def test_what_a_result_depends_on_makes_a_difference(
    phantom: Phantom, encoded: Callable[..., Path], changes: dict[str, Any], told: str
) -> None:
    original = phantom(1, 1)
    assert difference(original, encoded(original, **changes)) == told


def test_what_cannot_be_read_is_different(phantom: Phantom, tmp_path: Path) -> None:
    original, broken = phantom(1, 1), tmp_path / "broken.dcm"
    broken.write_bytes(original.read_bytes()[:-700])
    assert difference(original, broken).startswith("something that cannot be read")
    broken.write_bytes(b"no data set")
    assert difference(original, broken).startswith("something that cannot be read")


# What names attributes to leave them out; and what rules may ask: a copy that says otherwise changes no plan.
_MAY_NAME = ("same_content.py", "left_out.py", "sensitivity.py", "keeping.py", "trying_rules.py", "fields.py")


def test_nothing_in_the_program_reads_what_is_called_irrelevant() -> None:
    own_values = {("making.py", "InstanceCreationDate"), ("making.py", "InstanceCreationTime"),
                  ("equipment.py", "StationName"), ("agreement.py", "StationName")}  # fmt: skip
    # The last counts verdicts by scanner: no result depends on it.
    assert all(tag_for_keyword(keyword) for keyword in IRRELEVANT)
    for package in ("dicom_node", "workflows"):
        for path in (CHECKOUT / package).rglob("*.py"):
            words = set(re.findall(r"\w+", path.read_text("utf-8")))
            found = {(path.name, keyword) for keyword in IRRELEVANT & words} - own_values
            assert path.name in _MAY_NAME or not found, f"{path} names {found}"


def test_every_private_group_that_is_read_is_compared() -> None:
    text = (CHECKOUT / "dicom_node/volumes/uptake.py").read_text("utf-8")
    assert {int(group, 16) for group in re.findall(r"_private\(\w+, (0x\w{4})", text)} == PRIVATE_GROUPS


# --- Through the node -------------------------------------------------------------------------------------------------


@pytest.fixture
def read(steps: Steps, phantom: Phantom) -> list[Path]:
    files = [phantom(1, number) for number in range(1, 5)]
    steps.through(*files)
    assert steps.state(STUDY)[0] == "DELIVERED"
    return files


def test_the_same_images_in_another_encoding_start_nothing(
    steps: Steps, archive: Archive, read: list[Path], encoded: Callable[..., Path]
) -> None:
    keys, sent = steps.keys(STUDY), len(archive.objects)
    steps.receive(*(encoded(path, RLELossless, InstitutionName="Elsewhere") for path in read))
    assert steps.state(STUDY)[0] == "RECEIVING" and len(steps.stored()) == 8
    waking = len(steps.waker.deliveries)
    steps.to_plan()
    state, reason = steps.state(STUDY)
    assert state == "DELIVERED" and reason.endswith("4 images came again in another encoding and hold the same")
    assert steps.keys(STUDY) == keys and steps.to_retract() == []
    for key in steps.keys(STUDY):
        steps.predict(key)
        steps.publish(key)
    assert len(archive.objects) == sent and len(steps.waker.deliveries) == waking
    assert len(steps.stored()) == 4, "what was read first is not needed any more"
    assert steps.stored() == {one.path for one in steps.repository.instances(STUDY)}


def test_a_reread_of_them_asks_the_same_again(steps: Steps, read: list[Path], encoded: Callable[..., Path]) -> None:
    keys = steps.keys(STUDY)
    steps.receive(*(encoded(path, RLELossless) for path in read))
    steps.to_plan()
    assert steps.repository.reopen(STUDY, "a person wants it")
    steps.plan(STUDY)
    assert steps.keys(STUDY) == keys


@pytest.mark.parametrize("change", [{"PixelData": b"\1\0" * (24 * 32)}, {"RescaleIntercept": -1000}])
def test_an_image_that_holds_something_else_is_read_again(
    steps: Steps, read: list[Path], encoded: Callable[..., Path], change: dict[str, Any]
) -> None:
    keys = steps.keys(STUDY)
    steps.receive(*(encoded(path, RLELossless) for path in read[:3]), encoded(read[3], **change))
    steps.to_plan()
    assert steps.state(STUDY)[0] == "PLANNED" and set(steps.keys(STUDY)).isdisjoint(keys)
    assert len(steps.stored()) == 4
    (key,) = steps.keys(STUDY)
    steps.predict(key)
    steps.publish(key)
    assert steps.state(STUDY)[0] == "DELIVERED"


def test_a_sweep_leaves_what_was_read_beside_what_came_since(
    steps: Steps, read: list[Path], encoded: Callable[..., Path]
) -> None:
    steps.receive(encoded(read[0], RLELossless))
    assert steps.reconcile() == (0, 0)
    assert len(steps.stored()) == 5
    steps.to_plan()
    assert steps.state(STUDY)[0] == "DELIVERED"


def test_without_the_file_that_was_read_the_image_is_read_again(
    steps: Steps, read: list[Path], encoded: Callable[..., Path]
) -> None:
    steps.receive(encoded(read[0], RLELossless))
    (kept,) = [one.read_path for one in steps.repository.instances(STUDY) if one.read_path is not None]
    steps.folder.absolute(kept).unlink()
    steps.to_plan()
    assert steps.state(STUDY)[0] == "PLANNED"


def test_planning_that_died_after_it_had_compared_goes_on(
    steps: Steps, read: list[Path], encoded: Callable[..., Path]
) -> None:
    keys = steps.keys(STUDY)
    steps.receive(encoded(read[0], RLELossless))
    steps.tick(60)
    steps.complete()
    assert steps.repository.record_compared(STUDY, 2, {f"{STUDY}.1.1"}, set())
    steps.plan(STUDY)
    assert (steps.state(STUDY)[0], steps.keys(STUDY)) == ("DELIVERED", keys)
    steps.reconcile()
    assert len(steps.stored()) == 4, "a sweep removes what was left"
