"""Codes of labels that a model brings along: `labels.json` beside its weights. No torch here.

    {"renal cyst": {"value": "367643001", "scheme": "SCT", "meaning": "Cyst", "category": "abnormality"},
     "kidney left": {"value": "64033007", "scheme": "SCT", "meaning": "Kidney", "side": "left"}}

Labels that the program has codes of need none. Other keys of an entry are the model's own affair.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from inference.card import LabelCode, ModelCard
from inference.errors import CheckpointError

__all__ = ["LABELS_FILE", "read_codes", "read_labels", "with_codes"]

LABELS_FILE = "labels.json"

_KEYS = ("value", "scheme", "meaning", "category", "side")
_CATEGORIES, _SIDES = ("anatomy", "abnormality", "object"), ("", "left", "right")
# Designators of PS3.16 Table 8-1 that name things seen in images; 99... is private (PS3.3 8.2).
_SCHEMES = frozenset({"SCT", "DCM", "FMA", "RADLEX", "UMLS", "NCIt", "MSH", "UBERON", "I10", "I9C", "NEU", "MA"})
_LONGEST = {"value": 16, "scheme": 16, "meaning": 64}  # PS3.5 6.2: SH, SH, LO


def read_codes(path: Path) -> dict[str, LabelCode]:
    """Return the code of each label of a file. Raises `CheckpointError` naming the label and what is wrong with it."""
    return {label: _code(path, label, entry) for label, entry in read_labels(path).items()}


def read_labels(path: Path) -> dict[str, dict[str, Any]]:
    """Return a file's entries with all their keys. Raises `CheckpointError`, also for what stands twice."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=lambda pairs: _once(path, pairs))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not readable JSON: {error}") from error
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise CheckpointError(f"{path} is no object of labels, each with {', '.join(_KEYS)}")
    labels: dict[LabelCode, str] = {}
    for label, entry in entries.items():
        code = replace(_code(path, label, entry), meaning="")
        if (other := labels.setdefault(code, label)) != label:
            raise CheckpointError(f"{path}: {label!r} and {other!r} have the same code; give each its own")
    return entries


def with_codes(card: ModelCard, folder: Path) -> ModelCard:
    """Return the card with the codes of a folder's `labels.json`, which win over its own; as it is without the file."""
    path = folder / LABELS_FILE
    return replace(card, codes={**card.codes, **read_codes(path)}) if path.is_file() else card


def _once(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise CheckpointError(f"{path}: {twice!r} stands twice; remove one")
    return entries


def _code(path: Path, label: str, entry: Mapping[str, Any]) -> LabelCode:
    written = {key: entry[key] for key in _KEYS if key in entry}
    lacking = [key for key in ("value", "scheme", "meaning") if not written.get(key)]
    where = f"{path}: {label!r}"
    if lacking or not label.strip():
        raise CheckpointError(f"{where} lacks {', '.join(lacking) or 'a name'}")
    if wrong := [key for key, value in written.items() if not isinstance(value, str)]:
        raise CheckpointError(f"{where}: {wrong[0]} is no text")
    code = LabelCode(**written)
    if code.scheme not in _SCHEMES and not re.fullmatch(r"99[A-Za-z0-9_]+", code.scheme):
        known = ", ".join(sorted(_SCHEMES))
        raise CheckpointError(
            f"{where}: scheme {code.scheme!r} is not known; write one of {known}, or 99NAME of your own"
        )
    for key, longest in _LONGEST.items():
        if len(written[key]) > longest or not written[key].isprintable() or "\\" in written[key]:
            raise CheckpointError(f"{where}: {key} is longer than {longest} characters, or DICOM forbids one of them")
    if code.category not in _CATEGORIES or code.side not in _SIDES:
        raise CheckpointError(f"{where}: category is one of {', '.join(_CATEGORIES)}; side is left, right or nothing")
    return code
