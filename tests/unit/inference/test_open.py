"""Opening and describing a predictor by its configured name."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("checkpoint", ["tiny", "commissioning"])
def test_describing_a_checkpoint_needs_no_torch(checkpoint: str) -> None:
    heavy = ("torch", "transformers", "segment_anything", "tokenizers")
    script = (
        "import sys; from inference.open import describe_predictor; "
        f"assert describe_predictor({checkpoint!r}).digest; print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
