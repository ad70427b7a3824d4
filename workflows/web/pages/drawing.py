"""Three planes and drawing: volumes and masks for Niivue, and corrected masks that come back."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, HTTPException, Request
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from dicom_node.errors import MaskRefused, OtherGrid, ResultRefused
from dicom_node.results.nifti_stream import (
    VoxelGrid,
    grid_of,
    largest_mask_bytes,
    mask_stream,
    read_mask,
    volume_stream,
)
from dicom_node.showing.stack import ShownStack
from workflows.bootstrap import Node
from workflows.errors import NotShown
from workflows.state.records import Job
from workflows.state.reviewing import FindingPlace
from workflows.state.views import JobView
from workflows.steps.corrections import correction_mask, keep_correction
from workflows.web.access import Permission, Person, needs
from workflows.web.bodies import takes_body
from workflows.web.rendering import node_of
from workflows.web.showing import job_view_of, not_shown, showing_of

__all__ = ["NIIVUE", "router"]

NIIVUE = Path(__file__).parents[1] / "static" / "vendor" / "niivue.js"
"""What `make web-assets` brings."""

router = APIRouter()
_PART = "/studies/{study_uid}/jobs/{job_key}/parts/{part}"
_MOST_AT_ONCE, _MOST_OF_ONE = 6, 2
_SAVING: Counter[str] = Counter()
"""How many corrections each account saves now; only the loop that answers requests counts."""
_Looker = Annotated[Person, Depends(needs(Permission.LOOK))]
_Reviewer = Annotated[Person, Depends(needs(Permission.REVIEW))]


@dataclass(frozen=True)
class _Part:
    """A part that is drawn on. `grid`: of its voxels."""

    view: JobView
    stack: ShownStack
    grid: VoxelGrid

    @property
    def job(self) -> Job:
        return self.view.job

    @property
    def slice_voxel_ml(self) -> list[float] | None:
        """What a voxel of each slice holds, ml; None where nobody knows."""
        geometry = self.stack.geometry
        if geometry is None or geometry.slice_extents_mm is None:
            return None
        area = float(np.prod(geometry.pixel_spacing_mm))
        return [float(extent) * area / 1000 for extent in geometry.slice_extents_mm]


def _part_of(request: Request, study_uid: str, job_key: str, part: int) -> _Part:
    """404 where a part is not known, 409 or 410 where its images are not here."""
    view = job_view_of(request, study_uid, job_key)
    try:
        stack = showing_of(request).stack(view.job, part)
    except NotShown as error:
        raise not_shown(error) from error
    except LookupError as error:
        raise HTTPException(404, f"{error}; load the page again") from error
    shape = (len(stack.slices), stack.rows, stack.columns)
    return _Part(view, stack, grid_of(stack.geometry, shape, stack.name, color=stack.color))


PartOf = Annotated[_Part, Depends(_part_of)]


@router.get(_PART + "/grid")
def grid(person: _Looker, drawn: PartOf) -> dict[str, Any]:
    """What the page has to know to draw on a part.

    `shape`: slices, rows, columns. `planes`: whether it can be shown in three planes; else `why`. `turn`: from the
    source grid to how slices are shown. `slice_voxel_ml`: what a voxel of each slice holds, null where nobody knows.
    `assets`: whether the scripts for three planes are there.
    """
    turn = drawn.stack.view
    return {
        "shape": drawn.grid.shape,
        "planes": not drawn.grid.why_none,
        "why": drawn.grid.why_none,
        "assets": NIIVUE.is_file(),
        "turn": {"transpose": turn.transpose, "flip_rows": turn.flip_rows, "flip_columns": turn.flip_columns},
        "slice_voxel_ml": drawn.slice_voxel_ml,
        "pixel_spacing_mm": drawn.stack.pixel_spacing_mm,
    }


@router.get(_PART + "/volume.nii.gz")
def volume(request: Request, person: _Looker, drawn: PartOf, part: int) -> Response:
    """The part's values on its source grid, as they were read."""
    if drawn.grid.why_none:
        raise HTTPException(409, f"No three planes: {drawn.grid.why_none}.")
    tag = f'"{_digest_of(drawn.job, part)}"'
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=_headers(tag))
    try:
        values = showing_of(request).volume(drawn.job, part).values
    except NotShown as error:
        raise not_shown(error) from error
    return _nifti(volume_stream(np.asarray(values, dtype=np.float32), drawn.grid), tag)


@router.get(_PART + "/masks/empty.nii.gz")
def empty(person: _Looker, drawn: PartOf) -> Response:
    """A mask of nothing: where something that was missed is drawn from."""
    return _masked(np.zeros(drawn.grid.shape, dtype=bool), drawn)


