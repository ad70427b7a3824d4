"""How alike images are to those that a model learned from, by the features of both of its towers.

An image is a point: mean and deviation of its visual tokens and of its grounding embedding, each feature standardised,
along the directions in which the training images differ most. Its distance to the three nearest training images of a
set (other patients' while fitting; Sun 2022, "Out-of-distribution detection with deep nearest neighbors") is compared
with that of the set's images kept out of training; of the sets of its modality that taught a label, the most alike
counts. Above the 95th percentile an exponential tail goes on (peaks over threshold), so that a few held-out images
still tell unlike from very unlike.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor

from inference.card import learned_modality
from inference.errors import CheckpointError
from inference.medseg_r.model import MedSegR
from inference.medseg_r.transform import grounding_square, to_square

__all__ = ["LIKENESS_FILE", "Known", "Likeness", "image_features", "pooled", "rows_of"]

LIKENESS_FILE = "likeness.safetensors"

_Floats = NDArray[np.float32]

_DIRECTIONS = 48
_NEIGHBOURS = 3
_KEPT_TO = 0.95  # of a set's held-out images lie nearer than where the tail begins
_LEAST_EXCESS = 0.02  # of the distance where the tail begins; and for how few images tell where,
_FOR_FEW = 2.0  # as much again as this divided by their number
_QUANTILES = np.linspace(0, 1, 101)
_FEWEST_HELD_OUT = 40  # fewer tell no distribution: training images, measured without their patient's others, join them
_OF_SLICES = 0.75  # a volume is as alike as this share of its slices is at most: its ends may show other regions


@dataclass(frozen=True)
class Known:
    """Images that a model learned from, or may be told known by: `rows` `images features`, of one set and modality.

    `groups`: each image's patient. `held_out`: bool `images`, kept out of training. `labels`: what the set taught;
    empty: not known.
    """

    name: str
    modality: str
    rows: _Floats
    groups: Sequence[str]
    held_out: NDArray[np.bool_]
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class _LearnedSet:
    """`points`: float32 `images directions`, of training images.

    `scale`: distances of held-out images at the percentiles from 0 to 100, then their mean excess over the 95th.
    """

    modality: str
    points: _Floats
    scale: _Floats
    labels: frozenset[str] = frozenset()

    def shares(self, points: _Floats) -> NDArray[np.float64]:
        """Return for each of `images directions` the share of held-out images that lie no nearer."""
        *quantiles, excess = self.scale.astype(np.float64)
        distances = _distances(points, self.points)
        start = float(np.interp(_KEPT_TO, _QUANTILES, quantiles))
        within = 1 - np.interp(distances, quantiles, _QUANTILES)
        beyond = (1 - _KEPT_TO) * np.exp(-np.maximum(distances - start, 0) / excess)
        shares: NDArray[np.float64] = np.where(distances > start, beyond, within)
        return shares


class Likeness:
    """What tells images unlike those learned from; made by `fit`, kept beside the weights."""

    def __init__(self, centre: _Floats, axes: _Floats, sets: Mapping[str, _LearnedSet]) -> None:
        self._centre, self._axes, self._sets = centre, axes, dict(sets)

    @classmethod
    def fit(cls, known: Sequence[Known]) -> Likeness:
        """Learn from the training images of sets, and set the scale on their held-out ones."""
        weights = np.concatenate([np.full(_trained(one), 1 / _trained(one)) for one in known])
        rows = np.concatenate([one.rows[~one.held_out] for one in known]).astype(np.float64)
        centre = np.average(rows, axis=0, weights=weights)
        deviation = np.sqrt(np.average((rows - centre) ** 2, axis=0, weights=weights)) + 1e-6
        scaled = (rows - centre) / deviation * np.sqrt(weights / weights.sum())[:, None]
        directions = np.linalg.svd(scaled, full_matrices=False)[2][:_DIRECTIONS].T  # features directions
        fitted = cls(_half(centre), _half(directions / deviation[:, None]), {})
        for one in known:
            points = _half(fitted._points(one.rows[~one.held_out]))
            fitted._sets[one.name] = _LearnedSet(
                one.modality, points, fitted._scale(one, points), frozenset(one.labels)
            )
        return fitted

    def _scale(self, known: Known, points: _Floats) -> _Floats:
        """Return the percentiles of held-out images' distances to `points`, and the mean excess over the 95th."""
        distances = _distances(self._points(known.rows[known.held_out]), points)
        if len(distances) < _FEWEST_HELD_OUT:
            groups = np.asarray(known.groups)[~known.held_out]
            distances = np.concatenate([distances, _distances(points, points, groups[:, None] == groups[None])])
        distances = distances[np.isfinite(distances)]
        if not len(distances):  # a single patient: nothing tells how far another one would lie
            return np.append(np.zeros(len(_QUANTILES)), 1e-6).astype(np.float32)
        start = np.quantile(distances, _KEPT_TO)
        excess = float((distances[distances > start] - start).sum()) / max(1, int((distances > start).sum()))
        scale = np.append(
            np.quantile(distances, _QUANTILES), max(excess, (_LEAST_EXCESS + _FOR_FEW / len(distances)) * start, 1e-6)
        )
        return scale.astype(np.float32)

    def shares(self, rows: _Floats, modality: str, label: str = "") -> NDArray[np.float64]:
        """Return the likeness of each image of `images features`: the share of known ones that are no more alike.

        `label`: to images that taught it; empty, or where no set is known to have taught it: to any of the modality. 0
        for a modality that nothing was learned of.
        """
        sets = [learned for learned in self._sets.values() if learned.modality == learned_modality(modality)]
        points, most = self._points(rows), np.zeros(len(rows))
        for learned in [learned for learned in sets if label in learned.labels or not learned.labels] or sets:
            most = np.maximum(most, learned.shares(points))
        return most

    def of(self, rows: _Floats, modality: str, label: str = "") -> float:
        """Return the likeness of a stack from its slices, or some of them, `slices features`; as `shares`."""
        return float(np.quantile(self.shares(rows, modality, label), _OF_SLICES))

    def _points(self, rows: _Floats) -> _Floats:
        return np.asarray((rows - self._centre) @ self._axes, dtype=np.float32)

    def save(self, folder: Path) -> None:
        """Write it beside a checkpoint's weights."""
        tensors: dict[str, NDArray[Any]] = {
            "centre": self._centre.astype(np.float16),
            "axes": self._axes.astype(np.float16),
        }
        for name, learned in self._sets.items():
            tensors[f"set/{learned.modality}/{name}/points"] = learned.points.astype(np.float16)
            tensors[f"set/{learned.modality}/{name}/scale"] = learned.scale
        taught = {f"{learned.modality}/{name}": sorted(learned.labels) for name, learned in self._sets.items()}
        part = folder / f"{LIKENESS_FILE}.part"
        contiguous = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
        save_file(contiguous, part, {"labels": json.dumps(taught, sort_keys=True)})
        part.chmod(0o644)
        part.replace(folder / LIKENESS_FILE)

    @classmethod
    def load(cls, folder: Path) -> Likeness | None:
        """Read it; None where a checkpoint has none. Raises `CheckpointError` for a file that is none."""
        path = folder / LIKENESS_FILE
        if not path.is_file():
            return None
        try:
            with safe_open(path, "numpy") as file:
                tensors = {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}  # noqa: SIM118
                taught = json.loads((file.metadata() or {}).get("labels", "{}"))
            sets = {}
            for name in tensors:
                kind, *rest = name.split("/")
                if kind == "set" and rest[-1] == "points":
                    scale = tensors[name.removesuffix("points") + "scale"]
                    if len(scale) != len(_QUANTILES) + 1:
                        raise ValueError(f"{len(scale)} percentiles")
                    labels = frozenset(map(str, taught.get("/".join(rest[:-1]), ())))
                    sets["/".join(rest[1:-1])] = _LearnedSet(rest[0], tensors[name], scale, labels)
            return cls(tensors["centre"], tensors["axes"], sets)
        except (OSError, SafetensorError, KeyError, ValueError, IndexError, AttributeError, TypeError) as error:
            raise CheckpointError(f"{path} is no file of likeness ({error}); make it anew: medseg-r card") from error


