"""What a checkpoint folder says of itself, read without torch: planning needs name, digest and terms, no weights."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inference.card import ModelCard, card_from_json, read_card
from inference.errors import CheckpointError, NotCalibrated, TermsNotAccepted
from inference.interface import PredictorDescription
from inference.labels import with_codes
from inference.medseg_r.config import MedSegRConfig

__all__ = [
    "DESCRIPTION_FILE", "GROUNDING_FILE", "LANGUAGE_FOLDER", "RESEARCH_ONLY", "SHIPPED", "SHIPPED_NAME", "UNTRAINED",
    "Calibration", "CheckpointDescription", "FileState", "Thresholds",
    "check_complete", "checked_calibration", "checkpoint_folder", "file_state", "read_description", "stand_in_card",
]  # fmt: skip

SHIPPED_NAME = "tiny"
SHIPPED = Path(__file__).resolve().parents[1] / "weights" / "tiny"
_CARDS = Path(__file__).resolve().parents[1] / "weights" / "cards"
RESEARCH_ONLY = "research use only"
UNTRAINED = "0 untrained"
"""The version of a composed model: nothing has taught it to answer yet."""

DESCRIPTION_FILE, LANGUAGE_FOLDER, GROUNDING_FILE = "checkpoint.json", "language_model", "grounding.safetensors"

Calibration = tuple[tuple[float, float], ...]
"""Pairs of a raw quality estimate and the share of the truth it stood for on the validation split, rising."""

FileState = tuple[int, int, int, int, int]
"""Device, inode, size in bytes, time of the last change of content and of the inode in ns: another for other bytes."""


@dataclass(frozen=True)
class Thresholds:
    """When a mask counts. Set on the validation split."""

    mask_logit: float = 0.0  # a pixel belongs to the mask above it
    seen: float = 0.0  # a slice's mask is dropped below it: the object score, or SAM's quality where there is none
    fewest_pixels: int = 1  # of the model's own mask; a slice's mask is dropped below it


@dataclass(frozen=True)
class CheckpointDescription:
    """What the checkpoint.json of a folder says, and the card.json beside it, checked.

    `folder`: where it was read, with no link in its path. `calibrated`: what thresholds and calibration were chosen
    on, for people. `stated`: all of the file. `state`: of the file when it was read. `card`: what the model has
    learned; None where the folder has no card and the program knows none for its digest.
    """

    folder: Path
    name: str
    version: str
    digest: str
    terms: str | None
    thresholds: Thresholds
    calibration: Calibration
    config: MedSegRConfig
    calibrated: Mapping[str, Any] | None
    stated: Mapping[str, Any] = field(repr=False)
    state: FileState = field(repr=False)
    card: ModelCard | None = field(default=None, repr=False)

    @property
    def predictor(self) -> PredictorDescription:
        """Which model answers, as results name it."""
        return PredictorDescription(self.name, self.version, self.digest, self.terms)

    def check_trained(self) -> None:
        """Raise `CheckpointError` for a model that was composed and never trained."""
        if self.version == UNTRAINED:
            raise CheckpointError(
                f"{self.folder} was composed and never trained: its answers would mean nothing; train it first "
                "(medseg-r train)"
            )

    def check_calibrated(self, *, accept_uncalibrated: bool = False) -> None:
        """Raise `NotCalibrated` for a model without calibration, unless accepted."""
        if not self.calibration and not accept_uncalibrated:
            raise NotCalibrated(
                f"the weights in {self.folder} have no calibration: their confidence means nothing yet; set it with "
                f"medseg-r calibrate --checkpoint {self.folder} --qa SET, or set accept_uncalibrated = true under "
                "[model] of a node's settings: every answer then says so"
            )

    def check_terms(self, *, accept_research_use: bool = False) -> None:
        """Raise `TermsNotAccepted` for terms that speak of research, unless accepted or the shipped ones.

        Other terms are only passed on.
        """
        restricted = self.terms is not None and "research" in self.terms.casefold()
        if restricted and self.folder != SHIPPED and not accept_research_use:
            raise TermsNotAccepted(
                f"the weights in {self.folder} are for {self.terms}; "
                "set accept_research_use = true if you may use them so, under [model] of a node's settings or at the "
                "top of a training file"
            )


def checkpoint_folder(name: str) -> Path:
    """Return the folder that a name means: `tiny` is the shipped checkpoint, anything else a path."""
    return SHIPPED if name == SHIPPED_NAME else Path(name)


def read_description(folder: Path) -> CheckpointDescription:
    """Read a folder's checkpoint.json; links on the way to the folder are followed now, and not again.

    Raises `CheckpointError` where it is missing or unreadable, lacks a key, or a value is of a wrong kind.
    """
    path = folder.resolve() / DESCRIPTION_FILE
    if not path.is_file():
        raise CheckpointError(
            f"{folder} is no checkpoint: it holds no {DESCRIPTION_FILE}; name a checkpoint's folder, or tiny"
        )
    try:
        with path.open("rb") as file:
            stated, state = json.loads(file.read()), file_state(os.fstat(file.fileno()))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not readable JSON: {error}") from error
    needed = {"name", "version", "digest", "terms", "thresholds", "model"}
    if not isinstance(stated, dict) or needed - set(stated):
        lacking = sorted(needed - set(stated)) if isinstance(stated, dict) else sorted(needed)
        raise CheckpointError(f"{path} lacks {', '.join(lacking)}")
    _check_kinds(path, stated)
    try:
        thresholds = Thresholds(**stated["thresholds"])
        calibration = checked_calibration(stated.get("calibration") or ())
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path} does not describe a model: {error}") from error
    try:
        config = MedSegRConfig.from_json(stated["model"])
    except CheckpointError as error:
        raise CheckpointError(f"{path}: model: {error}") from error
    return CheckpointDescription(
        folder=path.parent,
        name=stated["name"],
        version=stated["version"],
        digest=stated["digest"],
        terms=stated["terms"],
        thresholds=thresholds,
        calibration=calibration,
        config=config,
        calibrated=stated.get("calibrated"),
        stated=stated,
        state=state,
        card=_card_of(path.parent, stated["digest"]),
    )


def file_state(status: os.stat_result) -> FileState:
    """Return what tells a file's bytes from those that it had, or that another had in its place."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def checked_calibration(pairs: Sequence[Sequence[float]]) -> Calibration:
    """Return a calibration table, begun at (0, 0): a mask whose quality is nothing is worth nothing.

    Without that a raw value below the table's first would be worth as much as the first. Raises ValueError where raw
    values fall or calibrated ones leave 0 to 1.
    """
    table = tuple((float(raw), float(calibrated)) for raw, calibrated in pairs)
    raws = [raw for raw, _ in table]
    if raws != sorted(raws) or any(not 0 <= calibrated <= 1 for _, calibrated in table):
        raise ValueError("a calibration table has rising raw values and calibrated ones from 0 to 1")
    return ((0.0, 0.0), *(pair for pair in table if pair[0] > 0)) if table else ()


