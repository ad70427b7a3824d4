"""A record's image as a model is asked about it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from inference.interface import SliceStack
from inference.medseg_qa.records import Record

__all__ = ["stack_of"]


def stack_of(record: Record, qa: Path) -> SliceStack:
    """Return a record's image as a stack of one slice: RGB, as it is stored."""
    pixels = np.asarray(Image.open(qa / record.image).convert("RGB"))
    spacing = None if record.spacing_mm is None else (1.0, *record.spacing_mm)
    return SliceStack(pixels[None], record.modality, spacing)
