"""What came back from an archive, beside what was sent: object by object, and mark by mark where it lies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from scipy.spatial import cKDTree

from dicom_node.commissioning.body import MARKS, Body, BodySeries, Mark
from dicom_node.commissioning.placement import side_of
from dicom_node.commissioning.points import (
    Found,
    bright_in_images,
    content_items,
    contour_points,
    segment_points,
)
from dicom_node.commissioning.sameness import compared
from dicom_node.errors import ResultRefused
from dicom_node.results import codes
from dicom_node.results.profiles import ResultKind

__all__ = ["BodyVerdict", "MarkVerdict", "ObjectVerdict", "SentResult", "SeriesVerdict", "check_body", "read_returned"]

_TOLERANCE = 0.5
"""mm, or pixels of a projection: what decimals of positions may lose, and far less than a voxel."""


@dataclass(frozen=True)
class SentResult:
    """A result object that was sent. `series`: the name of the body's series that it is of.

    `refusal`: what the archive said where it did not take it.
    """

    series: str
    kind: ResultKind
    path: Path
    refusal: str = ""


@dataclass(frozen=True)
class MarkVerdict:
    """Where one mark came back.

    `off`: mm (of a projection: pixels) between the mark's voxels and the nearest that came back, the worst of both
    ways; None where nothing came back. `in_images`: in the images themselves, by their own headers; `by_positions`: in
    the SEG, by its frames' positions; `by_images`: in the SEG or in a report's contours, by the images that they refer
    to. A way that there is none of is left out. `slices`: Instance Numbers of the images; `side`: letters.
    """

    mark: str
    off: Mapping[str, float | None]
    side: str
    true_side: str
    slices: str
    true_slices: str
    ok: bool


@dataclass(frozen=True)
class ObjectVerdict:
    """What became of the images of a series, or of a result object. `sop_instance_uid`: empty for images."""

    what: str
    ok: bool
    detail: str
    sop_instance_uid: str = ""


@dataclass(frozen=True)
class SeriesVerdict:
    """A series of the body with its results. `unit`: of distances: mm, or px on a projection."""

    name: str
    series_uid: str
    unit: str
    objects: tuple[ObjectVerdict, ...]
    marks: tuple[MarkVerdict, ...]

    @property
    def ok(self) -> bool:
        return all(one.ok for one in self.objects) and all(one.ok for one in self.marks)

    @property
    def drawn(self) -> bool:
        """Whether a result says where the marks lie; else they are checked in the images alone."""
        return any(set(mark.off) - {"in_images"} for mark in self.marks)


@dataclass(frozen=True)
class BodyVerdict:
    """All series. `strays`: how many instances came back that were not sent."""

    series: tuple[SeriesVerdict, ...]
    strays: int

    @property
    def ok(self) -> bool:
        return all(one.ok for one in self.series)

    @property
    def told(self) -> str:
        """What was checked and holds, in a few words, or that something does not."""
        if not self.ok:
            return "Something did not come back right"
        drawn = [one.drawn for one in self.series]
        if all(drawn):
            return "All marks came back"
        return "Images, marks and pictures came back" if any(drawn) else "Images and pictures came back"

    @property
    def unchecked(self) -> str:
        """What was not checked, as a sentence; "" for nothing."""
        names = [one.name for one in self.series if not one.drawn]
        if not names:
            return ""
        where = "in this profile" if len(names) == len(self.series) else f"of {', '.join(names)}"
        return (
            f"Not checked: {where} the marks are checked in the images; that pictures came back pixel for pixel is "
            "checked, not where their contours lie: look at them."
        )


def read_returned(paths: Sequence[Path]) -> dict[str, Dataset]:
    """Files from an archive by SOP Instance UID. Raises ResultRefused for one that is no DICOM file."""
    returned: dict[str, Dataset] = {}
    for path in paths:
        try:
            dataset = pydicom.dcmread(path)
            returned[str(dataset.SOPInstanceUID)] = dataset
        except (pydicom.errors.InvalidDicomError, AttributeError, EOFError) as error:
            raise ResultRefused(f"the archive gave {path.name}, which is no DICOM file: {error}") from error
    return returned


def check_body(body: Body, results: Sequence[SentResult], returned: Mapping[str, Dataset]) -> BodyVerdict:
    """Compare what came back with the body and with the results that were sent."""
    sent = {image.sop_instance_uid for series in body.series for image in series.images}
    verdicts = []
    for series in body.series:
        own = [result for result in results if result.series == series.name]
        read = [(result, pydicom.dcmread(result.path)) for result in own]
        sent |= {str(dataset.SOPInstanceUID) for _, dataset in read}
        verdicts.append(_check_series(series, read, returned))
    return BodyVerdict(tuple(verdicts), len(set(returned) - sent))


def _check_series(
    series: BodySeries, results: Sequence[tuple[SentResult, Dataset]], returned: Mapping[str, Dataset]
) -> SeriesVerdict:
    images = {one.sop_instance_uid: returned[one.sop_instance_uid] for one in series.images
              if one.sop_instance_uid in returned}  # fmt: skip
    found: dict[str, Found] = {}
    objects = [_check_images(series, images)]
    try:
        found["in_images"] = bright_in_images(images)
    except Exception as error:  # decoders raise their own
        objects.append(ObjectVerdict("images", False, f"their pixels do not decode ({type(error).__name__})"))
    for result, sent in results:
        verdict, more = _check_result(series, result, sent, images, returned)
        objects.append(verdict)
        found |= more
    marks = tuple(_check_mark(mark, series, found) for mark in MARKS) if found else ()
    unit = "mm" if series.voxel_mm3 is not None else "px"
    return SeriesVerdict(series.name, series.series_uid, unit, tuple(objects), marks)


# --- Objects ----------------------------------------------------------------------------------------------------------


def _check_images(series: BodySeries, images: Mapping[str, Dataset]) -> ObjectVerdict:
    missing = len(series.images) - len(images)
    wrong = [f"{missing} of {len(series.images)} images did not come back"] if missing else []
    changed: dict[str, int] = {}
    noted: dict[str, int] = {}
    for image in series.images:
        if (back := images.get(image.sop_instance_uid)) is None:
            continue
        difference = compared(pydicom.dcmread(image.path), back)
        for names, counts in ((difference.wrong, changed), (difference.noted, noted)):
            for name in names:
                counts[name] = counts.get(name, 0) + 1
    wrong += [f"{name} is another in {count} of {len(images)}" for name, count in changed.items()]
    if wrong:
        return ObjectVerdict("images", False, "; ".join(wrong))
    also = f"; the archive changed {', '.join(noted)}" if noted else ""
    return ObjectVerdict("images", True, f"{len(images)} came back with the same pixels and places{also}")


def _check_result(
    series: BodySeries,
    result: SentResult,
    sent: Dataset,
    images: Mapping[str, Dataset],
    returned: Mapping[str, Dataset],
) -> tuple[ObjectVerdict, dict[str, Found]]:
    uid, kind = str(sent.SOPInstanceUID), result.kind
    back = returned.get(uid)
    if back is None:
        found: dict[str, Found] = {}
        if kind is ResultKind.SEGMENTATION:
            nothing = Found(np.empty((0, 3)), np.empty(0, np.int64))
            found = {"by_positions": nothing, "by_images": nothing}
        why = f"the archive did not take it: {result.refusal}" if result.refusal else "did not come back"
        return ObjectVerdict(kind.value, False, why, uid), found
    try:
        wrong, said, found = _content_of(series, kind, back, images, returned)
        difference = compared(sent, back)
    except Exception as error:  # decoders and other people's encoders raise their own
        return ObjectVerdict(kind.value, False, f"cannot be read ({type(error).__name__}: {error})", uid), {}
    wrong += [f"{name} is another" for name in difference.wrong]
    also = [f"the archive changed {', '.join(difference.noted)}"] if difference.noted else []
    return ObjectVerdict(kind.value, not wrong, "; ".join([*(wrong or ["came back"]), *said, *also]), uid), found


def _content_of(
    series: BodySeries, kind: ResultKind, back: Dataset, images: Mapping[str, Dataset], returned: Mapping[str, Dataset]
) -> tuple[list[str], list[str], dict[str, Found]]:
    """What is wrong with an object, what else is to say, and the marked voxels that it holds."""
    wrong: list[str] = []
    said: list[str] = []
    found: dict[str, Found] = {}
    if kind is ResultKind.SEGMENTATION:
        by_positions, by_images = segment_points(back, images)
        found = {"by_positions": by_positions, "by_images": by_images}
        if by_images.unplaced:
            wrong.append(f"{by_images.unplaced} marked pixels lie on images that did not come back")
    elif kind is ResultKind.REPORT:
        wrong += _lost_references(back, returned)
        known, size = _sizes(series, back)
        (said if known else wrong).append(size)
        contours = contour_points(back, images)
        if contours is not None:
            found["by_images"] = contours
            if contours.unplaced:
                wrong.append(f"{contours.unplaced} contours lie on images that did not come back")
    return wrong, said, found


def _lost_references(report: Dataset, returned: Mapping[str, Dataset]) -> Iterator[str]:
    named = {
        str(one.ReferencedSOPInstanceUID)
        for item in content_items(report)
        for one in item.get("ReferencedSOPSequence") or ()
    }
    if lost := len(named - set(returned)):
        yield f"{lost} of {len(named)} instances that it refers to did not come back"


_FACTORS = {"ml": 1000.0, "cm3": 1000.0, "mm3": 1.0, "mm2": 1.0, "cm2": 100.0}


def _sizes(series: BodySeries, report: Dataset) -> tuple[bool, str]:
    """Whether the volume (of a projection: the area) that a report states is the known one, and a sentence."""
    volume = series.voxel_mm3 is not None
    concept = codes.VOLUME if volume else codes.AREA
    known = series.marked_pixels * (series.voxel_mm3 if series.voxel_mm3 is not None else series.pixel_mm2)
    name, unit, divisor = ("volume", "ml", 1000.0) if volume else ("area", "mm2", 1.0)
    for item in content_items(report):
        if item.get("ValueType") != "NUM" or item.ConceptNameCodeSequence[0].get("CodeValue") != concept.value:
            continue
        measured = item.MeasuredValueSequence[0]
        factor = _FACTORS.get(str(measured.MeasurementUnitsCodeSequence[0].CodeValue), 1.0)
        value = float(measured.NumericValue) * factor
        good = abs(value - known) <= 0.06 * divisor + 0.001 * known
        return good, f"{name} {value / divisor:.1f} {unit}, known {known / divisor:.1f} {unit}"
    return True, f"states no {name}"


# --- Marks ------------------------------------------------------------------------------------------------------------


def _check_mark(mark: Mark, series: BodySeries, found: Mapping[str, Found]) -> MarkVerdict:
    every = np.concatenate([series.points(one) for one in MARKS])
    owners = np.repeat(np.arange(len(MARKS)), [len(series.points(one)) for one in MARKS])
    own = MARKS.index(mark)
    expected = series.points(mark)
    off: dict[str, float | None] = {}
    points, numbers = np.empty((0, 3)), np.empty(0, np.int64)
    for way, there in found.items():
        nearest = owners[cKDTree(every).query(there.points)[1]] if len(there.points) else np.empty(0, np.int64)
        mine = nearest == own
        off[way] = _apart(expected, there.points[mine], there.points)
        if mine.any() or way == "by_positions":
            points, numbers = there.points[mine], there.numbers[mine]
    true_numbers = [image.number for image in series.images if mark.name in image.marked]
    worst = [value for value in off.values() if value is None or value > _TOLERANCE]
    return MarkVerdict(
        mark=mark.name,
        off=off,
        side=_side(points, series),
        true_side=_side(expected, series),
        slices=_listed(number for number in numbers.tolist() if number),
        true_slices=_listed(true_numbers),
        ok=not worst,
    )


def _apart(expected: NDArray[np.float64], mine: NDArray[np.float64], there: NDArray[np.float64]) -> float | None:
    """The farthest that a voxel of one lies from the nearest of the other, both ways (the Hausdorff distance)."""
    if not len(mine):
        return None
    forth = float(cKDTree(there).query(expected)[0].max())
    return max(forth, float(cKDTree(expected).query(mine)[0].max()))


def _side(points: NDArray[np.float64], series: BodySeries) -> str:
    if not len(points):
        return ""
    middle = points.mean(axis=0)
    if series.voxel_mm3 is None:  # columns grow to the patient's left, rows to the feet
        centre = np.concatenate([image_centre(series), [0.0]])
        column, row, _ = middle - centre
        middle = np.array([column, 0.0, -row])
    return side_of(middle)


def image_centre(series: BodySeries) -> NDArray[np.float64]:
    """Column and row of the middle of a projection."""
    header = pydicom.dcmread(series.images[0].path, stop_before_pixels=True)
    return np.array([(header.Columns - 1) / 2, (header.Rows - 1) / 2], dtype=np.float64)


def _listed(numbers: Iterator[int] | Sequence[int]) -> str:
    """Numbers in order, runs of them as 3-5."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
