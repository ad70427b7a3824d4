"""Every size of a MedSeg-R model in one class, and its presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

from inference.errors import CheckpointError

__all__ = ["PRESETS", "GroundingConfig", "MedSegRConfig"]


@dataclass(frozen=True)
class GroundingConfig:
    """Pixel-level grounding: segment_anything's ViT, prompt encoder and mask decoder, and what stands around them."""

    image_size: int = 256  # pixels a side; SAM and MedSAM: 1024
    refined: bool = True  # a stem (stride 16) before the ViT and a refinement to full size after the decoder
    patch_size: int = 1  # of the ViT: of the stem's last level, or of the image where there is no stem
    width: int = 192
    layers: int = 4
    heads: int = 4
    window: int = 8  # tokens a side; 0 attends everywhere
    global_layers: tuple[int, ...] = (1, 3)
    prompt_width: int = 192  # SAM and MedSAM: 256
    decoder_layers: int = 2
    decoder_heads: int = 4
    decoder_mlp_width: int = 384
    pixel_channels: tuple[int, int, int] = (48, 32, 8)  # of the refinement, at a quarter, a half and the whole size

    @property
    def grid_size(self) -> int:
        """Tokens a side of the ViT's embedding."""
        return self.image_size // (16 if self.refined else 1) // self.patch_size

    @property
    def mask_size(self) -> int:
        """Pixels a side of the mask logits."""
        return self.image_size if self.refined else 4 * self.grid_size


@dataclass(frozen=True)
class MedSegRConfig:
    """Sizes of both parts of the model; everything else is learned."""

    context_image_size: int = 96  # pixels a side that global context understanding sees
    context_patch_size: int = 16  # so (96 / 16)^2 = 36 visual tokens

    # global context understanding: transformers' Llava with a CLIP tower and a Llama language model
    vision_width: int = 192
    vision_layers: int = 4
    vision_heads: int = 4
    language_width: int = 256
    language_layers: int = 4
    language_heads: int = 4
    language_context: int = 384  # positions, visual tokens included
    vocabulary_size: int = 4096  # upper bound; the tokenizer in the checkpoint says how many are used

    grounding: GroundingConfig = field(default_factory=GroundingConfig)

    @property
    def visual_tokens(self) -> int:
        """How many visual tokens stand in the question for one image."""
        return (self.context_image_size // self.context_patch_size) ** 2

    def to_json(self) -> dict[str, Any]:
        """Return plain values for `checkpoint.json`."""
        return _plain(asdict(self))

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> MedSegRConfig:
        """Read what `to_json` wrote; raises `CheckpointError` naming a setting this version does not know."""
        grounding = _read(GroundingConfig, values.get("grounding", {}))
        return _read(cls, {**values, "grounding": grounding})


_Config = TypeVar("_Config", GroundingConfig, MedSegRConfig)


def _read(kind: type[_Config], values: Mapping[str, Any]) -> _Config:
    unknown = sorted(set(values) - {one.name for one in fields(kind)})
    if unknown:
        raise CheckpointError(f"the checkpoint's model has settings this version does not know: {unknown}")
    settings: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    return kind(**settings)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _plain(value) if isinstance(value, dict) else list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
    }


PRESETS: dict[str, MedSegRConfig] = {"tiny": MedSegRConfig()}
