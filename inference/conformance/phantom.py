"""Images whose truth is known: a synthetic CT of an abdomen, or one's own from a file; and ways to turn them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.card import ImageKind, Plane, Region
from inference.errors import InputRefused
from inference.interface import ImageContext, SliceStack

__all__ = ["TURNS", "Sample", "abdomen", "read_sample", "turned"]

_SLICES, _SIDE = 24, 160
_SPACING_MM = (5.0, 2.2, 2.2)
TURNS: Mapping[str, tuple[int, ...]] = {"slices": (0,), "rows": (1,), "columns": (2,), "rows and columns": (1, 2)}
"""By name, the axes of `slices rows columns` that a turn reverses."""


@dataclass(frozen=True)
class Sample:
    """A stack with the masks of what it shows, bool `slices rows columns`, by label; `absent`: what it does not."""

    stack: SliceStack
    truth: Mapping[str, NDArray[np.bool_]]
    absent: tuple[str, ...]


def abdomen() -> Sample:
    """An abdomen of ellipsoids in HU with noise that is always the same, axial, the patient's right at the left."""
    grid = np.meshgrid(np.arange(_SLICES), np.arange(_SIDE), np.arange(_SIDE), indexing="ij")
    body = _ellipse(grid, (0, 80, 80), (1e9, 58, 74))
    inner = _ellipse(grid, (0, 80, 80), (1e9, 50, 66))
    organs = {
        "liver": (_ellipse(grid, (11, 72, 46), (9, 34, 28)) & inner, 110.0),
        "spleen": (_ellipse(grid, (12, 88, 126), (6, 20, 12)), 125.0),
        "kidney right": (_ellipse(grid, (13, 104, 52), (7, 12, 9)), 180.0),
        "kidney left": (_ellipse(grid, (13, 104, 106), (7, 12, 9)), 180.0),
        "aorta": (_ellipse(grid, (0, 92, 84), (1e9, 5, 5)), 210.0),
    }
    values = np.where(body, np.where(inner, 30.0, -100.0), -1000.0)
    truth: dict[str, NDArray[np.bool_]] = {}
    for label, (mask, hounsfield) in organs.items():
        values[mask] = hounsfield
        truth = {name: other & ~mask for name, other in truth.items()} | {label: mask}
    values[_ellipse(grid, (0, 116, 80), (1e9, 12, 12))] = 450.0
    values += np.random.default_rng(0).normal(0, 8, values.shape)
    slices_mm, rows_mm, columns_mm = _SPACING_MM
    context = ImageContext(
        regions=frozenset({Region.ABDOMEN}),
        plane=Plane.AXIAL,
        kind=ImageKind.SECTION,
        letters=("R", "L", "A", "P"),
        affine=((0, 0, columns_mm, 0), (0, rows_mm, 0, 0), (-slices_mm, 0, 0, 0), (0, 0, 0, 1)),
        calibrated=True,
    )
    stack = SliceStack(values.astype(np.float32), "CT", _SPACING_MM, context)
    return Sample(stack, truth, ("optic disc", "polyp", "breast tumour"))


def read_sample(path: Path) -> Sample:
    """One's own: an .npz with `values`, `modality`, `spacing_mm` if known, `truth LABEL` for each label, `absent`.

    Raises `InputRefused` for what is none.
    """
    try:
        with np.load(path, allow_pickle=False) as held:
            arrays: dict[str, NDArray[Any]] = dict(held)
    except (OSError, ValueError) as error:
        raise InputRefused(f"{path} is no .npz of arrays ({type(error).__name__})") from error
    truth = {name.removeprefix("truth "): array for name, array in arrays.items() if name.startswith("truth ")}
    values = arrays.get("values")
    if values is None or "modality" not in arrays or not truth:
        raise InputRefused(f"{path} lacks values, modality, or any 'truth LABEL'")
    if any(mask.dtype != np.bool_ or mask.shape != values.shape[:3] for mask in truth.values()):
        raise InputRefused(f"a truth of {path} is not bool on the grid of its values")
    spacing = tuple(float(mm) for mm in arrays["spacing_mm"]) if "spacing_mm" in arrays else None
    stack = SliceStack(values, str(arrays["modality"]), spacing)  # type: ignore[arg-type]
    return Sample(stack, truth, tuple(map(str, arrays.get("absent", ()))))


def turned(sample: Sample, axes: tuple[int, ...]) -> Sample:
    """The sample with axes reversed, and with what its context says of them."""
    stack = sample.stack
    context = stack.context
    left, right, top, bottom = context.letters
    letters = (
        *((right, left) if 2 in axes else (left, right)),
        *((bottom, top) if 1 in axes else (top, bottom)),
    )
    if context.affine is not None:
        back = np.eye(4)  # from an index of the turned stack to one of the stack
        for axis in axes:
            back[axis, axis], back[axis, 3] = -1, stack.values.shape[axis] - 1
        affine = tuple(tuple(float(value) for value in row) for row in np.asarray(context.affine) @ back)
        context = replace(context, affine=affine)
    values: Any = np.ascontiguousarray(np.flip(stack.values, axes))
    truth = {label: np.ascontiguousarray(np.flip(mask, axes)) for label, mask in sample.truth.items()}
    return replace(sample, stack=replace(stack, values=values, context=replace(context, letters=letters)), truth=truth)


def _ellipse(
    grid: Sequence[NDArray[Any]], middle: tuple[float, float, float], radii: tuple[float, float, float]
) -> NDArray[np.bool_]:
    parts = (((axis - centre) / radius) ** 2 for axis, centre, radius in zip(grid, middle, radii, strict=True))
    return np.asarray(sum(parts) <= 1.0)
