"""Every size and setting of a MedSeg-R model in one class, and its presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from enum import Enum
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from inference.errors import CheckpointError
from inference.suggestions import similar_name

__all__ = ["PRESETS", "PRESET_TERMS", "GroundingConfig", "MedSegRConfig", "Preprocessing"]


class Preprocessing(Enum):
    """How a slice becomes the square that pixel-level grounding sees (`inference/medseg_r/transform.py`)."""

    STANDARDISED = "standardised"  # padded; mean 0, deviation 1 over all its pixels
    SAM = "sam"  # padded after SAM's own means and deviations
    MEDSAM = "medsam"  # stretched; its least value 0, its greatest 1

    @property
    def stretched(self) -> bool:
        """Whether both sides are scaled to the square's, instead of padding the shorter."""
        return self is Preprocessing.MEDSAM


@dataclass(frozen=True)
class GroundingConfig:
    """Pixel-level grounding: segment_anything's ViT, prompt encoder and mask decoder, and what stands around them."""

    image_size: int = 256  # pixels a side; SAM and MedSAM: 1024
    preprocessing: Preprocessing = Preprocessing.STANDARDISED
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
    object_score: bool = False  # a head that says whether the target is there at all, as SAM 2 has; SAM has none

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
    """Both parts of the model, and how they are run."""

    # Global context understanding: any image-text-to-text model of transformers, described by its own config.json.
    context_square: int = 256  # pixels a side of the padded square that its image processor is given
    most_answer_tokens: int = 128  # an answer is cut there, and the log says so
    asked_slices: int = 16  # of a volume, evenly spaced; all slices are drawn, these are asked
    language_storage: str = "float16"  # dtype of its saved weights
    language_dtype_gpu: str = "float32"  # dtype it computes in on a GPU; on the CPU always float32

    # Sizes of one built from nothing: transformers' Llava with a CLIP tower and a Llama. 0 where one was downloaded.
    context_image_size: int = 128  # pixels a side that its image processor makes of the square
    context_patch_size: int = 16  # so (128 / 16)^2 = 64 visual tokens
    vision_width: int = 192
    vision_layers: int = 4
    vision_heads: int = 4
    language_width: int = 256
    language_layers: int = 4
    language_heads: int = 4
    language_context: int = 448  # positions, visual tokens included
    vocabulary_size: int = 6144  # upper bound; the tokenizer in the checkpoint says how many are used

    # Pixel-level grounding; computed in float32 everywhere, since a mask decoder in half precision gives blank masks.
    grounding_storage: str = "float16"  # dtype of the saved weights of grounding and P_l
    grounding: GroundingConfig = field(default_factory=GroundingConfig)

    @property
    def visual_tokens(self) -> int:
        """How many visual tokens an image has in a language model built from nothing."""
        return (self.context_image_size // self.context_patch_size) ** 2

    def to_json(self) -> dict[str, Any]:
        """Return plain values for `checkpoint.json`."""
        return _plain(asdict(self))

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> MedSegRConfig:
        """Read what `to_json` wrote; what is not named keeps its default.

        Raises `CheckpointError` naming a setting that this version does not know, or whose value it cannot take.
        """
        grounding = _object(_object(values, "a model's settings").get("grounding", {}), "grounding")
        if "preprocessing" in grounding:
            try:
                grounding["preprocessing"] = Preprocessing(grounding["preprocessing"])
            except ValueError as error:
                raise CheckpointError(f"the checkpoint's preprocessing is unknown: {error}") from error
        return _read(cls, {**values, "grounding": _read(GroundingConfig, grounding)})


_Config = TypeVar("_Config", GroundingConfig, MedSegRConfig)

_DTYPES = ("float32", "float16", "bfloat16")
_DTYPE_SETTINGS = frozenset({"language_storage", "language_dtype_gpu", "grounding_storage"})


def _object(values: object, name: str) -> dict[str, Any]:
    if not isinstance(values, Mapping):
        raise CheckpointError(f"{name} must be a JSON object of names and values, not {values!r:.80}")
    return dict(values)


def _read(kind: type[_Config], values: Mapping[str, Any]) -> _Config:
    known = [setting.name for setting in fields(kind)]
    unknown = sorted(set(values) - set(known))
    if unknown:
        similar = {name: similar_name(name, known) for name in unknown}
        meant = ", ".join(f"{match} instead of {name}" for name, match in similar.items() if match)
        raise CheckpointError(
            f"the model has settings this version does not know: {', '.join(unknown)}"
            + (f"; did you mean {meant}?" if meant else f"; known are {', '.join(known)}")
        )
    settings: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    hints = get_type_hints(kind)
    for name, value in settings.items():
        if name in _DTYPE_SETTINGS and value not in _DTYPES:
            raise CheckpointError(f"{name} must be one of {', '.join(_DTYPES)}, not {value!r:.80}")
        if not _fits(value, hints[name]):
            raise CheckpointError(f"{name} must be {_wanted(hints[name])}, not {values[name]!r:.80}")
    return kind(**settings)


def _fits(value: object, kind: Any) -> bool:
    if get_origin(kind) is tuple:
        first, *others = get_args(kind)
        wanted_count = None if others[-1:] == [Ellipsis] else 1 + len(others)
        return (
            isinstance(value, tuple)
            and (wanted_count is None or len(value) == wanted_count)
            and all(_fits(item, first) for item in value)
        )
    if kind is int:  # of all these, none is below 0; Python's True is an int as well
        return isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return isinstance(value, kind)


def _wanted(kind: Any) -> str:
    if get_origin(kind) is tuple:
        others = get_args(kind)[1:]
        return "a list of whole numbers" if others == (Ellipsis,) else f"a list of {1 + len(others)} whole numbers"
    names: dict[Any, str] = {int: "a whole number, 0 or more", bool: "true or false", str: "text"}
    return names.get(kind, str(kind))


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain_value(value) for name, value in values.items()}


