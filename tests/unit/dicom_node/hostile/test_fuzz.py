"""Whatever a file holds, it is read or refused by name: no other error, and no process that hangs or dies.

A fixed budget, the same each time; `make fuzz` goes on for longer, and follows the branches of the code.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dicom_node.errors import IdentifierMismatch, UnparseableInstance, VolumeRefused
from dicom_node.headers.elements import read_file_header
from dicom_node.headers.identity import source_identity
from dicom_node.headers.instance import INSTANCE_KEYWORDS, checked_identifiers, instance_header
from dicom_node.headers.raw import read_header
from dicom_node.headers.series_kind import read_series_kind
from dicom_node.headers.study import read_series_header, read_study_header
from dicom_node.results.stored_report import ReportUnreadable, read_stored_report
from dicom_node.volumes.load import load_series
from dicom_node.volumes.pixels import stored_frames
from tests.unit.dicom_node.hostile.mutations import seeds, spoilt

KINDS = 10
BUDGET = settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
faults = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    return seeds(tmp_path_factory.mktemp("seeds"))


@pytest.fixture(autouse=True)
def _without_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def test_every_seed_is_read(originals: list[bytes], tmp_path: Path) -> None:
    assert len(originals) == KINDS
    for place, original in enumerate(originals):
        (tmp_path / f"{place}.dcm").write_bytes(original)
        (part,) = load_series([tmp_path / f"{place}.dcm"]).parts
        assert part.values.shape[1:3] == (16, 24)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", range(KINDS))
@BUDGET
@given(fault=faults)
def test_a_spoilt_series_is_read_or_refused(originals: list[bytes], tmp_path: Path, kind: int, fault: int) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(spoilt(originals[kind], Random(fault)))
    try:
        assert load_series([path]).parts
    except VolumeRefused as refused:
        assert refused.detail


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", range(KINDS))
@BUDGET
@given(fault=faults)
def test_spoilt_pixels_are_decoded_or_refused(originals: list[bytes], tmp_path: Path, kind: int, fault: int) -> None:
    original, random = originals[kind], Random(fault)
    pixels = original.find(b"\xe0\x7f\x10\x00") if b"\xe0\x7f\x10\x00" in original else len(original) // 2
    path = tmp_path / "a.dcm"
    path.write_bytes(original[:pixels] + spoilt(bytes(132) + original[pixels:], random)[132:])
    try:
        for frame in stored_frames(path, [0]):
            assert frame.ndim in (2, 3)
    except VolumeRefused as refused:
        assert refused.detail


@pytest.mark.timeout(120)
@BUDGET
@given(kind=st.integers(0, KINDS - 1), fault=faults)
def test_a_spoilt_header_is_read_or_refused(originals: list[bytes], tmp_path: Path, kind: int, fault: int) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(spoilt(originals[kind], Random(fault)))
    try:
        _, header = read_file_header(path, INSTANCE_KEYWORDS)
        instance_header(header)
        checked_identifiers(header)
        read_series_header([path])
        read_study_header({"1.2.1": [path]})
        read_series_kind(path)
        source_identity(read_header(path))
    except (UnparseableInstance, IdentifierMismatch) as refused:
        assert str(refused)


@pytest.mark.timeout(120)
@BUDGET
@given(kind=st.integers(0, KINDS - 1), fault=faults)
def test_a_foreign_report_is_unreadable_by_name(originals: list[bytes], tmp_path: Path, kind: int, fault: int) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(spoilt(originals[kind], Random(fault)))
    with pytest.raises(ReportUnreadable):
        read_stored_report(path)
