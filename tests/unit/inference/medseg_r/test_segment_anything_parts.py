"""The way round torchvision: it works, and it is still needed."""

from __future__ import annotations

import subprocess
import sys

import pytest

_WITHOUT_TORCHVISION = "import sys; sys.modules['torchvision'] = None; "


def _run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _WITHOUT_TORCHVISION + script], capture_output=True, text=True, timeout=120
    )


@pytest.mark.slow
def test_the_parts_are_imported_without_torchvision() -> None:
    done = _run("import inference.medseg_r.segment_anything_parts as parts; print(parts.MaskDecoder.__name__)")
    assert done.stdout.strip() == "MaskDecoder", done.stderr


@pytest.mark.slow
def test_segment_anything_itself_still_needs_torchvision() -> None:
    done = _run("import segment_anything")
    assert done.returncode != 0, "import segment_anything.modeling directly and delete segment_anything_parts.py"
    assert "torchvision" in done.stderr
