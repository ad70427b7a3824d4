"""What a series holds, from its headers alone: the parts that can be read, and the instances that are left out.

A part is a stack of slices with places in the patient, or an image (or frames of one) without. Every instance ends in a
part, is left out by name, or refuses the series.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.datadict import dictionary_description, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import UID

from dicom_node.errors import UnparseableInstance, VolumeRefusal, VolumeRefused
from dicom_node.headers import raw
from dicom_node.headers.elements import integer, text, texts
from dicom_node.headers.functional_groups import functional_group, number_of_frames
from dicom_node.headers.patient import first_contradiction, patient_of
from dicom_node.sop_classes import ImageKind, holds_images, image_kind
from dicom_node.storage.part10 import data_set_offset
from dicom_node.volumes.bounds import MOST_FRAMES
from dicom_node.volumes.encoded import PLAIN_SYNTAXES
from dicom_node.volumes.frames import FrameChoice
from dicom_node.volumes.planes import instance_plane
from dicom_node.volumes.splitting import PlacedSlice, Slice
from dicom_node.volumes.stacks import Planned, arranged

__all__ = ["Contents", "LeftOut", "contents_of", "read_header"]


@dataclass(frozen=True)
class LeftOut:
    """An instance of a series that is not read. `name`: its file's; `detail`: a sentence with the remedy."""

    sop_instance_uid: str
    name: str
    reason: VolumeRefusal
    detail: str


@dataclass(frozen=True)
class Contents:
    """The parts of a series and what is left out of them."""

    parts: tuple[Planned, ...]
    left_out: tuple[LeftOut, ...]


@dataclass(frozen=True)
class _Instance:
    path: Path
    header: Dataset
    kind: ImageKind

    @property
    def uid(self) -> str:
        return text(self.header, "SOPInstanceUID")


def read_header(path: Path) -> Dataset:
    """An instance's header up to its pixels. Raises VolumeRefused (UNREADABLE_HEADER) naming the file."""
    try:
        header = raw.read_header(path)
    except UnparseableInstance as error:
        remedy = "" if "; " in str(error) else "; leave it out"
        raise VolumeRefused(
            VolumeRefusal.UNREADABLE_HEADER, f"{path.name} is no DICOM file: {error}{remedy}"
        ) from error
    for keyword in ("SOPClassUID", "SeriesInstanceUID"):
        if not text(header, keyword):
            _require_whole_header(path)
            name = dictionary_description(tag_for_keyword(keyword) or 0)
            raise VolumeRefused(
                VolumeRefusal.UNREADABLE_HEADER, f"{path.name} is no DICOM image: it has no {name}; leave it out"
            )
    return header


def _require_whole_header(path: Path) -> None:
    with path.open("rb") as stream:
        if not raw.read_raw_header(stream).whole:
            raise VolumeRefused(
                VolumeRefusal.TRUNCATED_PIXEL_DATA, f"{path.name} ends inside its header; send it again"
            )


def contents_of(paths: Sequence[Path], headers: Sequence[Dataset], frames: FrameChoice) -> Contents:
    """Sort the instances of one series into parts.

    `frames`: which frames of an instance whose frames have no places. Raises VolumeRefused where nothing is left to be
    read, or where what is there is not one thing: the reason of PS3.3 C.7.6.1 to C.7.6.3 and C.7.6.16 that it breaks.
    """
    _require_one_series(headers)
    _require_one_patient(headers)
    left_out: list[LeftOut] = []
    instances = list(_images(zip(paths, headers, strict=True), left_out))
    instances = _without_copies(instances, left_out)
    instances = list(_to_be_read(instances, left_out))
    if not instances:
        _refuse(left_out)
    parts = [*_stacks(instances), *_volumes(instances), *_images_by_themselves(instances, frames)]
    return Contents(tuple(parts), tuple(left_out))


def _refuse(left_out: Sequence[LeftOut]) -> None:
    first = left_out[0]
    more = f" (and {len(left_out) - 1} more instances that are not read)" if len(left_out) > 1 else ""
    raise VolumeRefused(first.reason, first.detail + more)


def _require_one_series(headers: Sequence[Dataset]) -> None:
    series = sorted({text(header, "SeriesInstanceUID") for header in headers})
    if len(series) > 1:
        raise VolumeRefused(
            VolumeRefusal.SEVERAL_SERIES,
            f"files of {len(series)} series were given as one: {', '.join(series[:3])}; give them one by one",
        )


