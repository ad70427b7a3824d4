"""Inputs that mean harm are refused by name, or read harmlessly, in little memory; the process lives on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.dicom_node.hostile.cases import CASES, Hostile
from tests.unit.dicom_node.hostile.measuring import MOST_MEMORY_MB, Measuring


@pytest.fixture(scope="module")
def measuring() -> Iterator[Measuring]:
    process = Measuring()
    yield process
    process.close()


@pytest.mark.slow  # a process for each
@pytest.mark.timeout(120)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_hostile_input_is_refused_by_name_in_little_memory(
    case: Hostile, measuring: Measuring, tmp_path: Path
) -> None:
    outcome = measuring.outcome_of(case, tmp_path)
    assert not outcome.failure
    if case.expected is None:
        assert outcome.told == ""
    else:
        assert re.search(case.expected, outcome.told), outcome.told
    assert outcome.peak_mb < MOST_MEMORY_MB
