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

from dicom_node.errors import DicomNodeError, VolumeRefused, without_values
from dicom_node.results.profiles import Profile
from tests.corpus.predictors import Mark, MarkingPredictor
from tests.corpus.stored import StoredFrame, farthest_mm, stored_frames
from workflows.commands.ask import ask
from workflows.errors import WorkflowError
from workflows.settings import ModelSettings, ResultsSettings, Settings
from workflows.state.records import ResultKind

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

    `marked`: voxels that the predictor marked of each part; `stored`: voxels in each part's SEG. `off_mm`: the farthest
    that a SEG's frame lies from its source. `answer`: what `answer.json` holds; `frames`: of each SEG.
    """

    kind: OutcomeKind
    reason: str = ""
    detail: str = ""
    marked: tuple[int, ...] = ()
    stored: tuple[int, ...] = ()
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
    """Whether every marked voxel is stored, in frames that lie where the images lie that they name."""
    segmentations = [
        Path(result["path"]) for result in answer["results"] if result["kind"] == ResultKind.SEGMENTATION.value
    ]
    frames = tuple(tuple(stored_frames(path)) for path in segmentations)
    stored = tuple(sum(int(frame.mask.sum()) for frame in own) for own in frames)
    off_mm = max((farthest_mm(own, files) for own in frames), default=0.0)
    outcome = Outcome(OutcomeKind.ANSWERED, stored=stored, off_mm=off_mm, answer=answer, frames=frames)
    if len(frames) < len(predictor.marked):
        detail = f"{len(frames)} SEG for {len(predictor.marked)} parts"
        return replace(outcome, kind=OutcomeKind.REPORT_ONLY, detail=detail)
    if stored != tuple(predictor.marked):
        return replace(outcome, kind=OutcomeKind.WRONG, reason="voxels", detail=f"{predictor.marked} became {stored}")
    if off_mm > _OFF_MM:
        return replace(outcome, kind=OutcomeKind.WRONG, reason="place", detail=f"a frame lies {off_mm:.2f} mm off")
    return outcome


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
        patches.enter_context(patch("workflows.commands.ask.open_predictor", lambda *_: predictor))
        if not overlay:
            patches.enter_context(patch("workflows.reading.write_overlay"))
        yield


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what libraries and our log say of broken headers."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
