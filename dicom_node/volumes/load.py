"""A series read as its parts: stacks of slices in modality units with their place in the patient, or images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicom_node.errors import UnparseableInstance, VolumeRefusal, VolumeRefused, without_values
from dicom_node.headers.elements import BROKEN, integer, text
from dicom_node.headers.identity import SourceIdentity, source_identity
from dicom_node.headers.patient import patient_of
from dicom_node.identifiers import SeriesUID, StudyUID
from dicom_node.volumes.bounds import require_room
from dicom_node.volumes.contents import Contents, LeftOut, contents_of, read_header
from dicom_node.volumes.frames import MIDDLE_FRAME, FrameChoice
from dicom_node.volumes.geometry import StackGeometry
from dicom_node.volumes.pixels import frames_of, is_color
from dicom_node.volumes.projection import SpacingBasis, projected_spacing
from dicom_node.volumes.rescale import Rescale, rescale_of, unit_of
from dicom_node.volumes.splitting import Slice
from dicom_node.volumes.stacks import Planned

__all__ = [
    "LoadedSeries", "SeriesVolume", "SliceSource", "load_series", "one_slice", "planned_series", "spacing_of",
    "turned_ranges", "unit_of_slices",
]  # fmt: skip


@dataclass(frozen=True)
class SliceSource:
    """Where a slice comes from: the header of its instance without pixels, and its frame's number, from 1, if any."""

    header: Dataset
    frame_number: int | None


@dataclass(frozen=True)
class SeriesVolume:
    """One part of a series as voxels with their geometry: a stack of slices, or an image.

    `values`: float32 `slices rows columns` in modality units (HU for CT), or uint8 `slices rows columns 3` RGB. Slices
    ascend along row direction x column direction, frames of an image in their own order. MONOCHROME1 is turned round
    within the range that its bits allow, so that high is bright in every grey stack; `inverted` says so, and `unit` is
    then None.
    `geometry`: where the slices lie; None for images without patient geometry (CR, MG, US, endoscopy, fundus, secondary
    capture): then a stack of one slice, or of the chosen frames of one instance.
    `pixel_spacing_mm`: between rows, between columns, or None. `spacing_basis`: where that was measured, None without
    one. `unit`: of `values`, coded, where the header says what they measure.
    `slices`: where each slice comes from, in the order of `values`. `identity`: patient and study as bytes, of the
    first instance that says most about the patient: an empty one contradicts nothing, and names nobody. `name`: what
    tells the part from the others of its series, such as "echo time 30"; empty where it is alone.
    """

    values: NDArray[np.float32] | NDArray[np.uint8]
    geometry: StackGeometry | None
    pixel_spacing_mm: tuple[float, float] | None
    spacing_basis: SpacingBasis | None
    slices: tuple[SliceSource, ...]
    modality: str
    unit: Code | None
    inverted: bool
    study_uid: StudyUID
    series_uid: SeriesUID
    identity: SourceIdentity = field(repr=False)
    name: str = ""

    @property
    def source(self) -> Dataset:
        """The header of the first slice's instance: what all slices share stands there too."""
        return self.slices[0].header

    @property
    def sources(self) -> tuple[Dataset, ...]:
        """The header of each instance, once, in the order of slices."""
        return tuple({text(item.header, "SOPInstanceUID"): item.header for item in self.slices}.values())

    @property
    def spacing_mm(self) -> tuple[float, float, float] | None:
        """Between slices, rows and columns, mm; None where any of them is not known."""
        return None if self.geometry is None else self.geometry.spacing_mm

    @property
    def is_color(self) -> bool:
        return self.values.ndim == 4


@dataclass(frozen=True)
class LoadedSeries:
    """The parts of a series, in the order in which it holds them, and the instances that are in none."""

    parts: tuple[SeriesVolume, ...]
    left_out: tuple[LeftOut, ...]


def load_series(paths: Sequence[Path], frames: FrameChoice = MIDDLE_FRAME) -> LoadedSeries:
    """Read the files of one series as its parts.

    Headers are read and checked first; pixels then come one slice at a time into one array a part. `frames`: which
    frames of a cine, or of another instance whose frames have no places in the patient. Raises VolumeRefused, whose
    `reason` says what is wrong and whose message what to do.
    """
    with _refusing(len(paths)):
        contents = _contents(paths, frames)
        return LoadedSeries(tuple(_read(part) for part in contents.parts), contents.left_out)


def planned_series(paths: Sequence[Path], frames: FrameChoice = MIDDLE_FRAME) -> Contents:
    """The parts of a series as `load_series` would read them, in the same order, from their headers alone.

    Raises VolumeRefused as it does.
    """
    with _refusing(len(paths)):
        return _contents(paths, frames)


def _contents(paths: Sequence[Path], frames: FrameChoice) -> Contents:
    if not paths:
        raise VolumeRefused(VolumeRefusal.NO_IMAGES, "the series has no files")
    return contents_of(paths, [read_header(path) for path in paths], frames)


@contextmanager
def _refusing(files: int) -> Iterator[None]:
    """What breaks while a series is read is a refusal with its reason."""
    try:
        yield
    except MemoryError as error:
        raise VolumeRefused(
            VolumeRefusal.TOO_LARGE,
            f"the series of {files} files needs more memory than this host has; read it on a larger one",
        ) from error
    except UnparseableInstance as error:
        raise VolumeRefused(VolumeRefusal.UNREADABLE_HEADER, f"a header of this series is not read: {error}") from error
    except BROKEN as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise VolumeRefused(
            VolumeRefusal.UNREADABLE_HEADER,
            f"a header of this series cannot be read ({type(error).__name__}: {without_values(error)}); "
            "send it corrected",
        ) from error


