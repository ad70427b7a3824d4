"""Where each slice of an instance lies, read from its header or from the functional groups of a frame."""

from __future__ import annotations

from pydicom.dataset import Dataset

from dicom_node.headers.elements import integer, number, numbers, text
from dicom_node.headers.functional_groups import functional_group
from dicom_node.volumes.geometry import Plane

__all__ = ["instance_plane", "macro", "slice_name"]


def macro(header: Dataset, frame: int | None, name: str) -> Dataset:
    """What a functional group macro says of a frame (from 0); the header itself for an instance without frames."""
    return header if frame is None else functional_group(header, frame, name) or Dataset()


def slice_name(header: Dataset, frame: int | None = None) -> str:
    """An instance, or one of its frames (from 0), as messages name it."""
    instance = f"instance {text(header, 'SOPInstanceUID') or '?'}"
    return instance if frame is None else f"frame {frame + 1} of {instance}"


def instance_plane(header: Dataset, frame: int | None = None) -> Plane:
    """The plane of a single-frame instance, or of one frame (from 0) of a multi-frame one.

    Plane position, orientation and pixel measures may each stand in the shared or in the frame's own groups. Raises
    VolumeRefused where they do not say where the voxels lie.
    """
    measures = macro(header, frame, "PixelMeasuresSequence")
    return Plane(
        name=slice_name(header, frame),
        position=numbers(macro(header, frame, "PlanePositionSequence"), "ImagePositionPatient"),
        orientation=numbers(macro(header, frame, "PlaneOrientationSequence"), "ImageOrientationPatient"),
        spacing_mm=numbers(measures, "PixelSpacing"),
        thickness_mm=number(measures, "SliceThickness"),
        frame_of_reference_uid=text(header, "FrameOfReferenceUID"),
        number=integer(header, "InstanceNumber") if frame is None else frame + 1,
    )
