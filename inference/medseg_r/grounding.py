"""Pixel-level grounding: an image seen at high resolution, and one mask for each prompt.

image -> (stem ->) SAM's ViT -> embedding; embedding + prompt -> SAM's mask decoder -> logits at four times the grid.
With the refinement, those logits and the stem's skips are read once more, in the way the prompt asks, up to the size of
the image. With the object score, a small head says whether the prompt's target is there at all, as SAM 2's does
(arXiv 2408.00714): a thin vessel's mask is never of high quality, and still the vessel is there. The image side runs
once per image, the prompt side once per [SEG].
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inference.medseg_r.config import GroundingConfig
from inference.medseg_r.efficientnet_stem import STEM_CHANNELS, EfficientNetStem
from inference.medseg_r.segment_anything_parts import ImageEncoderViT, MaskDecoder, PromptEncoder, TwoWayTransformer

__all__ = ["Grounding", "ImageFeatures", "MaskPrediction", "ObjectScore"]

_MASK_CHANNELS = 16  # of SAM's encoder for mask prompts, which MedSeg-R never gives
_SIGNS = 4  # of a predicted mask, beside SAM's token
_OBJECT_WIDTH = 64


@dataclass(frozen=True)
class ImageFeatures:
    """What every prompt on an image shares.

    `embedding`: `images channels grid grid`. `pixels`: `images channels rows columns` at a quarter, a half and the
    whole of the image's size; none without the high-resolution refinement.
    """

    embedding: Tensor
    pixels: tuple[Tensor, ...]

    def __getitem__(self, image: int) -> ImageFeatures:
        """Return the features of one image, with the images axis kept."""
        index = slice(image, image + 1)
        return ImageFeatures(self.embedding[index], tuple(level[index] for level in self.pixels))


@dataclass(frozen=True)
class MaskPrediction:
    """The masks predicted for prompts on ONE image.

    `logits`: `prompts rows columns`. `quality`: `prompts`, SAM's estimate of each mask's IoU. `evidence`: `prompts
    features`, what the object score is read from. `object_logits`: `prompts`, that the target is there at all; None
    where the model has no object score.
    """

    logits: Tensor
    quality: Tensor
    evidence: Tensor | None = None
    object_logits: Tensor | None = None

    def __getitem__(self, prompt: int) -> MaskPrediction:
        """Return the prediction for one prompt, with the prompts axis kept."""
        index = slice(prompt, prompt + 1)
        evidence = None if self.evidence is None else self.evidence[index]
        objects = None if self.object_logits is None else self.object_logits[index]
        return MaskPrediction(self.logits[index], self.quality[index], evidence, objects)

    @property
    def seen(self) -> Tensor:
        """How sure it is that each target is there, `prompts`: the object score, or the quality in a model without."""
        return self.quality if self.object_logits is None else self.object_logits.sigmoid()


class ObjectScore(nn.Module):
    """From SAM's IoU token, the quality and the strongest mask logits to one logit: the target is there."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.token_norm = nn.LayerNorm(width)
        self.layers = nn.Sequential(nn.Linear(width + _SIGNS, _OBJECT_WIDTH), nn.ReLU(), nn.Linear(_OBJECT_WIDTH, 1))

    def forward(self, evidence: Tensor) -> Tensor:
        """Return a logit for each row of `evidence`: `prompts width+signs` to `prompts`."""
        token, signs = evidence[:, :-_SIGNS], evidence[:, -_SIGNS:]
        logits: Tensor = self.layers(torch.cat([self.token_norm(token), signs], dim=1))[:, 0]
        return logits

    @staticmethod
    def evidence(token: Tensor, quality: Tensor, logits: Tensor) -> Tensor:
        """Return what the score is read from: `prompts width`, `prompts`, `prompts rows columns` to `prompts width+4`.

        Signs beside the token: the quality, the strongest logit, the mean of the strongest thousandth, how many pixels
        are drawn; logits and counts squashed to a range of about 1.
        """
        flat = logits.flatten(1)
        strongest = flat.topk(max(1, flat.shape[1] // 1024), dim=1).values
        drawn = (flat > 0).sum(dim=1).float()
        signs = (quality, (strongest[:, 0] / 8).tanh(), (strongest.mean(dim=1) / 8).tanh(), drawn.log1p() / 8)
        return torch.cat([token, torch.stack(signs, dim=1)], dim=1)


def _convolution(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False),
        nn.GroupNorm(4, channels_out),
        nn.ReLU(inplace=True),
    )


class _PixelFeatures(nn.Module):
    """From the ViT's embedding back up along the stem's skips, to the image itself; once per image."""

    def __init__(self, config: GroundingConfig) -> None:
        super().__init__()
        half, quarter, eighth, _ = STEM_CHANNELS
        at_quarter, at_half, at_full = config.pixel_channels
        self.skips = nn.ModuleList(
            nn.Sequential(nn.GroupNorm(1, channels), nn.Conv2d(channels, wide, 1))
            for channels, wide in ((eighth, at_quarter), (quarter, at_quarter), (half, at_half))
        )
        self.rises = nn.ModuleList(
            nn.Conv2d(channels, wide, 1)
            for channels, wide in ((config.prompt_width, at_quarter), (at_quarter, at_quarter), (at_quarter, at_half))
        )
        self.mixes = nn.ModuleList(_convolution(wide, wide) for wide in (at_quarter, at_quarter, at_half))
        # Four channels of a pixel become one channel of four pixels: cheaper than convolving at the larger size.
        self.to_full = nn.Conv2d(at_half, 4 * at_full, 1)
        self.image = nn.Conv2d(3, at_full, 3, padding=1)
        self.at_full = _convolution(at_full, at_full)

    def forward(
        self, images: Tensor, embedding: Tensor, half: Tensor, quarter: Tensor, eighth: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        levels, x = [], embedding
        for skip, rise, mix, stem in zip(self.skips, self.rises, self.mixes, (eighth, quarter, half), strict=True):
            x = F.interpolate(rise(x), size=stem.shape[-2:], mode="bilinear", align_corners=False)
            x = mix(x + skip(stem))
            levels.append(x)
        full = self.at_full(torch.relu(F.pixel_shuffle(self.to_full(x), 2) + self.image(images)))
        return levels[1], levels[2], full


class Grounding(nn.Module):
    """SAM's image encoder, prompt encoder and mask decoder; for a small model behind a stem, and refined."""

    def __init__(self, config: GroundingConfig) -> None:
        super().__init__()
        self.config = config
        width, grid = config.prompt_width, config.grid_size
        if config.refined:
            self.stem = EfficientNetStem()
            self.stem_norm = nn.GroupNorm(1, STEM_CHANNELS[-1])
        self.image_encoder = ImageEncoderViT(
            img_size=grid * config.patch_size,
            patch_size=config.patch_size,
            in_chans=STEM_CHANNELS[-1] if config.refined else 3,
            embed_dim=config.width,
            depth=config.layers,
            num_heads=config.heads,
            out_chans=width,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=config.window,
            global_attn_indexes=config.global_layers,
        )
        nn.init.trunc_normal_(self.image_encoder.pos_embed, std=0.02)
        self.prompt_encoder = PromptEncoder(
            embed_dim=width,
            image_embedding_size=(grid, grid),
            input_image_size=(config.image_size, config.image_size),
            mask_in_chans=_MASK_CHANNELS,
        )
        self.mask_decoder = MaskDecoder(
            transformer_dim=width,
            transformer=TwoWayTransformer(
                depth=config.decoder_layers,
                embedding_dim=width,
                num_heads=config.decoder_heads,
                mlp_dim=config.decoder_mlp_width,
            ),
            num_multimask_outputs=3,
            iou_head_depth=3,
            iou_head_hidden_dim=width,
        )
        if config.refined:
            self.pixel_features = _PixelFeatures(config)
            self.decoder_gain = nn.Parameter(torch.tensor(0.1))
            last = nn.Linear(width, sum(config.pixel_channels) + 1)
            nn.init.constant_(last.bias[-1], -2.0)  # most pixels are not the target
            self.read = nn.Sequential(nn.Linear(width, width), nn.ReLU(), last)
        if config.object_score:
            self.object_score = ObjectScore(width)

    def encode(self, images: Tensor) -> ImageFeatures:
        """Encode `images 3 rows columns` (standardised, square) once for all that will be asked of them."""
        if not self.config.refined:
            return ImageFeatures(self.image_encoder(images), ())
        half, quarter, eighth, sixteenth = self.stem(images)
        embedding = self.image_encoder(self.stem_norm(sixteenth))  # images prompt_width grid grid
        return ImageFeatures(embedding, self.pixel_features(images, embedding, half, quarter, eighth))

    def decode(self, features: ImageFeatures, prompts: Tensor) -> MaskPrediction:
        """Predict a mask for each of `prompts prompt_width` on ONE image; one prompt per [SEG]."""
        count, grid = prompts.shape[0], self.config.grid_size
        tokens: list[Tensor] = []  # the IoU token after the decoder, `prompts prompt_width`
        listening = self.mask_decoder.iou_prediction_head.register_forward_pre_hook(
            lambda _, given: tokens.append(given[0])
        )
        try:
            low, qualities = self.mask_decoder(
                image_embeddings=features.embedding,  # 1 prompt_width grid grid; repeated per prompt inside
                image_pe=self.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=prompts[:, None, :],  # prompts 1 prompt_width
                dense_prompt_embeddings=self.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(
                    count, -1, grid, grid
                ),
                multimask_output=False,
            )
        finally:
            listening.remove()
        logits = self.refine(features, low, prompts) if self.config.refined else low[:, 0]
        quality = qualities[:, 0]
        if not self.config.object_score:
            return MaskPrediction(logits, quality)
        evidence = ObjectScore.evidence(tokens[0], quality, logits)
        return MaskPrediction(logits, quality, evidence, self.object_score(evidence))

    def refine(self, features: ImageFeatures, low: Tensor | None, prompts: Tensor) -> Tensor:
        """Add to SAM's logits `prompts 1 rows columns` what the prompt reads from the pixel features of ONE image.

        Returns `prompts rows columns` at `mask_size`. `low` is None while the mask decoder is not trained yet.
        """
        reading = self.read(prompts)  # prompts, a weight per channel of every level, and a bias
        weights = reading[:, :-1].split(self.config.pixel_channels, dim=1)
        logits = reading[:, -1:, None, None]
        if low is not None:
            logits = logits + self.decoder_gain * low
        for level, weight in zip(features.pixels, weights, strict=True):
            logits = F.interpolate(logits, size=level.shape[-2:], mode="bilinear", align_corners=False)
            logits = logits + torch.einsum("pc,crk->prk", weight, level[0])[:, None]
        refined: Tensor = logits[:, 0]
        return refined
