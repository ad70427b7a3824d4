"""What every answer of some models must say, in its text and in its terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from inference.interface import PredictorDescription

__all__ = ["UNCALIBRATED", "WITHOUT_CARD", "with_notices"]

UNCALIBRATED = "uncalibrated confidence"
"""Of a model whose confidence was never set against the truth."""
WITHOUT_CARD = "what the model has learned is not known"
"""Of a model without a card: it may be asked for what it never learned, and would draw something."""


def with_notices(described: PredictorDescription, notices: Sequence[str]) -> PredictorDescription:
    """Return a description whose terms end in notices, such as that the confidence is not calibrated."""
    return replace(described, terms="; ".join(filter(None, (described.terms, *notices))) or None)
