"""Every size of a MedSeg-R model in one class, and its presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from inference.errors import CheckpointError

__all__ = ["PRESETS", "MedSegRConfig"]


@dataclass(frozen=True)
class MedSegRConfig:
    """Sizes of both parts of the model; everything else is learned."""

    image_size: int = 256  # pixels a side that pixel-level grounding sees
    context_image_size: int = 64  # pixels a side that global context understanding sees
    context_patch_size: int = 16  # so (64 / 16)^2 = 16 visual tokens

    # global context understanding: transformers' Llava with a CLIP tower and a Llama language model
    vision_width: int = 128
    vision_layers: int = 3
    vision_heads: int = 4
    language_width: int = 192
    language_layers: int = 4
    language_heads: int = 4
    language_context: int = 128  # positions, visual tokens included
    vocabulary_size: int = 2048  # upper bound; the tokenizer in the checkpoint says how many are used

    # pixel-level grounding: segment_anything's ViT, prompt encoder and mask decoder
    stem_channels: tuple[int, int, int] = (12, 32, 64)  # at strides 2, 4, 8
    grounding_width: int = 128
    grounding_layers: int = 3
    grounding_heads: int = 4
    grounding_window: int = 8  # tokens a side; 0 attends everywhere
    grounding_global_layers: tuple[int, ...] = (2,)
    grounding_patch_size: int = 2  # of the stem's last level, so the grid is 256 / 8 / 2 = 16 a side
    prompt_width: int = 128  # SAM and MedSAM: 256
    decoder_layers: int = 2
    decoder_heads: int = 4
    decoder_mlp_width: int = 256
    high_resolution: bool = True  # refine SAM's mask (4 x grid) to 128 x 128 with skips from the stem

    @property
    def grid_size(self) -> int:
        """Tokens a side of the grounding encoder's embedding."""
        return self.image_size // 8 // self.grounding_patch_size

    @property
    def mask_size(self) -> int:
        """Pixels a side of the mask logits."""
        return self.image_size // 2 if self.high_resolution else 4 * self.grid_size

    @property
    def visual_tokens(self) -> int:
        """How many visual tokens stand in the question for one image."""
        return (self.context_image_size // self.context_patch_size) ** 2

    def to_json(self) -> dict[str, Any]:
        """Return plain values for `checkpoint.json`."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> MedSegRConfig:
        """Read what `to_json` wrote; raises `CheckpointError` naming a setting this version does not know."""
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise CheckpointError(f"the checkpoint's model has settings this version does not know: {unknown}")
        settings: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        return cls(**settings)


PRESETS: dict[str, MedSegRConfig] = {"tiny": MedSegRConfig()}