def _plain_value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _plain(value)
    if isinstance(value, Enum):
        return value.value
    return list(value) if isinstance(value, tuple) else value


_SAM_B = GroundingConfig(
    image_size=1024,
    preprocessing=Preprocessing.SAM,
    refined=False,
    patch_size=16,
    width=768,
    layers=12,
    heads=12,
    window=14,
    global_layers=(2, 5, 8, 11),
    prompt_width=256,
    decoder_layers=2,
    decoder_heads=8,
    decoder_mlp_width=2048,
)
_SAM_H = replace(_SAM_B, width=1280, layers=32, heads=16, global_layers=(7, 15, 23, 31))
_MEDSAM_B = replace(_SAM_B, preprocessing=Preprocessing.MEDSAM)


def _downloaded(context_square: int, grounding: GroundingConfig) -> MedSegRConfig:
    return MedSegRConfig(
        context_square=context_square,
        most_answer_tokens=256,
        language_storage="bfloat16",
        language_dtype_gpu="bfloat16",
        context_image_size=0,
        context_patch_size=0,
        vision_width=0,
        vision_layers=0,
        vision_heads=0,
        language_width=0,
        language_layers=0,
        language_heads=0,
        language_context=0,
        vocabulary_size=0,
        grounding_storage="float32",
        grounding=grounding,
    )


PRESETS: dict[str, MedSegRConfig] = {
    "tiny": MedSegRConfig(grounding=GroundingConfig(object_score=True)),
    # Qwen2.5-VL takes squares of 28 pixels as tokens, Qwen3-VL of 32: 672 is 24 or 21 of them a side.
    "lingshu-7b+medsam-b": _downloaded(672, _MEDSAM_B),
    "qwen3-vl-8b+sam-h": _downloaded(672, _SAM_H),
    "medgemma-4b+medsam-b": _downloaded(896, _MEDSAM_B),
    "llava+sam-h": _downloaded(336, _SAM_H),
}

PRESET_TERMS: dict[str, str | None] = {
    "tiny": "research use only",
    "lingshu-7b+medsam-b": None,  # MIT and Apache-2.0
    "qwen3-vl-8b+sam-h": None,  # Apache-2.0 both
    "medgemma-4b+medsam-b": "Health AI Developer Foundations terms of use",
    "llava+sam-h": "research use only",  # LLaVA-Med, and the Llama behind LLaVA; not for clinical use
}
"""What the weights that a preset is named after may be used for; None where nothing stands against clinical use."""
