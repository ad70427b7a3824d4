"""Rescale: how stored values become modality values (PS3.3 C.11.1), and what they then measure."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut
from pydicom.sr.coding import Code
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedPETImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    LegacyConvertedEnhancedPETImageStorage,
    PositronEmissionTomographyImageStorage,
)

from dicom_node.errors import VolumeRefusal, VolumeRefused
from dicom_node.headers.elements import integer, items, number, text
from dicom_node.volumes.planes import macro, slice_name

__all__ = ["BECQUEREL_PER_ML", "HOUNSFIELD", "SUV_BODY_WEIGHT", "Rescale", "rescale_of", "unit_of"]

HOUNSFIELD = Code("[hnsf'U]", "UCUM", "Hounsfield unit")
BECQUEREL_PER_ML = Code("Bq/ml", "UCUM", "Becquerels/milliliter")
SUV_BODY_WEIGHT = Code("g/ml{SUVbw}", "UCUM", "Standardized Uptake Value body weight")

_CT = frozenset({CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage})
_PET = frozenset(
    {PositronEmissionTomographyImageStorage, EnhancedPETImageStorage, LegacyConvertedEnhancedPETImageStorage}
)


@dataclass(frozen=True)
class Rescale:
    """A line, modality value = slope * stored value + intercept, or a table (`table` holds its Modality LUT Sequence).

    `type`: Rescale Type, or Modality LUT Type; empty where nobody says. `stated`: whether the header has a rescale.
    """

    slope: float = 1.0
    intercept: float = 0.0
    type: str = ""
    stated: bool = False
    table: Dataset | None = field(default=None, compare=False)

    def apply(self, stored: NDArray[np.generic]) -> NDArray[np.float32]:
        """Stored values -> modality values."""
        if self.table is not None:
            return np.asarray(apply_modality_lut(stored, self.table), dtype=np.float32)
        values = np.asarray(stored, dtype=np.float32)
        if self.slope != 1.0:
            values = values * np.float32(self.slope)
        if self.intercept != 0.0:
            values = values + np.float32(self.intercept)
        return values

    def range_of(self, low: int, high: int) -> tuple[float, float]:
        """The lowest and highest modality value of stored values from `low` to `high`."""
        if self.table is not None:
            # What lies outside the table, of at most 65536 entries, is mapped as its ends are (PS3.3 C.11.1.1.1).
            ends = np.clip([low, high], -(1 << 16), 1 << 17)
            mapped = self.apply(np.arange(ends[0], ends[1] + 1, dtype=np.int64))
            return float(mapped.min()), float(mapped.max())
        first, last = (end * self.slope + self.intercept for end in (low, high))
        return min(first, last), max(first, last)


def rescale_of(header: Dataset, frame: int | None = None) -> Rescale:
    """How the stored values of an instance, or of a frame (from 0), become modality values."""
    if tables := list(items(header, "ModalityLUTSequence")):
        _require_a_table(tables[0])
        holder = Dataset()
        holder.set_original_encoding(*header.original_encoding)  # tables are kept as words
        holder.ModalityLUTSequence = tables[:1]
        holder.PixelRepresentation = integer(header, "PixelRepresentation") or 0
        return Rescale(type=text(tables[0], "ModalityLUTType"), stated=True, table=holder)
    source = macro(header, frame, "PixelValueTransformationSequence")
    if frame is not None and not len(source):
        source = header
    slope, intercept = number(source, "RescaleSlope"), number(source, "RescaleIntercept")
    if max(abs(slope or 0.0), abs(intercept or 0.0)) > _LARGEST:
        raise VolumeRefused(
            VolumeRefusal.UNREADABLE_HEADER,
            f"{slice_name(header, frame)}: Rescale Slope {slope} and Intercept {intercept} give no values that "
            "can be computed with; send it corrected",
        )
    stated = bool(slope) and intercept is not None  # a slope of 0 maps everything to one value: it says nothing
    return Rescale(slope or 1.0, intercept or 0.0, text(source, "RescaleType"), stated)


_LARGEST = 1e15
"""Of slope and intercept: any stored value stays well within what a float32 holds."""
_LARGEST_TABLE = 2 * 65536


def _require_a_table(table: Dataset) -> None:
    """A Modality LUT has at most 65,536 entries of two bytes (PS3.3 C.11.1.1)."""
    tag = tag_for_keyword("LUTData") or 0
    held = table.get_item(tag) if tag in table else None
    size = 0 if held is None else len(held.value or b"") * (1 if isinstance(held.value, bytes) else 2)
    if size > _LARGEST_TABLE:
        raise VolumeRefused(
            VolumeRefusal.UNREADABLE_HEADER,
            f"LUT Data of the Modality LUT has {size:,} bytes, and a table has at most {_LARGEST_TABLE:,} "
            "(PS3.3 C.11.1); send it corrected",
        )


def unit_of(header: Dataset, rescale: Rescale) -> Code | None:
    """What modality values are counted in, where the header says so.

    Hounsfield units where a CT class has a rescale whose type is HU; CT Image Storage may leave the type out, which
    means HU (PS3.3 C.8.2.1). A secondary capture is none of these classes, whatever its Modality says. PET by its Units
    (C.8.9.1). Without a rescale nothing is known.
    """
    sop_class = text(header, "SOPClassUID")
    if not rescale.stated:
        return None
    if sop_class in _CT:
        implied = sop_class == CTImageStorage and not rescale.type
        return HOUNSFIELD if rescale.type == "HU" or implied else None
    if sop_class in _PET:
        if text(header, "Units") == "GML" and text(header, "SUVType") in ("", "BW"):
            return SUV_BODY_WEIGHT
        return BECQUEREL_PER_ML if text(header, "Units") == "BQML" or rescale.type == "BQML" else None
    return None
