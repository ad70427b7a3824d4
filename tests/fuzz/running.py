"""Runs one fuzzer: python -m tests.fuzz.NAME [SECONDS]. What it finds lies in crash-* in the working folder.

A new fuzzer is a file beside this one, which is named in the Makefile's FUZZERS: it says what a few good inputs are and
what is to be done with a spoilt one. An error that the target does not expect ends the run and names the input.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import atheris

__all__ = ["fuzz", "instrumented"]

_SECONDS = 60
_LONGEST, _SLOWEST_S, _MOST_MEMORY_MB = 1 << 14, 10, 1024

instrumented = atheris.instrument_imports(include=["dicom_node", "workflows", "pydicom.filereader", "pydicom.values"])
"""`with instrumented:` around the imports of what is to be followed."""


def fuzz(target: Callable[[bytes], None], seeds: Sequence[bytes]) -> None:
    """Give `target` spoilt seeds until the time is over; the first error that it raises ends the run."""
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else _SECONDS
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as corpus:
        for place, seed in enumerate(seeds):
            (Path(corpus) / f"seed-{place}").write_bytes(seed)
        limits = [f"-max_total_time={seconds}", f"-max_len={_LONGEST}", f"-timeout={_SLOWEST_S}",
                  f"-rss_limit_mb={_MOST_MEMORY_MB}", "-seed=16", "-print_final_stats=1"]  # fmt: skip
        atheris.Setup([sys.argv[0], *limits, corpus], target)
        atheris.Fuzz()
