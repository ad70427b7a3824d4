"""Where marked pixels lie that came back: of images by their own place, of a SEG and of contours in two ways."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_node.commissioning.placement import placement_of
from dicom_node.headers.functional_groups import functional_group
from dicom_node.results.stored_segmentation import segment_frames, voxel_centres

__all__ = ["Found", "bright_in_images", "content_items", "contour_points", "masks_by_image", "segment_points"]

Points = NDArray[np.float64]
_BRIGHT = 0.9


@dataclass(frozen=True)
class Found:
    """Voxels that came back.

    `points`: `points 3`, mm LPS, or (column, row, 0) on a projection. `numbers`: the Instance Number of the image that
    each lies on, 0 where it names none that came back. `unplaced`: pixels that nothing says the place of.
    """

    points: Points
    numbers: NDArray[np.int64]
    unplaced: int = 0


def _gathered(found: Iterator[tuple[Points, int]], unplaced: int = 0) -> Found:
    parts = list(found)
    points = np.concatenate([np.empty((0, 3)), *(points for points, _ in parts)])
    numbers = [np.full(len(points), number, dtype=np.int64) for points, number in parts]
    return Found(points, np.concatenate([np.empty(0, np.int64), *numbers]), unplaced)


def _number(image: Dataset | None) -> int:
    return 0 if image is None else int(image.get("InstanceNumber") or 0)


def _on_image(image: Dataset, pixels: NDArray[Any]) -> Points:
    """Pixels `points 2` (row, column) of an image -> where they lie."""
    placement = placement_of(image)
    if placement is not None:
        return placement.centres(pixels)
    return np.stack([pixels[:, 1], pixels[:, 0], np.zeros(len(pixels))], axis=1).astype(np.float64)


def bright_in_images(images: Mapping[str, Dataset]) -> Found:
    """What is brightest in images of a series that came back, where their own headers place it."""
    values = {uid: np.asarray(image.pixel_array, dtype=np.float64) for uid, image in images.items()}
    if not values:
        return _gathered(iter(()))
    low, high = min(one.min() for one in values.values()), max(one.max() for one in values.values())
    threshold = low + _BRIGHT * (high - low)

    def bright() -> Iterator[tuple[Points, int]]:
        for uid, image in images.items():
            if low < high and len(pixels := np.argwhere(values[uid] > threshold)):
                yield _on_image(image, pixels), _number(image)

    return _gathered(bright())


def segment_points(segmentation: Dataset, images: Mapping[str, Dataset]) -> tuple[Found, Found]:
    """The voxels of all segments of a SEG: by its frames' own positions, and by the images that its frames refer to.

    A SEG drawn on a projection has no positions: its pixels count as they are.
    """
    by_positions: list[tuple[Points, int]] = []
    by_images: list[tuple[Points, int]] = []
    unplaced = 0
    for segment in segmentation.SegmentSequence:
        for frame in segment_frames(segmentation, int(segment.SegmentNumber)):
            pixels = np.argwhere(frame.mask)
            source = images.get(_source_of(segmentation, frame.index))
            if functional_group(segmentation, frame.index, "PlanePositionSequence") is not None:
                by_positions.append((voxel_centres(segmentation, frame), _number(source)))
            elif source is None or placement_of(source) is None:
                flat = np.stack([pixels[:, 1], pixels[:, 0], np.zeros(len(pixels))], axis=1)
                by_positions.append((flat.astype(np.float64), _number(source)))
            if source is None or source.get("Rows") != segmentation.Rows or source.Columns != segmentation.Columns:
                unplaced += len(pixels)
            else:
                by_images.append((_on_image(source, pixels), _number(source)))
    return _gathered(iter(by_positions)), _gathered(iter(by_images), unplaced)


def _source_of(segmentation: Dataset, frame: int) -> str:
    """The SOP Instance UID of the image that a frame was drawn on; empty where it does not say."""
    derivation = functional_group(segmentation, frame, "DerivationImageSequence")
    sources = (derivation.get("SourceImageSequence") or []) if derivation is not None else []
    return str(sources[0].ReferencedSOPInstanceUID) if sources else ""


def content_items(report: Dataset) -> Iterator[Dataset]:
    """All content items of a structured report, parents first."""
    for item in report.get("ContentSequence") or ():
        yield item
        yield from content_items(item)


def contour_points(report: Dataset, images: Mapping[str, Dataset]) -> Found | None:
    """The pixels within the closed contours of a report, by the images that they refer to; None without contours."""
    contours = list(_contours(report, images))
    found = [
        (_on_image(images[uid], np.argwhere(mask)), _number(images[uid])) for uid, mask in contours if mask is not None
    ]
    return _gathered(iter(found), len(contours) - len(found)) if contours else None


def _contours(report: Dataset, images: Mapping[str, Dataset]) -> Iterator[tuple[str, NDArray[np.bool_] | None]]:
    """The SOP Instance UID of the image that each closed contour names, and the pixels `rows columns` within it.

    The corner of an image is 0, 0 and the centre of its first pixel 0.5, 0.5 (PS3.3 C.18.6.1.2). None: no such image.
    """
    for item in content_items(report):
        if item.get("ValueType") != "SCOORD" or item.get("GraphicType") not in ("POLYLINE", "POLYGON"):
            continue
        corners = np.array(item.GraphicData, dtype=np.float64).reshape(-1, 2)
        if len(corners) < 4 or not np.allclose(corners[0], corners[-1]):
            continue  # an axis
        named = [one for child in item.get("ContentSequence") or () for one in child.get("ReferencedSOPSequence") or ()]
        uid = str(named[0].ReferencedSOPInstanceUID) if named else ""
        image = images.get(uid)
        yield uid, None if image is None else _within(corners, int(image.Rows), int(image.Columns))


def _within(corners: Points, rows: int, columns: int) -> NDArray[np.bool_]:
    """The pixels `rows columns` whose centres lie within a closed polygon (even and odd crossings)."""
    x, y = np.arange(columns) + 0.5, (np.arange(rows) + 0.5)[:, None]
    inside = np.zeros((rows, columns), dtype=np.bool_)
    for (x1, y1), (x2, y2) in pairwise(corners):
        if y1 == y2:
            continue
        crosses = (y1 > y) != (y2 > y)
        inside ^= crosses & (x[None, :] < x1 + (y - y1) * (x2 - x1) / (y2 - y1))
    return inside


def masks_by_image(objects: Iterable[Dataset], images: Mapping[str, Dataset]) -> dict[str, NDArray[np.bool_]]:
    """What SEGs and contours of reports mark on each image that they refer to, by SOP Instance UID; for pictures."""
    masks: dict[str, NDArray[np.bool_]] = {}
    for one in objects:
        for uid, mask in _segmented(one) if one.Modality == "SEG" else _contours(one, images):
            image = images.get(uid)
            if image is not None and mask is not None and (image.Rows, image.Columns) == mask.shape:
                masks[uid] = masks.get(uid, np.zeros(mask.shape, np.bool_)) | mask
    return masks


def _segmented(segmentation: Dataset) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    for segment in segmentation.SegmentSequence:
        for frame in segment_frames(segmentation, int(segment.SegmentNumber)):
            yield _source_of(segmentation, frame.index), frame.mask
