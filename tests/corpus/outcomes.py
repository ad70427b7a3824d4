"""What becomes of some files when they are asked about, in both profiles, and whether it is right."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any
from unittest.mock import patch

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from dicom_node.errors import DicomNodeError, VolumeRefused, without_values
from dicom_node.results.profiles import Profile, ResultKind
from tests.corpus.predictors import Mark, MarkingPredictor
from tests.corpus.stored import StoredFrame, farthest_mm, stored_frames
from workflows.commands.ask import ask
from workflows.errors import WorkflowError
from workflows.settings import ModelSettings, ResultsSettings, Settings

__all__ = ["Outcome", "OutcomeKind", "TimeLimit", "ask_in_both_profiles", "ask_once"]

_OFF_MM = 0.05
"""A SEG's frame this far from its source lies elsewhere: positions are decimal strings."""


class OutcomeKind(Enum):
    """How it ended; the worst is what counts for both profiles together."""

    ANSWERED = "answered"
    REPORT_ONLY = "report only"
    REFUSED = "refused"
    WRONG = "WRONG"
    TIME = "TIME"
    CRASH = "CRASH"


@dataclass(frozen=True)
class Outcome:
    """`reason`: of a refusal its kind, of a crash the exception's type. `detail`: what was said, or where it crashed.

    `marked`: voxels that the predictor marked of each part; `stored`: voxels in each SEG; `outlined`: pixels inside all
    contours of the report. `off_mm`: the farthest that a SEG's frame lies from its source. `answer`: what `answer.json`
    holds; `frames`: of the SEG of each part, none where it has none.
    """

    kind: OutcomeKind
    reason: str = ""
    detail: str = ""
    marked: tuple[int, ...] = ()
    stored: tuple[int, ...] = ()
    outlined: float = 0.0
    off_mm: float = 0.0
    seconds: float = 0.0
    answer: dict[str, Any] | None = None
    frames: tuple[tuple[StoredFrame, ...], ...] = ()

    @property
    def name(self) -> str:
        return f"{self.kind.value}: {self.reason}" if self.reason else self.kind.value

    @property
    def left_out(self) -> list[Any]:
        """The instances that were left out, as `answer.json` names them."""
        return list((self.answer or {}).get("left_out") or [])


class TimeLimit(BaseException):
    """It took too long. No Exception, so that nothing takes it for a fault of the files."""


def ask_in_both_profiles(files: Sequence[Path], mark: Mark, limit_s: float) -> Outcome:
    """The worse of the outcomes in the profiles `air` and `ohif`; its reason names the profile where they differ."""
    outcomes = {profile: ask_once(files, mark, profile, limit_s) for profile in (Profile.AIR, Profile.OHIF)}
    order = list(OutcomeKind)
    profile, worst = max(outcomes.items(), key=lambda item: order.index(item[1].kind))
    if len({outcome.name for outcome in outcomes.values()}) > 1:
        worst = replace(worst, detail=f"profile {profile.value} alone: {worst.detail}")
    return replace(worst, seconds=sum(outcome.seconds for outcome in outcomes.values()))


def ask_once(
    files: Sequence[Path],
    mark: Mark,
    profile: Profile,
    limit_s: float = 300.0,
    *,
    keep: Path | None = None,
    overlay: bool = True,
) -> Outcome:
    """Ask about `files` as `medseg-node ask` does, with a predictor that marks `mark`.

    The results go to the folder `keep`, without one to a folder that is taken away again. `overlay`: draw its picture,
    which takes most of the time.
    """
    predictor = MarkingPredictor(mark)
    settings = Settings(model=ModelSettings(checkpoint="commissioning"), results=ResultsSettings(profile=profile))
    start = time.monotonic()
    with TemporaryDirectory() as name:
        folder, out = Path(name) / "in", keep or Path(name) / "out"
        folder.mkdir()
        for number, file in enumerate(files):
            (folder / f"{number:05d}-{file.name}").symlink_to(file.resolve())
        path = folder if len(files) != 1 else next(folder.iterdir())
        try:
            with _time_limit(limit_s), _quiet(), _instead_of_the_model(predictor, overlay):
                answer = ask(path, "Where are the bright voxels?", settings, out)
        except (DicomNodeError, WorkflowError) as error:
            reason = error.reason.value if isinstance(error, VolumeRefused) else type(error).__name__
            outcome = Outcome(OutcomeKind.REFUSED, reason, _shortened(error, Path(name)))
        except TimeLimit:
            outcome = Outcome(OutcomeKind.TIME, f"over {limit_s:.0f} s")
        except Exception as error:  # the edge: a crash is a result here
            outcome = Outcome(
                OutcomeKind.CRASH, type(error).__name__, f"{_place(error)}: {_shortened(error, Path(name))}"
            )
        else:
            outcome = _checked(answer, predictor, files)
    return replace(outcome, marked=tuple(predictor.marked), seconds=time.monotonic() - start)


