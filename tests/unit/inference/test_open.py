"""Opening and describing a predictor by its configured name."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from inference.medseg_r import checkpoint, predictor
from inference.open import open_predictor


@pytest.mark.parametrize("checkpoint", ["tiny", "commissioning"])
def test_describing_a_checkpoint_needs_no_torch(checkpoint: str) -> None:
    heavy = ("torch", "transformers", "segment_anything", "tokenizers")
    script = (
        "import sys; from inference.open import describe_predictor; "
        f"assert describe_predictor({checkpoint!r}).digest; print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_a_gpu_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    seen = list[tuple[str, bool]]()
    monkeypatch.setattr(
        predictor,
        "MedSegRPredictor",
        lambda _checkpoint, device: seen.append((device, torch.backends.cudnn.allow_tf32)),
    )
    monkeypatch.setattr(checkpoint, "load_described", lambda described, device: described)
    for device in ("cpu", "auto"):
        open_predictor("tiny", device)
    assert seen == [("cpu", True), ("cuda", False)]
