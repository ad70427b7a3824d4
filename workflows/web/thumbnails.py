"""Thumbnails: the key slice of a study with its contours, kept as a small file beside the results."""

from __future__ import annotations

import hashlib
import io
from contextlib import suppress
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dicom_node.results.colours import colour_of
from dicom_node.results.mask_file import BoxedMask, key_slice
from dicom_node.showing.outlines import loops
from dicom_node.volumes.display import DisplayView
from workflows.bootstrap import Node
from workflows.errors import NotShown
from workflows.state.records import Job, ResultObject
from workflows.state.reviewing import FindingPlace, Review
from workflows.state.views import JobView, Selection
from workflows.steps.showing import Showing, part_findings

__all__ = ["thumbnail"]

log = structlog.get_logger()
_SIZE = 112
_DRAWN = 336
"""Contours are drawn on a larger picture, so that they stay thin and smooth."""


def thumbnail(node: Node, showing: Showing, study_uid: str) -> bytes:
    """A PNG of 112 x 112 pixels; a dark square where no answered job has an image that can be shown."""
    views = node.repository.study_views(Selection(study_uid=study_uid))
    jobs = [one for view in views for one in view.jobs if one.job.answers]
    if not jobs:
        return _EMPTY
    chosen = next((one for one in jobs if one.job.seen), jobs[0])
    review = node.repository.review(study_uid)
    kept = node.folder.results / study_uid / f"thumbnail-{_version(chosen.job, review)}.png"
    with suppress(OSError):
        return kept.read_bytes()
    try:
        content = _made(chosen, showing, review)
    except (NotShown, LookupError) as error:
        log.info("no_thumbnail", study_uid=study_uid, reason=str(error))
        return _EMPTY
    _keep(kept, content)
    return content


def _version(job: Job, review: Review | None) -> str:
    """Of what is drawn: the job's answer and the corrections of its review."""
    corrections = [] if review is None else [one.correction or "" for one in review.verdicts]
    told = "\n".join([job.job_key, str(job.edition), *corrections])
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _keep(path: Path, content: bytes) -> None:
    with suppress(OSError):
        for older in path.parent.glob("thumbnail-*.png"):
            older.unlink(missing_ok=True)
        draft = path.with_name(f".{path.name}.draft")
        draft.write_bytes(content)
        draft.replace(path)


def _made(view: JobView, showing: Showing, review: Review | None) -> bytes:
    job = view.job
    objects = tuple(one.result for one in view.objects)
    part = next((answer.part for answer in job.answers if answer.findings), 0)
    drawn = _marked(job, objects, part, showing, review)
    stack = showing.stack(job, part)
    index = _key_slice(drawn, len(stack.slices))
    picture = Image.fromarray(showing.pixels(job, part, index)).convert("RGB")
    spacing = stack.pixel_spacing_mm or (1.0, 1.0)
    if stack.view.transpose:
        spacing = (spacing[1], spacing[0])
    scale = _DRAWN / max(picture.width * spacing[1], picture.height * spacing[0])
    size = max(1, round(picture.width * spacing[1] * scale)), max(1, round(picture.height * spacing[0] * scale))
    shown = picture.resize(size, Image.Resampling.BILINEAR)
    pencil = ImageDraw.Draw(shown)
    for label, mask in drawn:
        _outline(pencil, stack.view, mask[index], colour_of(label), size)
    square = Image.new("RGB", (_DRAWN, _DRAWN))
    square.paste(shown, ((_DRAWN - size[0]) // 2, (_DRAWN - size[1]) // 2))
    return _png(square.resize((_SIZE, _SIZE), Image.Resampling.LANCZOS))


class _Slices:
    """A mask whose slices are unpacked when they are asked for."""

    def __init__(self, mask: BoxedMask, counts: NDArray[np.int64]) -> None:
        self._mask, self.counts = mask, counts

    def __getitem__(self, index: int) -> NDArray[np.bool_]:
        return self._mask.slice(index)


def _marked(
    job: Job, objects: tuple[ResultObject, ...], part: int, showing: Showing, review: Review | None
) -> list[tuple[str, _Slices]]:
    """What is marked on a part, with its labels; nothing where its masks are not kept."""
    try:
        masks, counts = showing.masks(job, objects, part), showing.counts(job, objects, part)
    except NotShown:
        return []
    found = []
    for place, mask, own in zip(part_findings(job, part), masks, counts, strict=False):
        corrected = showing.corrected(review, place)
        shown = _Slices(mask, own) if corrected is None else _Slices(corrected, corrected.counts())
        found.append((_label(job, place), shown))
    return found


def _label(job: Job, place: FindingPlace) -> str:
    return job.answers[place.answer].findings[place.finding].label


def _key_slice(drawn: list[tuple[str, _Slices]], slices: int) -> int:
    """Where the first finding is largest; the middle where nothing is marked."""
    for _, mask in drawn:
        if (largest := key_slice(mask.counts)) is not None:
            return largest
    return slices // 2


def _outline(
    pencil: ImageDraw.ImageDraw,
    view: DisplayView,
    mask: NDArray[np.bool_],
    colour: tuple[int, int, int],
    size: tuple[int, int],
) -> None:
    shown = view.apply(mask[None])[0]
    rows, columns = shown.shape
    for loop in loops(shown):
        points = [(x * size[0] / columns, y * size[1] / rows) for x, y in [*loop, loop[0]]]
        pencil.line(points, fill=colour, width=4, joint="curve")


def _png(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True)
    return stream.getvalue()


_EMPTY = _png(Image.new("RGB", (_SIZE, _SIZE), (11, 14, 19)))