def _checked(answer: dict[str, Any], predictor: MarkingPredictor, files: Sequence[Path]) -> Outcome:
    """Whether every marked voxel is stored, in frames that lie where the images lie that they name.

    A part without a SEG, as a viewer gets a projection image, must have a contour instead.
    """
    results = [(ResultKind(result["kind"]), Path(result["path"])) for result in answer["results"]]
    segmentations = {path.name: path for kind, path in results if kind is ResultKind.SEGMENTATION}
    (report,) = [path for kind, path in results if kind is ResultKind.REPORT]
    names = [f"seg-{number}.dcm" if number > 1 else "seg.dcm" for number in range(1, len(predictor.marked) + 1)]
    frames = tuple(tuple(stored_frames(segmentations[name])) if name in segmentations else () for name in names)
    segmented = [number for number, name in enumerate(names) if name in segmentations]
    stored = tuple(sum(int(frame.mask.sum()) for frame in frames[number]) for number in segmented)
    off_mm = max((farthest_mm(frames[number], files) for number in segmented), default=0.0)
    outlined = _outlined(report)
    outcome = Outcome(
        OutcomeKind.ANSWERED,
        stored=stored,
        outlined=sum(outlined.values()),
        off_mm=off_mm,
        answer=answer,
        frames=frames,
    )
    if len(segmented) + len(outlined) < len(names):
        detail = f"{len(segmented)} SEG for {len(names)} parts"
        return replace(outcome, kind=OutcomeKind.REPORT_ONLY, detail=detail)
    marked = tuple(predictor.marked[number] for number in segmented)
    if stored != marked:
        return replace(outcome, kind=OutcomeKind.WRONG, reason="voxels", detail=f"{marked} became {stored}")
    if off_mm > _OFF_MM:
        return replace(outcome, kind=OutcomeKind.WRONG, reason="place", detail=f"a frame lies {off_mm:.2f} mm off")
    return outcome


def _outlined(report: Path) -> dict[str, float]:
    """The images that a report has contours on, with the pixels inside them."""
    images: dict[str, float] = {}
    for region in _items_of(pydicom.dcmread(report), "SCOORD"):
        points = np.array(region.GraphicData, dtype=float).reshape(-1, 2)
        if (points[0] == points[-1]).all():  # an axis is a line with two ends
            inside = abs(float(np.sum(points[:-1, 0] * points[1:, 1] - points[1:, 0] * points[:-1, 1]))) / 2
            (image,) = region.ContentSequence[0].ReferencedSOPSequence
            name = str(image.ReferencedSOPInstanceUID)
            images[name] = images.get(name, 0.0) + inside
    return images


def _items_of(item: Dataset, value_type: str) -> Iterator[Dataset]:
    for inner in item.get("ContentSequence", ()):
        if inner.ValueType == value_type:
            yield inner
        yield from _items_of(inner, value_type)


_UID = re.compile(r"(?<=instance )[\d.]+\d|\b2\.25\.\d+|\b\d+(\.\d+){3,}")


def _shortened(error: Exception, folder: Path) -> str:
    """What was said, without values of headers and places of this machine."""
    return _UID.sub("...", " ".join(without_values(error).replace(f"{folder}/", "").split()))[:300]


def _place(error: Exception) -> str:
    """The last line of ours, and the last of all, that the error came through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/site-packages/" not in frame.filename]
    return " > ".join(dict.fromkeys(f"{Path(frame.filename).name}:{frame.lineno}" for frame in (ours[-1], frames[-1])))


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise TimeLimit

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _instead_of_the_model(predictor: MarkingPredictor, overlay: bool) -> Iterator[None]:
    """`ask` opens its predictor itself."""
    with contextlib.ExitStack() as patches:
        patches.enter_context(patch("workflows.commands.ask.open_predictor", lambda *_, **__: predictor))
        if not overlay:
            patches.enter_context(patch("dicom_node.results.objects.write_overlay"))
        yield


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what libraries and our log say of broken headers."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