def pooled(context_features: Tensor, grounding_features: Tensor) -> _Floats:
    """Return one row for each image: mean and deviation of its visual tokens and of its grounding embedding.

    `images tokens width` and `images channels grid grid` to float32 `images 2*(width+channels)`.
    """
    parts = []
    for features in (context_features.float(), grounding_features.float().flatten(2).transpose(1, 2)):
        parts += [features.mean(dim=1), features.std(dim=1)]
    rows: _Floats = torch.cat([part.cpu() for part in parts], dim=1).numpy()
    return rows


def rows_of(model: MedSegR, pictures: Sequence[NDArray[np.uint8]]) -> _Floats:
    """Return what `Likeness.of` takes of pictures as the model is shown them, each uint8 `rows columns 3`."""
    with torch.inference_mode():
        return pooled(*image_features(model, pictures))


def image_features(model: MedSegR, pictures: Sequence[NDArray[np.uint8]]) -> tuple[Tensor, Tensor]:
    """Return what `pooled` takes, of pictures as the model is shown them, each uint8 `rows columns 3`."""
    config = model.config
    pixels = model.context.pixels([to_square(picture, config.context_square)[0] for picture in pictures])
    tokens = model.context.visual_features(pixels)
    squares = [
        grounding_square(picture, config.grounding.preprocessing, config.grounding.image_size)[0]
        for picture in pictures
    ]
    images = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).contiguous().to(model.device)
    return tokens, model.grounding.encode(images).embedding


def _distances(points: _Floats, learned: _Floats, left_out: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """Return each point's mean distance to its nearest learned ones; `left_out`: bool `points learned`, not looked at.

    Infinite where all are left out.
    """
    squares = (points**2).sum(1)[:, None] + (learned**2).sum(1)[None] - 2 * points @ learned.T
    distances = np.sqrt(np.maximum(squares.astype(np.float64), 0))
    if left_out is not None:
        distances[left_out] = np.inf
    distances.sort(axis=1)
    nearest: NDArray[np.float64] = distances[:, :_NEIGHBOURS].mean(axis=1)
    return nearest


def _trained(known: Known) -> int:
    return int((~known.held_out).sum())


def _half(values: NDArray[np.floating]) -> _Floats:
    """Round to what the file keeps, so that a fitted one and a loaded one agree."""
    return values.astype(np.float16).astype(np.float32)
