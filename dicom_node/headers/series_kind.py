"""SeriesKind: when a series was taken and what of: what decides whether an earlier series shows the same."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from dicom_node.headers.elements import codes, number, numbers, read_file_header, text
from dicom_node.headers.functional_groups import functional_group

__all__ = ["SERIES_KIND_KEYWORDS", "SeriesKind", "read_series_kind", "series_kind"]

SERIES_KIND_KEYWORDS = (
    "Modality", "SeriesDescription", "ImageOrientationPatient", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence", "NumberOfFrames", "ViewPosition", "ViewCodeSequence", "ImageLaterality",
    "Laterality", "SliceThickness", "PixelSpacing", "StudyDate", "StudyTime", "AcquisitionDate", "AcquisitionTime",
    "AcquisitionDateTime",
)  # fmt: skip


@dataclass(frozen=True)
class SeriesKind:
    """What a series is and when its study was; "" and None mean "not in the header".

    `taken`: ISO date of the study, with its time where there is one, such as "2026-01-02T12:00:00"; where the study has
    no date that of the acquisition. `plane`: axial, coronal or sagittal, the nearest. `pixel_spacing_mm`: between rows,
    between columns.
    """

    modality: str = ""
    description: str = ""
    taken: str = ""
    plane: str = ""
    view: str = ""
    laterality: str = ""
    slice_thickness_mm: float | None = None
    pixel_spacing_mm: tuple[float, float] | None = None

    @property
    def date(self) -> date | None:
        return date.fromisoformat(self.taken[:10]) if self.taken else None

    def is_before(self, other: SeriesKind) -> bool:
        """Whether this one was taken earlier; where a time is missing, on an earlier day. False without dates."""
        if not self.taken or not other.taken:
            return False
        length = min(len(self.taken), len(other.taken))
        return self.taken[:length] < other.taken[:length]

    def agrees(self, other: SeriesKind) -> bool:
        """Whether both may show the same in the same way: what one of them does not say contradicts nothing."""
        pairs = (self.plane, other.plane), (self.view, other.view), (self.laterality, other.laterality)
        return all(one == another or not (one and another) for one, another in pairs)

    @property
    def grid(self) -> str:
        """Pixels and slices in words, "" where they are not known."""
        pixels = self.pixel_spacing_mm and "pixels of {:g} x {:g} mm".format(*self.pixel_spacing_mm)
        slices = f"slices of {self.slice_thickness_mm:g} mm" if self.slice_thickness_mm else ""
        return ", ".join(filter(None, (slices, pixels)))

    def as_json(self) -> dict[str, Any]:
        """As the database keeps it."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @staticmethod
    def from_json(entry: dict[str, Any]) -> SeriesKind:
        """The inverse of `as_json`."""
        spacing = entry.get("pixel_spacing_mm")
        return SeriesKind(**{**entry, "pixel_spacing_mm": None if spacing is None else (spacing[0], spacing[1])})


def read_series_kind(path: Path) -> SeriesKind:
    """The kind of a series from one of its files. Raises UnparseableInstance and OSError."""
    return series_kind(read_file_header(path, SERIES_KIND_KEYWORDS)[1])


def series_kind(header: Dataset) -> SeriesKind:
    """The kind of a series from the header of one of its images, read with SERIES_KIND_KEYWORDS."""
    view = next((code.meaning or code.value for code in codes(header, "ViewCodeSequence")), "")
    spacing = _numbers(header, "PixelMeasuresSequence", "PixelSpacing")
    thickness = _numbers(header, "PixelMeasuresSequence", "SliceThickness")
    return SeriesKind(
        modality=text(header, "Modality"),
        description=text(header, "SeriesDescription"),
        taken=_taken(header),
        plane=_plane(_numbers(header, "PlaneOrientationSequence", "ImageOrientationPatient")),
        view=(text(header, "ViewPosition") or view).casefold(),
        laterality=(text(header, "ImageLaterality") or text(header, "Laterality")).upper(),
        slice_thickness_mm=thickness[0] if thickness else number(header, "SliceThickness"),
        pixel_spacing_mm=(spacing[0], spacing[1]) if len(spacing) == 2 else None,
    )


def _numbers(header: Dataset, macro: str, keyword: str) -> tuple[float, ...]:
    """Of the instance, or of its first frame (PS3.3 C.7.6.16)."""
    if plain := numbers(header, keyword):
        return plain
    group = functional_group(header, 0, macro)
    return () if group is None else numbers(group, keyword)


def _plane(orientation: tuple[float, ...]) -> str:
    if len(orientation) != 6:
        return ""
    (a, b, c), (d, e, f) = orientation[:3], orientation[3:]
    normal = [abs(b * f - c * e), abs(c * d - a * f), abs(a * e - b * d)]
    return ("sagittal", "coronal", "axial")[normal.index(max(normal))] if max(normal) > 0 else ""


def _taken(header: Dataset) -> str:
    stated = (text(header, "StudyDate"), text(header, "StudyTime"))
    both = text(header, "AcquisitionDateTime")
    acquired = (text(header, "AcquisitionDate") or both[:8], text(header, "AcquisitionTime") or both[8:14])
    return next(filter(None, (_moment(*one) for one in (stated, acquired))), "")


def _moment(day: str, time: str) -> str:
    """ISO date, and time to the second; dots and colons are those of ACR-NEMA (PS3.5 6.2)."""
    day, time = day.replace(".", ""), time.replace(":", "")[:6]
    try:
        found = datetime.strptime(day, "%Y%m%d").date().isoformat()
    except ValueError:
        return ""
    try:
        return f"{found}T{datetime.strptime(time, '%H%M%S').time().isoformat()}"
    except ValueError:
        return found
