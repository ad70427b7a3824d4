"""Random contrast: the same anatomy as other scanners, sequences and windows would show it.

Organs that were learned on CT alone are to be found on MR, and in a window that nobody trained on. So a share of the
grey images is shown through a random curve of grey values, whose knots lie where the image has its tissues. Shapes
and places stay. After Zhou 2019 (Models Genesis) and Billot 2023 (SynthSeg), simplified.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["COLOUR", "recontrast", "tissue_curve", "window_curve"]

COLOUR = frozenset({"kvasir_seg", "chasedb1"})
"""Sets of colour photographs, whose colours mean something."""

_ECHO = frozenset({"busi"})  # fluid is black whatever the machine: never inverted
_RISING = _ECHO | {"cxr_covid"}  # what is brighter stays brighter: there is one order of tissues
_WINDOWED = frozenset({"btcv"})  # 8-bit CT, air to the densest bone or metal: soft tissue is a few dozen of 256 levels
_WINDOW_SHARE = 0.6  # of their draws get another window, the rest another curve
_BODY = 40  # of its levels; air and lung are darker
_TISSUES = 5  # knots of a curve, beside black and white
_REMAPPED = 0.35  # of the curves need not rise: fat is dark on CT and bright on most MR
_DARK_AIR = 0.8  # of those keep black black
_INVERTED = 0.15
_BIASED = 0.25  # of the images are brighter on one side, as under a coil
_NOISY = 0.3
_LEAST_SPREAD = 100.0  # levels between the darkest tissue and the brightest
_BACKGROUND = 8  # levels; a tissue is brighter

Curve = NDArray[np.float64]
"""What each of the 256 grey values becomes, 0 to 255."""


def recontrast(image: NDArray[np.uint8], dataset: str, random: np.random.Generator) -> NDArray[np.uint8]:
    """Show a grey image (`rows columns 3`, equal channels) in another contrast; a colour photograph as it is."""
    if dataset in COLOUR:
        return image
    grey, echo = image[..., 0], dataset in _ECHO
    if dataset in _WINDOWED and random.random() < _WINDOW_SHARE:
        curve = window_curve(grey, random)
    else:
        curve = tissue_curve(grey, random, rising=dataset in _RISING or random.random() >= _REMAPPED)
    curve = 255 * (curve / 255) ** math.exp(random.uniform(-0.3, 0.3))
    if not echo and random.random() < _INVERTED:
        curve = 255 - curve
    seen = curve[grey]
    if not echo and random.random() < _BIASED:
        seen = seen * _coil_field(grey.shape, random)
    if random.random() < _NOISY:
        seen = seen + random.normal(0, random.uniform(1, 8), size=grey.shape)
    return np.repeat(seen.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def window_curve(grey: NDArray[np.uint8], random: np.random.Generator) -> Curve:
    """Return a window of a CT's levels around its soft tissue, from a narrow one (some 200 HU) to all of them.

    Where soft tissue lies differs, since each image was scaled from its own least to its own greatest value.
    """
    body = grey[grey > _BODY]
    width = math.exp(random.uniform(math.log(24), math.log(256)))
    centre = float(np.quantile(body, random.uniform(0.3, 0.8))) if body.size else 128.0
    centre += random.uniform(-0.2, 0.2) * width
    curve: Curve = ((np.arange(256) - centre) / width + 0.5).clip(0, 1) * 255
    return curve


def tissue_curve(grey: NDArray[np.uint8], random: np.random.Generator, *, rising: bool) -> Curve:
    """Return a curve drawn towards random values at random quantiles of what is not background in `grey`.

    `rising`: brighter stays brighter; otherwise tissues may change places.
    """
    tissue = grey[grey > _BACKGROUND]
    if not tissue.size:
        return np.arange(256, dtype=np.float64)
    shares = (np.arange(_TISSUES) + random.uniform(0.15, 0.85, _TISSUES)) / _TISSUES
    knots = np.unique(np.concatenate(([0.0], np.quantile(tissue, shares), [float(tissue.max()), 255.0])))
    values = random.uniform(0, 255, len(knots))
    if rising:
        values = np.sort(values)
        values -= values[0]
    elif random.random() < _DARK_AIR:
        values[0] = random.uniform(0, 20)
    spread = float(np.ptp(values[1:-1])) if len(values) > 3 else 255.0
    values = values * max(1.0, _LEAST_SPREAD / max(spread, 1.0))
    strength = random.uniform(0.2, 0.6) if rising else random.uniform(0.5, 1.0)
    curve: Curve = strength * np.interp(np.arange(256), knots, values.clip(0, 255)) + (1 - strength) * np.arange(256)
    return curve


def _coil_field(shape: tuple[int, ...], random: np.random.Generator) -> NDArray[np.float64]:
    """Return a smooth gain of 0.6 to 1.4, `rows columns`, that rises across the image."""
    rows, columns = np.meshgrid(*(np.linspace(-1, 1, length) for length in shape), indexing="ij")
    turn = random.uniform(0, 2 * math.pi)
    field: NDArray[np.float64] = (
        1 + random.uniform(0.1, 0.4) * (math.cos(turn) * rows + math.sin(turn) * columns) / 1.42
    )
    return field