def _require_one_patient(headers: Sequence[Dataset]) -> None:
    """A series that disagrees in itself on whom it is of is never read; which half is right, nobody here can tell."""
    named = {text(header, "SOPInstanceUID"): patient_of(header) for header in headers}
    found = first_contradiction(named.values())
    if found is not None:
        one, other = (
            next(uid for uid, who in named.items() if who == patient) for patient in (found.first, found.second)
        )
        raise VolumeRefused(
            VolumeRefusal.CONTRADICTING_PATIENTS,
            f"{found.attributes} of instances {one} and {other} contradict each other in one series; send it corrected",
        )


# --- Which instances are read -----------------------------------------------------------------------------------------


def _images(files: Iterable[tuple[Path, Dataset]], left_out: list[LeftOut]) -> Iterable[_Instance]:
    for path, header in files:
        sop_class = text(header, "SOPClassUID")
        kind = image_kind(sop_class)
        if kind is not None:
            yield _Instance(path, header, kind)
            continue
        uid, name = text(header, "SOPInstanceUID"), UID(sop_class).name
        if holds_images(sop_class):
            reason, why = VolumeRefusal.UNSUPPORTED_SOP_CLASS, f"is of a class that is not read ({name})"
        else:
            reason, why = VolumeRefusal.NO_IMAGE, f"is no image ({name})"
        left_out.append(LeftOut(uid, path.name, reason, f"instance {uid} {why}; send the images that it was made from"))


def _without_copies(instances: Sequence[_Instance], left_out: list[LeftOut]) -> list[_Instance]:
    """Each SOP Instance UID once. Copies hold the same data set; two that differ are refused, naming both files."""
    first: dict[str, _Instance] = {}
    for instance in instances:
        known = first.setdefault(instance.uid, instance)
        if known is not instance and _data_set_digest(known.path) != _data_set_digest(instance.path):
            raise VolumeRefused(
                VolumeRefusal.DIFFERENT_COPIES,
                f"{known.path.name} and {instance.path.name} have one SOP Instance UID and differ; keep the right one",
            )
    return list(first.values())


def _data_set_digest(path: Path) -> bytes:
    """Of everything after the file meta information, which tells who wrote the copy."""
    with path.open("rb") as stream:
        try:
            stream.seek(data_set_offset(stream))
        except UnparseableInstance:
            stream.seek(0)
        return hashlib.sha256(stream.read()).digest()


def _to_be_read(instances: Sequence[_Instance], left_out: list[LeftOut]) -> Iterable[_Instance]:
    acquired = any(instance.kind is not ImageKind.CAPTURE for instance in instances)
    for instance in instances:
        flaw = _flaw(instance) or (_screenshot(instance) if acquired else None)
        if flaw is None:
            yield instance
        else:
            reason, detail = flaw
            left_out.append(LeftOut(instance.uid, instance.path.name, reason, f"instance {instance.uid} {detail}"))


def _flaw(instance: _Instance) -> tuple[VolumeRefusal, str] | None:
    """Why an image is not read, whatever stands beside it."""
    header = instance.header
    image_type = [value.upper() for value in texts(header, "ImageType")]
    if "LOCALIZER" in image_type:
        return (
            VolumeRefusal.LOCALIZER,
            "is a localizer, which no one reads findings from; send the images planned on it",
        )
    if "MOSAIC" in image_type:
        return VolumeRefusal.MOSAIC, "holds many slices tiled into one image; send it as slices or as enhanced MR"
    pixels = (integer(header, "Rows") or 0) * (integer(header, "Columns") or 0)
    if not pixels:
        return VolumeRefusal.NO_PIXEL_DATA, "has no rows or columns; send it with its pixels"
    if pixels < _LEAST_PIXELS:
        return VolumeRefusal.NO_PIXEL_DATA, f"has {pixels} pixels, which is no image to read; send the image itself"
    count = number_of_frames(header)
    if count > instance.path.stat().st_size:
        return (
            VolumeRefusal.TRUNCATED_PIXEL_DATA,
            f"claims {count:.15g} frames, more than its file has bytes; send it again",
        )
    if instance.kind is ImageKind.SLICE and count > 1:
        return (
            VolumeRefusal.FRAMES_IN_SINGLE_FRAME_CLASS,
            f"holds {count} frames in a class of single frames; send it as enhanced multi-frame",
        )
    return _claims_too_much(instance, count)


_LEAST_PIXELS = 8


