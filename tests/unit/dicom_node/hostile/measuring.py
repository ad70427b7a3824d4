"""Gives each hostile input to a process of its own: what came of it, how long it took, and how much memory.

python -m tests.unit.dicom_node.hostile.measuring      the table of docs/reliability.md
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.unit.dicom_node.hostile.cases import CASES, Hostile
from tests.unit.dicom_node.hostile.outcome import Outcome

MOST_MEMORY_MB = 200


class Measuring:
    """A process that has imported all it needs, and forks for each input: so each begins from the same memory."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.unit.dicom_node.hostile.reading"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def outcome_of(self, case: Hostile, folder: Path) -> Outcome:
        """Build the input in `folder`, and read it in a process of its own."""
        case.build(folder)
        assert self._process.stdin is not None and self._process.stdout is not None
        print(case.way.name, folder, file=self._process.stdin, flush=True)
        for line in self._process.stdout:
            if (outcome := Outcome.of_line(line)) is not None:
                return outcome
        raise AssertionError("the process that reads is gone")

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


def _table() -> None:
    measuring = Measuring()
    print("| input | comes in as | what comes of it | seconds | MB |\n|---|---|---|---|---|")
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            outcome = measuring.outcome_of(case, Path(folder))
        told = outcome.failure or (outcome.told or "read").replace(folder + "/", "").replace("|", "/")
        told = told if len(told) < 240 else told[:237] + "..."
        name = case.name.removesuffix(f": {case.way.value}")
        print(f"| {name} | {case.way.value} | {told} | {outcome.seconds:.2f} | {outcome.peak_mb} |", flush=True)
    measuring.close()


if __name__ == "__main__":
    _table()