def _card_of(folder: Path, digest: str) -> ModelCard | None:
    """Return a folder's card, with the codes of its `labels.json`; one kept for shipped weights where it has none."""
    card = read_card(folder) or stand_in_card(digest)
    return None if card is None else with_codes(card, folder)


def stand_in_card(digest: str) -> ModelCard | None:
    """Return the card of weights that were shipped before checkpoints had one; None for any others."""
    path = _CARDS / f"{digest}.json"
    return card_from_json(json.loads(path.read_bytes()), path.name) if path.is_file() else None


def check_complete(folder: Path) -> None:
    """Raise `CheckpointError` naming a file that is missing, or ends before its own header says; reads headers only."""
    for needed in (folder / GROUNDING_FILE, folder / LANGUAGE_FOLDER / "config.json"):
        if not needed.is_file():
            raise CheckpointError(f"the checkpoint lacks {needed}; copy the folder again")
    if not list((folder / LANGUAGE_FOLDER).glob("*.safetensors")):
        raise CheckpointError(f"{folder / LANGUAGE_FOLDER} holds no weights (*.safetensors); copy the folder again")
    for path in sorted(folder.rglob("*.safetensors")):
        try:
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                header = json.loads(file.read(length)) if length < path.stat().st_size else {}
            ends = [value["data_offsets"][1] for name, value in header.items() if name != "__metadata__"]
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise CheckpointError(f"{path} is not safetensors ({error}); copy the folder again") from error
        if not header or path.stat().st_size < 8 + length + max(ends, default=0):
            raise CheckpointError(f"{path} is truncated; copy the folder again")


def _check_kinds(path: Path, stated: dict[str, Any]) -> None:
    for key in ("name", "version", "digest", "terms"):
        if not isinstance(stated[key], str) and not (key == "terms" and stated[key] is None):
            raise CheckpointError(f"{path}: {key} must be text, not {stated[key]!r:.80}")
    thresholds, calibration = stated["thresholds"], stated.get("calibration") or []
    if not isinstance(thresholds, dict) or not all(_is_number(value) for value in thresholds.values()):
        raise CheckpointError(f"{path}: thresholds must be names and numbers, not {thresholds!r:.80}")
    if not isinstance(calibration, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and all(map(_is_number, pair)) for pair in calibration
    ):
        raise CheckpointError(f"{path}: calibration must be a list of pairs of numbers, not {calibration!r:.80}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
