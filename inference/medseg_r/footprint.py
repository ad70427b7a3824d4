"""How much memory a checkpoint takes, told from the headers of its files before any weight is read. No torch here.

Weights are counted; what answering takes beside them is estimated, for one slice and one question:

    cache     2 x layers x key and value heads x width of a head x tokens: keys and values of image, question and answer
    work      the largest attention of the grounding (heads x tokens^2) and its features, or the language model's states
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference.errors import CheckpointError, OutOfMemory
from inference.medseg_r.config import GroundingConfig
from inference.medseg_r.description import LANGUAGE_FOLDER, CheckpointDescription

__all__ = ["Footprint", "footprint_of", "free_memory_bytes", "require_room"]

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_MOST_TOKENS = 2048  # of image, question and earlier turns together, where the model would take more
_STATES = 16  # arrays of a layer's width that are alive at once, times what feed-forward layers widen


@dataclass(frozen=True)
class Footprint:
    """Memory in bytes that a checkpoint takes on a device."""

    weights: int
    cache: int
    work: int

    @property
    def whole(self) -> int:
        """All of it."""
        return self.weights + self.cache + self.work


def footprint_of(described: CheckpointDescription, device: str = "cpu") -> Footprint:
    """Return what a checkpoint takes on a device. Raises `CheckpointError` for a file whose header cannot be read."""
    wide = 4 if device == "cpu" else _BYTES.get(described.config.language_dtype_gpu, 4)
    language = described.folder / LANGUAGE_FOLDER
    weights = 0
    for path in sorted(described.folder.rglob("*.safetensors")):
        within = path.is_relative_to(language) or path.parent.name == "adapter"
        weights += sum(_values(path)) * (wide if within else 4)
    stated = _json(language / "config.json")
    text = stated.get("text_config") if isinstance(stated.get("text_config"), dict) else stated
    assert isinstance(text, dict)
    layers, width, heads = (_number(text, key) for key in ("num_hidden_layers", "hidden_size", "num_attention_heads"))
    head_width = _number(text, "head_dim") or width // max(1, heads)
    context = min(_number(text, "max_position_embeddings") or _MOST_TOKENS, _MOST_TOKENS)
    tokens = context + described.config.most_answer_tokens
    cache = 2 * layers * (_number(text, "num_key_value_heads") or heads) * head_width * tokens * wide
    language_work = tokens * (width * _STATES * wide + heads * context * wide) + 4 * context * _number(
        text, "vocab_size"
    )
    return Footprint(weights, cache, max(language_work, _grounding_work(described.config.grounding)))


def require_room(described: CheckpointDescription, device: str, free: Mapping[str, int] | None = None) -> None:
    """Raise `OutOfMemory`, naming both numbers, for a checkpoint that would not fit; `free`: bytes by device.

    Weights go through the RAM to a GPU. One that would fit the RAM and not the GPU is left to run on the CPU.
    """
    known = free if free is not None else {place: free_memory_bytes(place) for place in {"cpu", device}}
    here = footprint_of(described, "cpu")
    if device != "cpu":
        there = footprint_of(described, device)
        if there.whole <= known[device] and there.weights <= known["cpu"]:
            return
        if here.whole <= known["cpu"]:
            return
        raise OutOfMemory(
            f"{described.folder} needs about {_gigabytes(there.whole)} on {device}, where {_gigabytes(known[device])} "
            f"are free, and {_gigabytes(there.weights)} of RAM to be loaded, where {_gigabytes(known['cpu'])} are. "
            f"{_REMEDY}"
        )
    if here.whole > known["cpu"]:
        raise OutOfMemory(
            f"{described.folder} needs about {_gigabytes(here.whole)} of RAM, {_gigabytes(here.weights)} of them for "
            f"its weights, and {_gigabytes(known['cpu'])} are free; {_REMEDY}"
        )


_REMEDY = "name a smaller checkpoint, free memory, or serve it from another machine (medseg-r serve)"


def free_memory_bytes(device: str) -> int:
    """What is free on a device: of the RAM what the machine and this process's group have left."""
    if device != "cpu":
        import torch

        return int(torch.cuda.mem_get_info(torch.device(device))[0])
    free = [_available(), _left_to_group()]
    known = [one for one in free if one is not None]
    return min(known) if known else 2**62


def _grounding_work(config: GroundingConfig) -> int:
    tokens = config.grid_size**2
    attended = tokens if config.global_layers or not config.window else config.window**2
    drawn = 2 * config.mask_size**2 * max(1, *config.pixel_channels)
    return 4 * (config.heads * tokens * attended + tokens * config.width * _STATES + drawn)


def _values(path: Path) -> Iterator[int]:
    """How many values each tensor of a file has, from its header (8 bytes of length, then JSON)."""
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        for name, entry in header.items():
            if name != "__metadata__":
                yield math.prod(int(size) for size in entry["shape"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError, MemoryError) as error:
        raise CheckpointError(f"{path} is not safetensors ({type(error).__name__}); copy the folder again") from error


def _json(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not readable JSON: {error}") from error
    return read if isinstance(read, dict) else {}


def _number(of: Mapping[str, Any], key: str) -> int:
    value = of.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _available() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, ValueError, StopIteration):
        return None


def _left_to_group() -> int | None:
    """What a container may still take (cgroup 2); caches that can be dropped count as taken."""
    folder = Path("/sys/fs/cgroup")
    try:
        return int((folder / "memory.max").read_text()) - int((folder / "memory.current").read_text())
    except (OSError, ValueError):
        return None


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
