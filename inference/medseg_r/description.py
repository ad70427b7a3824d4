"""What a checkpoint folder says of itself, read without torch: planning needs name, digest and terms, no weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from inference.errors import CheckpointError, TermsNotAccepted
from inference.interface import PredictorDescription
from inference.medseg_r.config import MedSegRConfig

__all__ = [
    "DESCRIPTION_FILE", "GROUNDING_FILE", "LANGUAGE_FOLDER", "RESEARCH_ONLY",
    "SHIPPED", "UNTRAINED", "check_complete", "checkpoint_folder",
    "describe_checkpoint", "read_description",
]  # fmt: skip

SHIPPED_NAME = "tiny"
SHIPPED = Path(__file__).resolve().parents[1] / "weights" / "tiny"
RESEARCH_ONLY = "research use only"
UNTRAINED = "0 untrained"
"""The version of a composed model: nothing has taught it to answer yet."""

DESCRIPTION_FILE, LANGUAGE_FOLDER, GROUNDING_FILE = "checkpoint.json", "language_model", "grounding.safetensors"


def checkpoint_folder(name: str) -> Path:
    """Return the folder that a name means: `tiny` is the shipped checkpoint, anything else a path."""
    return SHIPPED if name == SHIPPED_NAME else Path(name)


def describe_checkpoint(folder: Path, *, accept_research_use: bool = False) -> PredictorDescription:
    """Read name, version, digest and terms of a checkpoint without its weights.

    Raises `CheckpointError` where the folder or its description is missing or not readable, and `TermsNotAccepted`
    for terms that speak of research, unless accepted or the shipped ones; other terms are only passed on.
    """
    stated = read_description(folder)
    description = PredictorDescription(stated["name"], stated["version"], stated["digest"], stated["terms"])
    shipped = folder.resolve() == SHIPPED
    restricted = description.terms is not None and "research" in description.terms.casefold()
    if restricted and not shipped and not accept_research_use:
        raise TermsNotAccepted(
            f"the weights in {folder} are for {description.terms}; "
            "set accept_research_use = true if you may use them so, under [model] of a node's settings or at the top "
            "of a training file"
        )
    return description


def read_description(folder: Path) -> dict[str, Any]:
    """Read checkpoint.json as it stands.

    Raises `CheckpointError` where it is missing or unreadable, lacks a key, or a value is of a wrong kind.
    """
    path = folder / DESCRIPTION_FILE
    if not path.is_file():
        raise CheckpointError(
            f"{folder} is no checkpoint: it holds no {DESCRIPTION_FILE}; name a checkpoint's folder, or tiny"
        )
    try:
        stated = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not readable JSON: {error}") from error
    needed = {"name", "version", "digest", "terms", "thresholds", "model"}
    if not isinstance(stated, dict) or needed - set(stated):
        lacking = sorted(needed - set(stated)) if isinstance(stated, dict) else sorted(needed)
        raise CheckpointError(f"{path} lacks {', '.join(lacking)}")
    _check_kinds(path, stated)
    return stated


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
    try:
        MedSegRConfig.from_json(stated["model"])
    except CheckpointError as error:
        raise CheckpointError(f"{path}: model: {error}") from error


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
