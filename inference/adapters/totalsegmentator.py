"""TotalSegmentator 2 (Apache-2.0; Wasserthal et al. 2023, doi 10.1148/ryai.230024): 117 structures of CT.

    pip install TotalSegmentator fastapi uvicorn structlog typer httpx2
    PYTHONPATH=CHECKOUT python -m inference.cli serve --checkpoint inference.adapters.totalsegmentator:TotalSegmentator

The labels and their codes are in `totalsegmentator.json`, made from the package's own SNOMED table. Of its usage
statistics none are sent: an image's whereabouts are nobody's affair.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import tempfile
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from inference.card import ImageKind, LearnedLabel, ModelCard, Plane
from inference.errors import CheckpointError, InputRefused, OutOfMemory
from inference.interface import Answer, PredictorDescription, Progress, Question, SeenTarget, SliceStack
from inference.labels import read_codes, read_labels

__all__ = ["TotalSegmentator", "TotalSegmentatorFast", "TotalSegmentatorFastest"]

_LABELS = Path(__file__).with_suffix(".json")
_QUIET: dict[str, Any] = {"ml": True, "quiet": True}
_IMAGES = 1559
"""How many CTs the networks learned from, by the name of their data sets."""


class TotalSegmentator:
    """The task `total` at 1.5 mm, five networks; `TotalSegmentatorFast` at 3 mm and `...Fastest` at 6 mm are one each.

    It looks for all its structures at once; those that were asked for are returned. Its networks give no confidence:
    `confidence` is the same for every mask, and says only that. Raises `CheckpointError` where the package or its
    weights are missing and cannot be fetched.
    """

    mode: ClassVar[dict[str, bool]] = {}
    confidence: ClassVar[float] = 0.75

    def __init__(self, device: str = "cpu") -> None:
        # nnU-Net starts a manager by the default method: a fork of a server that has threads may wait for ever.
        multiprocessing.set_start_method("spawn", force=True)
        self._device = _device(device)
        folders = _weights(**self.mode)
        name = " ".join(["TotalSegmentator total", *self.mode])
        self.description = PredictorDescription(name, version("TotalSegmentator"), _digest_of(folders), None)
        self._classes = {label: entry["class"] for label, entry in read_labels(_LABELS).items()}
        learned = (
            LearnedLabel(label, "CT", ImageKind.SECTION, frozenset(), frozenset(Plane), _IMAGES)
            for label in self._classes
        )
        self.card = ModelCard(tuple(learned), codes=read_codes(_LABELS))

    def locate(
        self, stack: SliceStack, labels: Sequence[str], *, progress: Progress | None = None
    ) -> tuple[SeenTarget | None, ...]:
        """Draw all structures and return those of `labels`. Raises `InputRefused` for what is no CT in the patient."""
        from totalsegmentator.map_to_binary import class_map

        drawn = self._drawn(stack)
        numbers = {name: number for number, name in class_map["total"].items()}
        targets: list[SeenTarget | None] = []
        for label in labels:
            number = numbers.get(self._classes.get(label, ""))
            mask = np.zeros(drawn.shape, dtype=np.bool_) if number is None else drawn == number
            targets.append(SeenTarget(label, self.confidence, mask) if mask.any() else None)
        if progress is not None:
            progress(len(drawn), len(drawn))
        return tuple(targets)

    def free_answer(
        self, stack: SliceStack, questions: Sequence[Question], *, progress: Progress | None = None
    ) -> tuple[Answer, ...]:
        """It takes no questions. Raises `NotImplementedError`."""
        raise NotImplementedError("TotalSegmentator looks for its own structures, and takes no question")

    def likeness(self, stack: SliceStack) -> float | None:
        """None: it has no measure of that."""
        return None

    def _drawn(self, stack: SliceStack) -> NDArray[np.integer[Any]]:
        """The number of a structure in each voxel, `slices rows columns`."""
        import nibabel
        import torch
        from totalsegmentator.python_api import totalsegmentator

        image: Any = nibabel.Nifti1Image(_checked(stack).transpose(2, 1, 0), _nifti_affine(stack))  # type: ignore[no-untyped-call]
        try:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "drawn.nii.gz"
                drawn = totalsegmentator(image, file, nr_thr_saving=1, device=self._device, **_QUIET, **self.mode)
        except torch.OutOfMemoryError as error:
            raise OutOfMemory("the GPU has no room for TotalSegmentator; serve TotalSegmentatorFast") from error
        return np.asarray(drawn.dataobj).transpose(2, 1, 0)


class TotalSegmentatorFast(TotalSegmentator):
    """The task `total` at 3 mm."""

    mode: ClassVar[dict[str, bool]] = {"fast": True}


class TotalSegmentatorFastest(TotalSegmentator):
    """The task `total` at 6 mm."""

    mode: ClassVar[dict[str, bool]] = {"fastest": True}


def _checked(stack: SliceStack) -> NDArray[np.float32]:
    """The values in HU. Raises `InputRefused` for what it has not learned from."""
    values = stack.values
    if stack.modality != "CT" or values.ndim != 3:
        raise InputRefused(f"TotalSegmentator takes CT in HU, slices rows columns; this is {stack.modality}")
    if len(values) < 2 or not all(np.isfinite(plane).all() for plane in values):
        raise InputRefused("TotalSegmentator takes volumes of finite values; this is one slice, or has NaN in it")
    return np.asarray(values, dtype=np.float32)


def _nifti_affine(stack: SliceStack) -> NDArray[np.float64]:
    """From column, row, slice to mm in RAS, which NIfTI has; ours is from slice, row, column to LPS."""
    if stack.context.affine is None:
        raise InputRefused(
            "TotalSegmentator needs to know where the slices lie in the patient; this stack does not say"
        )
    lps = np.asarray(stack.context.affine, dtype=np.float64)[:, [2, 1, 0, 3]]
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps


def _weights(fast: bool = False, fastest: bool = False) -> list[Path]:
    """The folders of the networks, fetched where they are not there yet. Raises `CheckpointError`."""
    try:
        from totalsegmentator.config import get_weights_dir, set_config_key, setup_nnunet, setup_totalseg
        from totalsegmentator.libs import download_pretrained_weights
        from totalsegmentator.map_tasks_config import TASK_ID_WEIGHTS_CONFIGS
    except ImportError as error:
        raise CheckpointError(
            f"TotalSegmentator is not installed here ({error.name}); install it into an environment of its own"
        ) from error
    setup_nnunet()
    setup_totalseg()
    set_config_key("send_usage_stats", False)
    set_config_key("statistics_disclaimer_shown", True)
    tasks = [297] if fast else [298] if fastest else [291, 292, 293, 294, 295]
    folders = [Path(get_weights_dir()) / TASK_ID_WEIGHTS_CONFIGS[task]["foldername"] for task in tasks]
    for task, folder in zip(tasks, folders, strict=True):
        if not folder.is_dir():
            try:
                download_pretrained_weights(task)
            except Exception as error:  # whatever its download raises
                raise CheckpointError(
                    f"the weights {folder.name} are not there and cannot be fetched ({type(error).__name__}); unpack "
                    f"{folder.name}.zip of the project's releases into {folder.parent}"
                ) from error
    return folders


def _digest_of(folders: Iterable[Path]) -> str:
    """sha256 over all networks with their plans, by name."""
    digest = hashlib.sha256()
    for folder in folders:
        for file in sorted(path for path in folder.rglob("*") if path.suffix in (".pth", ".json")):
            digest.update(f"{file.relative_to(folder.parent)}\0".encode())
            with file.open("rb") as opened:
                digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()


def _device(device: str) -> str:
    """As TotalSegmentator names it: cpu, gpu or gpu:1."""
    if device == "auto":
        import torch

        return "gpu" if torch.cuda.is_available() else "cpu"
    return device.replace("cuda", "gpu")