@router.get(_PART + "/masks/{answer}/{finding}.nii.gz")
def mask(request: Request, person: _Looker, drawn: PartOf, part: int, answer: int, finding: int) -> Response:
    """The mask of a finding on its part's source grid."""
    showing = showing_of(request)
    try:
        number = showing.findings(drawn.job, part).index(FindingPlace(drawn.job.job_key, answer, finding))
        found = showing.masks(drawn.job, tuple(one.result for one in drawn.view.objects), part)[number]
    except NotShown as error:
        raise not_shown(error) from error
    except (ValueError, IndexError) as error:
        raise HTTPException(404, "this finding is not known here any more; load the page again") from error
    return _masked(found.whole, drawn)


@router.get(_PART + "/corrections/{digest}.nii.gz")
def corrected(
    request: Request, person: _Looker, drawn: PartOf, study_uid: str, job_key: str, part: int, digest: str
) -> Response:
    """A corrected mask that was saved."""
    node = node_of(request)
    correction = node.repository.correction(study_uid, digest)
    if correction is None or (correction.job_key, correction.part) != (job_key, part):
        raise HTTPException(404, "this correction is not known any more; load the page again")
    try:
        return _masked(correction_mask(correction, node.folder), drawn)
    except (ResultRefused, FileNotFoundError) as error:
        raise HTTPException(410, "the file of this correction is gone or damaged; draw it again") from error


@router.post(_PART + "/corrections")
@takes_body(megabytes=512)
async def correct(
    request: Request, person: _Reviewer, drawn: PartOf, study_uid: str, job_key: str, part: int
) -> dict[str, Any]:
    """Keep a mask that was drawn on this part: .nii or .nii.gz, uint8, zeros and ones, on the source grid."""
    with _saving(person.account):
        content = await _body(request, largest_mask_bytes(drawn.grid))
        return await run_in_threadpool(_kept, node_of(request), person, (study_uid, job_key, part), content, drawn)


@contextmanager
def _saving(account: str) -> Iterator[None]:
    """Each mask that comes in stands in memory: a few at once, so that they do not fill it. Raises 503."""
    if _SAVING[account] >= _MOST_OF_ONE or _SAVING.total() >= _MOST_AT_ONCE:
        sentence = "other corrections are being saved just now; this one is kept in the page, save it again in a moment"
        raise HTTPException(503, sentence, {"Retry-After": "2"})
    _SAVING[account] += 1
    try:
        yield
    finally:
        _SAVING[account] -= 1
        if not _SAVING[account]:
            del _SAVING[account]


def _kept(node: Node, person: Person, place: tuple[str, str, int], content: bytes, drawn: _Part) -> dict[str, Any]:
    try:
        marked = read_mask(content, drawn.grid)
    except OtherGrid as error:
        raise HTTPException(409, str(error)) from error
    except MaskRefused as error:
        raise HTTPException(422, f"the correction was not saved: {error}") from error
    if not marked.any():
        raise HTTPException(422, "the correction was not saved: nothing is marked; if nothing is there, say not there")
    kept = keep_correction(marked, place, person.account, datetime.now(UTC), node.repository, node.folder)
    if kept is None:
        raise HTTPException(404, "the study was deleted while it was open; nothing can be saved of it")
    each = drawn.slice_voxel_ml
    ml = None if each is None else round(float(marked.sum(axis=(1, 2)) @ np.array(each)), 3)
    return {"digest": kept.digest, "voxels": kept.voxels, "ml": ml}


async def _body(request: Request, limit: int) -> bytes:
    content = bytearray()
    async for piece in request.stream():
        content += piece
        if len(content) > limit:
            raise HTTPException(413, f"more than {limit:,} bytes, and no mask of these images has; send the mask alone")
    return bytes(content)


def _digest_of(job: Job, part: int) -> str:
    """What the voxels of a part follow from, as a digest."""
    told = "\n".join((*job.inputs, repr(job.frames), str(part)))
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def _masked(marked: NDArray[np.bool_], drawn: _Part) -> Response:
    if marked.shape != drawn.grid.shape:
        raise HTTPException(409, "this mask is on another grid than the images have now; read the study again")
    return _nifti(mask_stream(marked, drawn.grid))


def _nifti(pieces: Iterable[bytes], tag: str = "") -> Response:
    return StreamingResponse(pieces, media_type="application/gzip", headers=_headers(tag))


def _headers(tag: str) -> dict[str, str]:
    return {"ETag": tag, "Cache-Control": "private, no-cache"} if tag else {"Cache-Control": "no-store"}
