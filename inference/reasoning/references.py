"""Reference values of sizes, read from `references.yaml`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files

import yaml

from inference.card import Region
from inference.reasoning.names import knowledge_of

__all__ = ["Measure", "Reference", "references", "references_of"]


class Measure(StrEnum):
    """How a size is measured; all in mm, outer edges of voxels included.

    Vertical: from head to feet. Length: the longest straight line through the largest part. Width: of the largest piece
    in each axial slice the narrowest width, and of those the largest: a vessel's diameter, also where it runs aslant.
    """

    VERTICAL = "vertical"
    LENGTH = "length"
    WIDTH = "width"


@dataclass(frozen=True)
class Reference:
    """What a measurement of an adult may stand beside. `level`: regions that images must be of, and no others."""

    label: str
    measure: Measure
    high_mm: float
    low_mm: float | None
    limit: str
    sex: str
    level: frozenset[Region]
    source: str
    citation: str
    basis: str

    @property
    def text(self) -> str:
        """The range in cm, as "up to 13.0 cm"."""
        if self.low_mm is None:
            return f"{self.limit} {self.high_mm / 10:.1f} cm"
        return f"{self.low_mm / 10:.1f} to {self.high_mm / 10:.1f} cm"

    def includes(self, size_mm: float) -> bool:
        """Whether a size lies within the range."""
        below = size_mm < self.high_mm if self.limit == "below" else size_mm <= self.high_mm
        return below and (self.low_mm is None or size_mm >= self.low_mm)


@cache
def references() -> tuple[Reference, ...]:
    """All reference values, one for each label, sex and level."""
    entries = yaml.safe_load((files("inference.reasoning") / "references.yaml").read_text(encoding="utf-8"))
    return tuple(
        Reference(
            label=label,
            measure=Measure(entry["measure"]),
            high_mm=float(entry["high_mm"]),
            low_mm=float(entry["low_mm"]) if "low_mm" in entry else None,
            limit=entry.get("limit", ""),
            sex=entry.get("sex", ""),
            level=frozenset(Region(region) for region in entry.get("level", ())),
            source=entry["source"],
            citation=entry["citation"],
            basis=entry["basis"],
        )
        for entry in entries["references"]
        for label in entry["labels"]
    )


def references_of(label: str) -> tuple[Reference, ...]:
    """The reference values of a label, also by another of its names ("left kidney")."""
    known = {label, *(entry.label for entry in knowledge_of(label))}
    return tuple(reference for reference in references() if reference.label in known)
