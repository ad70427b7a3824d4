"""Where each slice of an instance lies and how its stored values become modality units, read from headers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset

from dicom_node.errors import VolumeRefusal, VolumeRefused
from dicom_node.volumes.geometry import Plane

__all__ = [
    "Rescale", "functional_group", "functional_group_items", "instance_plane", "instance_rescale", "number_of_frames",
    "numbers",
]  # fmt: skip


@dataclass(frozen=True)
class Rescale:
    """Modality LUT as a line (PS3.3 C.11.1): modality value = slope * stored value + intercept."""

    slope: float = 1.0
    intercept: float = 0.0
    type: str = ""


def numbers(header: Dataset | None, keyword: str) -> tuple[float, ...] | None:
    """The attribute's values as floats, or None where they are missing, empty or no numbers."""
    value = None if header is None else header.get(keyword)
    if value is None or value == "":
        return None
    try:
        return tuple(float(item) for item in (value if _is_multi(value) else [value]))
    except (TypeError, ValueError):
        return None


def _is_multi(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def number_of_frames(header: Dataset) -> int:
    frames = numbers(header, "NumberOfFrames")
    return max(1, int(frames[0])) if frames else 1


def functional_group(header: Dataset, frame: int | None, name: str) -> Dataset | None:
    """The first item of a functional group macro, or None."""
    return next(iter(functional_group_items(header, frame, name)), None)


def functional_group_items(header: Dataset, frame: int | None, name: str) -> Sequence[Dataset]:
    """The items of the functional group macro `name` of a frame (from 0), its own or the shared ones (PS3.3 C.7.6.16).

    None at all where neither the frame nor the shared groups have it.
    """
    candidates: list[Dataset] = []
    per_frame = header.get("PerFrameFunctionalGroupsSequence") or []
    if frame is not None and frame < len(per_frame):
        candidates.append(per_frame[frame])
    candidates.extend((header.get("SharedFunctionalGroupsSequence") or [])[:1])
    for candidate in candidates:
        if items := candidate.get(name):
            found: Sequence[Dataset] = items
            return found
    return ()


def instance_plane(header: Dataset, frame: int | None = None) -> Plane:
    """The plane of a single-frame instance, or of one frame (from 0) of a multi-frame one."""
    if frame is None:
        name = f"instance {header.get('SOPInstanceUID', '?')}"
        position, orientation, measures = header, header, header
    else:
        name = f"frame {frame + 1}"
        position = functional_group(header, frame, "PlanePositionSequence") or Dataset()
        orientation = functional_group(header, frame, "PlaneOrientationSequence") or Dataset()
        measures = functional_group(header, frame, "PixelMeasuresSequence") or Dataset()
    spacing = numbers(measures, "PixelSpacing")
    thickness = numbers(measures, "SliceThickness")
    return Plane(
        name=name,
        position=numbers(position, "ImagePositionPatient"),
        orientation=numbers(orientation, "ImageOrientationPatient"),
        spacing_mm=(spacing[0], spacing[1]) if spacing and len(spacing) == 2 else None,
        thickness_mm=thickness[0] if thickness else None,
        frame_of_reference_uid=str(header.get("FrameOfReferenceUID") or "") or None,
    )


def instance_rescale(header: Dataset, frame: int | None = None) -> Rescale:
    """How stored values of an instance or a frame become modality values.

    Raises VolumeRefused (UNDECODABLE_PIXEL_DATA) for a Modality LUT Sequence: a table is no line.
    """
    source: Dataset | None = header
    if frame is not None:
        source = functional_group(header, frame, "PixelValueTransformationSequence") or header
    if header.get("ModalityLUTSequence"):
        raise VolumeRefused(
            VolumeRefusal.UNDECODABLE_PIXEL_DATA, "a Modality LUT Sequence (a table, not a line) is not supported"
        )
    slope, intercept = numbers(source, "RescaleSlope"), numbers(source, "RescaleIntercept")
    kind = str(source.get("RescaleType") or "") if source is not None else ""
    return Rescale(slope[0] if slope and slope[0] else 1.0, intercept[0] if intercept else 0.0, kind)