def _read(part: Planned) -> SeriesVolume:
    header = part.slices[0].header
    rescales = [rescale_of(item.header, item.frame) for item in part.slices]
    inverted = text(header, "PhotometricInterpretation") == "MONOCHROME1"
    values = _read_values(part.slices, rescales)
    if inverted:
        for grey, (low, high) in zip(values, turned_ranges(header, rescales, values), strict=True):
            np.subtract(np.float32(low + high), grey, out=grey, casting="unsafe")
    spacing, basis = spacing_of(part)
    return SeriesVolume(
        values=values,
        geometry=part.geometry,
        pixel_spacing_mm=spacing,
        spacing_basis=basis,
        slices=tuple(_source(item) for item in part.slices),
        modality=text(header, "Modality"),
        unit=None if inverted else unit_of_slices(part.slices, rescales),
        inverted=inverted,
        study_uid=StudyUID(text(header, "StudyInstanceUID")),
        series_uid=SeriesUID(text(header, "SeriesInstanceUID")),
        # Read anew: elements of the headers at hand are decoded by now.
        identity=source_identity(read_header(_most_telling(part.slices))),
        name=part.name,
    )


def spacing_of(part: Planned) -> tuple[tuple[float, float] | None, SpacingBasis | None]:
    """Between rows and between columns, mm, and where that was measured; None, None where nobody says."""
    if part.geometry is not None:
        return part.geometry.pixel_spacing_mm, SpacingBasis.PATIENT
    projected = projected_spacing(part.slices[0].header)
    return (None, None) if projected is None else (projected.mm, projected.basis)


def _most_telling(slices: Sequence[Slice]) -> Path:
    """The first instance of those that say most about whom they are of."""
    told = {item.path: item.header for item in slices}
    return max(told, key=lambda path: sum(map(bool, astuple(patient_of(told[path])))))


def unit_of_slices(slices: Sequence[Slice], rescales: Sequence[Rescale]) -> Code | None:
    """The unit of all slices; None where one of them has another, or none."""
    units = [unit_of(item.header, rescale) for item, rescale in zip(slices, rescales, strict=True)]
    first = units[0]
    return first if all(unit is not None and unit == first for unit in units) else None


def _source(item: Slice) -> SliceSource:
    return SliceSource(item.header, None if item.frame is None else item.frame + 1)


def _read_values(slices: Sequence[Slice], rescales: Sequence[Rescale]) -> NDArray[np.float32] | NDArray[np.uint8]:
    header = slices[0].header
    color = is_color(header)
    expected = _expected(header)
    values: NDArray[np.float32] | NDArray[np.uint8] = np.empty(0, np.float32)
    stored_frames = frames_of([(item.path, item.frame) for item in slices])
    for index, (item, rescale, stored) in enumerate(zip(slices, rescales, stored_frames, strict=True)):
        _require_shape(stored, expected, item.name)
        if index == 0:  # not before a frame has shown that the header's size is true
            require_room(item.name, (1 if color else 4) * len(slices) * int(np.prod(expected)))
            shape = (len(slices), *expected)
            values = np.empty(shape, np.uint8) if color else np.empty(shape, np.float32)
        values[index] = np.asarray(stored, dtype=np.uint8) if color else rescale.apply(stored)
    return values


def one_slice(
    path: Path, frame: int | None, rescale: Rescale, expected: tuple[int, ...], name: str
) -> NDArray[np.float32] | NDArray[np.uint8]:
    """One slice as `load_series` has it before a MONOCHROME1 stack is turned round: `rows columns` or `rows columns 3`.

    `expected`: its shape. `name`: of the instance or frame, for messages. Raises VolumeRefused and OSError.
    """
    (stored,) = frames_of([(path, frame)])
    _require_shape(stored, expected, name)
    return np.asarray(stored, dtype=np.uint8) if len(expected) == 3 else rescale.apply(stored)


def _expected(header: Dataset) -> tuple[int, ...]:
    """The shape of a slice, as its header says."""
    shape = (integer(header, "Rows") or 0, integer(header, "Columns") or 0)
    return (*shape, 3) if is_color(header) else shape


def _require_shape(stored: NDArray[np.generic], expected: tuple[int, ...], name: str) -> None:
    if stored.shape != expected:
        raise VolumeRefused(
            VolumeRefusal.UNDECODABLE_PIXEL_DATA,
            f"{name} decoded to {stored.shape}, its header says {expected}; send it again",
        )


def turned_ranges(
    header: Dataset, rescales: Sequence[Rescale], values: NDArray[np.float32] | NDArray[np.uint8]
) -> NDArray[np.float64]:
    """`slices 2`: the lowest and highest value that the bits of a grey image allow, through each slice's rescale."""
    allocated = integer(header, "BitsAllocated") or 0
    bits = min(integer(header, "BitsStored") or allocated, allocated)
    if not 0 < bits <= 32 or text(header, "BitsAllocated") == "64" or _is_float(header):
        return np.tile([float(values.min()), float(values.max())], (len(rescales), 1))
    signed = integer(header, "PixelRepresentation") == 1
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return np.array([rescale.range_of(low, high) for rescale in rescales])


def _is_float(header: Dataset) -> bool:
    """Float Pixel Data has no Bits Stored (PS3.3 C.7.6.24)."""
    return integer(header, "BitsStored") is None
