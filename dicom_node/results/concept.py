"""What a segment is of, as coded concepts."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.sr.coding import Code

__all__ = ["Code", "SegmentedConcept"]


@dataclass(frozen=True)
class SegmentedConcept:
    """What a segment is of, coded (PS3.3 C.8.20.4): category, type, laterality, finding site."""

    label: str
    category: Code
    type: Code
    laterality: Code | None = None
    site: Code | None = None
