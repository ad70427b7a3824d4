"""Stacks kept as a file: what headers said of a series once it was read, so that its first slice needs no header.

The same stacks give the same bytes. A file of another edition, or one that is damaged, counts as none: headers say it
again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from dicom_node.showing.sides import Sides
from dicom_node.showing.stack import ShownSlice, ShownStack
from dicom_node.showing.windows import Window
from dicom_node.volumes.geometry import StackGeometry
from dicom_node.volumes.rescale import Rescale

__all__ = ["STACKS_FILE", "keep_stacks", "kept_stacks"]

STACKS_FILE = "slices.json"
_EDITION = 1
"""Counts up whenever the same headers make other stacks: order, geometry, units, windows, sides."""


def keep_stacks(path: Path, stacks: Sequence[ShownStack]) -> bool:
    """Write the stacks of a series, without where its files lie. False: they are not kept, since a table is in them."""
    if any(item.rescale.table is not None for stack in stacks for item in stack.slices):
        return False
    text = json.dumps({"edition": _EDITION, "stacks": [_plain(stack) for stack in stacks]}, separators=(",", ":"))
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(text)
    draft.replace(path)
    return True


def kept_stacks(path: Path, files: Mapping[str, Path]) -> tuple[ShownStack, ...] | None:
    """The stacks of a file. `files`: where each instance lies, by SOP Instance UID. None: they are not kept there."""
    try:
        kept = json.loads(path.read_bytes())
        if kept["edition"] != _EDITION:
            return None
        return tuple(_stack(plain, files) for plain in kept["stacks"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _plain(stack: ShownStack) -> dict[str, Any]:
    geometry = stack.geometry
    return {
        "slices": [
            [
                item.sop_instance_uid, item.frame, item.name, item.rescale.slope, item.rescale.intercept,
                item.rescale.type, item.rescale.stated, item.turned,
            ]
            for item in stack.slices
        ],
        "rows": stack.rows,
        "columns": stack.columns,
        "color": stack.color,
        "geometry": None if geometry is None else {
            "positions": geometry.positions.tolist(),
            "right": geometry.right.tolist(),
            "down": geometry.down.tolist(),
            "pixel_spacing_mm": geometry.pixel_spacing_mm,
            "slice_extents_mm": None if geometry.slice_extents_mm is None else geometry.slice_extents_mm.tolist(),
            "frame_of_reference_uid": geometry.frame_of_reference_uid,
        },
        "pixel_spacing_mm": stack.pixel_spacing_mm,
        "unit": stack.unit,
        "modality": stack.modality,
        "windows": [asdict(window) for window in stack.windows],
        "sides": asdict(stack.sides),
        "name": stack.name,
    }  # fmt: skip


def _stack(plain: dict[str, Any], files: Mapping[str, Path]) -> ShownStack:
    return ShownStack(
        slices=tuple(
            ShownSlice(
                files[uid], frame, uid, name, Rescale(slope, intercept, kind, stated),
                None if turned is None else _pair(turned),
            )
            for uid, frame, name, slope, intercept, kind, stated, turned in plain["slices"]
        ),
        rows=plain["rows"],
        columns=plain["columns"],
        color=plain["color"],
        geometry=None if plain["geometry"] is None else _geometry(plain["geometry"]),
        pixel_spacing_mm=None if plain["pixel_spacing_mm"] is None else _pair(plain["pixel_spacing_mm"]),
        unit=plain["unit"],
        modality=plain["modality"],
        windows=tuple(Window(**window) for window in plain["windows"]),
        sides=Sides(**plain["sides"]),
        name=plain["name"],
    )  # fmt: skip


def _geometry(plain: dict[str, Any]) -> StackGeometry:
    extents = plain["slice_extents_mm"]
    return StackGeometry(
        positions=np.asarray(plain["positions"], dtype=np.float64),
        right=np.asarray(plain["right"], dtype=np.float64),
        down=np.asarray(plain["down"], dtype=np.float64),
        pixel_spacing_mm=_pair(plain["pixel_spacing_mm"]),
        slice_extents_mm=None if extents is None else np.asarray(extents, dtype=np.float64),
        frame_of_reference_uid=plain["frame_of_reference_uid"],
    )


def _pair(values: Sequence[float]) -> tuple[float, float]:
    first, second = values
    return first, second