def _claims_too_much(instance: _Instance, count: int) -> tuple[VolumeRefusal, str] | None:
    """Why several frames cannot be what they claim: a place is made for each before the first pixel is looked at."""
    header, size = instance.header, instance.path.stat().st_size
    if count > MOST_FRAMES:
        return (
            VolumeRefusal.TOO_LARGE,
            f"claims {count:,} frames, and at most {MOST_FRAMES:,} are read; send it in parts",
        )
    bits = (integer(header, "Rows") or 0) * (integer(header, "Columns") or 0) * (integer(header, "BitsAllocated") or 0)
    syntax = text(getattr(header, "file_meta", Dataset()), "TransferSyntaxUID")
    least = count * bits // 8 if syntax in PLAIN_SYNTAXES else count * _LEAST_FRAME_BYTES
    if count > 1 and least > size:
        claimed = f"{count:,} frames, which take {least:,} bytes at the least"
        return VolumeRefusal.TRUNCATED_PIXEL_DATA, f"claims {claimed}, and its file has {size:,}; send it again"
    return None


_LEAST_FRAME_BYTES = 10
"""The head of a fragment, and what a frame that is deflated by itself takes at the least."""


def _screenshot(instance: _Instance) -> tuple[VolumeRefusal, str] | None:
    if instance.kind is ImageKind.CAPTURE:
        return VolumeRefusal.SCREENSHOT, "is a secondary capture beside acquired images; send it alone to have it read"
    return None


# --- Parts ------------------------------------------------------------------------------------------------------------


def _stacks(instances: Sequence[_Instance]) -> list[Planned]:
    """The parts of instances that are a slice each, an enhanced one with a single frame included."""
    slices = [
        PlacedSlice(one.path, one.header, None, instance_plane(one.header))
        for one in instances
        if one.kind is ImageKind.SLICE
    ]
    slices += [
        PlacedSlice(one.path, one.header, 0, instance_plane(one.header, 0))
        for one in instances
        if one.kind is ImageKind.MULTI_FRAME and number_of_frames(one.header) == 1
    ]
    return arranged(slices)


def _volumes(instances: Sequence[_Instance]) -> list[Planned]:
    """The parts of multi-frame instances, each instance by itself."""
    parts: list[Planned] = []
    several = [one for one in instances if _is_volume(one)]
    names = _names(several)
    for instance, name in zip(several, names, strict=True):
        count = number_of_frames(instance.header)
        found = arranged(
            [PlacedSlice(instance.path, instance.header, k, instance_plane(instance.header, k)) for k in range(count)]
        )
        parts += [Planned(one.slices, one.geometry, ", ".join(filter(None, [name, one.name]))) for one in found]
    return parts


def _is_volume(instance: _Instance) -> bool:
    if instance.kind is ImageKind.MULTI_FRAME:
        return number_of_frames(instance.header) > 1
    return (
        instance.kind is ImageKind.TOMOGRAM
        and functional_group(instance.header, 0, "PlanePositionSequence") is not None
    )


def _images_by_themselves(instances: Sequence[_Instance], frames: FrameChoice) -> list[Planned]:
    """A part for each image without patient geometry, in the order of instance numbers."""
    alone = [one for one in instances if one.kind in (ImageKind.IMAGE, ImageKind.CAPTURE)]
    alone += [one for one in instances if one.kind is ImageKind.TOMOGRAM and not _is_volume(one)]
    alone.sort(key=lambda one: (integer(one.header, "InstanceNumber") or 0, one.uid))
    parts = []
    for instance, name in zip(alone, _names(alone), strict=True):
        count = number_of_frames(instance.header)
        chosen = frames.of(count) if count > 1 else [None]
        slices = [Slice(instance.path, instance.header, k) for k in chosen]
        which = _frames_name(slices, count) if count > 1 else ""
        parts.append(Planned(tuple(slices), None, ", ".join(filter(None, [name, which]))))
    return parts


def _names(instances: Sequence[_Instance]) -> list[str]:
    """What each is called beside the others: its Instance Number where that tells them apart, else its place."""
    if len(instances) == 1:
        return [""]
    numbers = [integer(one.header, "InstanceNumber") for one in instances]
    if None in numbers or len(set(numbers)) < len(numbers):
        return [f"image {place}" for place in range(1, len(instances) + 1)]
    views = [text(one.header, "ViewPosition") for one in instances]
    return [f"instance {number}" + (f" ({view})" if view else "") for number, view in zip(numbers, views, strict=True)]


_FRAMES_NAMED = 10


def _frames_name(slices: Sequence[Slice], count: int) -> str:
    numbers = [(item.frame or 0) + 1 for item in slices]
    if len(numbers) == 1:
        return f"frame {numbers[0]} of {count}"
    shown = ", ".join(map(str, numbers[:_FRAMES_NAMED])) + (", ..." if len(numbers) > _FRAMES_NAMED else "")
    return f"all {count} frames" if len(numbers) == count else f"{len(numbers)} of {count} frames: {shown}"
