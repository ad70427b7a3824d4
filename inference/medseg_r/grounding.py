"""Pixel-level grounding: an image seen at high resolution, and one mask for each prompt.

image -> stem (strides 2, 4, 8) -> SAM's ViT -> embedding; embedding + prompt -> SAM's mask decoder -> logits at four
times the grid; those logits + stem skips, read in the way the prompt asks -> logits at half the image's size.
The image side runs once per image, the prompt side once per [SEG].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inference.medseg_r.config import MedSegRConfig
from inference.medseg_r.segment_anything_parts import ImageEncoderViT, MaskDecoder, PromptEncoder, TwoWayTransformer

__all__ = ["Grounding", "ImageFeatures"]


@dataclass(frozen=True)
class ImageFeatures:
    """What every prompt on an image shares.

    `embedding`: float32 `images channels grid grid`. `fine`, `finest`: float32 `images channels rows columns` at a
    quarter and at half of the image's size; None without the high-resolution refinement.
    """

    embedding: Tensor
    fine: Tensor | None
    finest: Tensor | None

    def __getitem__(self, image: int) -> ImageFeatures:
        """Return the features of one image, with the images axis kept."""
        index = slice(image, image + 1)
        return ImageFeatures(
            self.embedding[index],
            None if self.fine is None else self.fine[index],
            None if self.finest is None else self.finest[index],
        )


def _convolution(channels_in: int, channels_out: int, *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False),
        nn.GroupNorm(4, channels_out),
        nn.ReLU(inplace=True),
    )


class _Stem(nn.Module):
    """A small convolutional hierarchy: it gives the ViT its input and the refinement its skips."""

    def __init__(self, channels: tuple[int, int, int]) -> None:
        super().__init__()
        half, quarter, eighth = channels
        self.at_half = nn.Sequential(
            nn.Conv2d(3, half, 4, stride=2, padding=1, bias=False), nn.GroupNorm(4, half), nn.ReLU(inplace=True)
        )
        self.at_quarter = nn.Sequential(_convolution(half, quarter, stride=2), _convolution(quarter, quarter))
        self.at_eighth = nn.Sequential(_convolution(quarter, eighth, stride=2), _convolution(eighth, eighth))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        half = self.at_half(images)  # images c/2 rows/2 columns/2
        quarter = self.at_quarter(half)
        return half, quarter, self.at_eighth(quarter)


class _PixelFeatures(nn.Module):
    """From the ViT's embedding back up along the stem's skips; once per image, whatever is asked."""

    def __init__(self, config: MedSegRConfig) -> None:
        super().__init__()
        half, quarter, eighth = config.stem_channels
        self.to_eighth = nn.Conv2d(config.prompt_width, eighth, 1)
        self.at_eighth = _convolution(2 * eighth, eighth)
        self.to_quarter = nn.Conv2d(eighth, quarter, 1)
        self.at_quarter = _convolution(2 * quarter, quarter)
        self.to_half = nn.Conv2d(quarter, 4 * half, 1)
        self.at_half = _convolution(2 * half, half)

    def forward(self, embedding: Tensor, half: Tensor, quarter: Tensor, eighth: Tensor) -> tuple[Tensor, Tensor]:
        x = F.interpolate(self.to_eighth(embedding), size=eighth.shape[-2:], mode="bilinear", align_corners=False)
        x = self.at_eighth(torch.cat([x, eighth], dim=1))
        x = F.interpolate(self.to_quarter(x), size=quarter.shape[-2:], mode="bilinear", align_corners=False)
        fine = self.at_quarter(torch.cat([x, quarter], dim=1))
        # Four channels of a pixel become one channel of four pixels: cheaper than convolving at the larger size.
        finest = self.at_half(torch.cat([F.pixel_shuffle(self.to_half(fine), 2), half], dim=1))
        return fine, finest


class Grounding(nn.Module):
    """SAM's encoder, prompt encoder and mask decoder behind a convolutional stem, refined at high resolution."""

    def __init__(self, config: MedSegRConfig) -> None:
        super().__init__()
        self.config = config
        width, grid = config.prompt_width, config.grid_size
        self.stem = _Stem(config.stem_channels)
        self.image_encoder = ImageEncoderViT(
            img_size=config.image_size // 8,
            patch_size=config.grounding_patch_size,
            in_chans=config.stem_channels[-1],
            embed_dim=config.grounding_width,
            depth=config.grounding_layers,
            num_heads=config.grounding_heads,
            out_chans=width,
            use_rel_pos=True,
            window_size=config.grounding_window,
            global_attn_indexes=config.grounding_global_layers,
        )
        nn.init.trunc_normal_(self.image_encoder.pos_embed, std=0.02)
        self.prompt_encoder = PromptEncoder(
            embed_dim=width,
            image_embedding_size=(grid, grid),
            input_image_size=(config.image_size, config.image_size),
            mask_in_chans=16,
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
        if config.high_resolution:
            half, quarter, _ = config.stem_channels
            self.pixel_features = _PixelFeatures(config)
            self.decoder_gain = nn.Parameter(torch.tensor(0.1))
            self.read_fine = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, quarter))
            last = nn.Linear(width, half + 1)
            nn.init.constant_(last.bias[-1], -2.0)  # most pixels are not the target
            self.read_finest = nn.Sequential(nn.Linear(width, width), nn.ReLU(), last)

    def encode(self, images: Tensor) -> ImageFeatures:
        """Encode `images 3 rows columns` (standardised, square) once for all that will be asked of them."""
        half, quarter, eighth = self.stem(images)
        embedding = self.image_encoder(eighth)  # images prompt_width grid grid
        if not self.config.high_resolution:
            return ImageFeatures(embedding, None, None)
        fine, finest = self.pixel_features(embedding, half, quarter, eighth)
        return ImageFeatures(embedding, fine, finest)

    def decode(self, features: ImageFeatures, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Return mask logits `prompts rows columns` and SAM's quality estimate `prompts`, for ONE image.

        `prompts`: `prompts prompt_width`, one per [SEG].
        """
        count, grid = prompts.shape[0], self.config.grid_size
        low, quality = self.mask_decoder(
            image_embeddings=features.embedding,  # 1 prompt_width grid grid; repeated per prompt inside
            image_pe=self.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=prompts[:, None, :],  # prompts 1 prompt_width
            dense_prompt_embeddings=self.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(
                count, -1, grid, grid
            ),
            multimask_output=False,
        )
        if not self.config.high_resolution:
            return low[:, 0], quality[:, 0]
        return self.refine(features, low, prompts), quality[:, 0]

    def refine(self, features: ImageFeatures, low: Tensor | None, prompts: Tensor) -> Tensor:
        """Add to SAM's logits `prompts 1 rows columns` what the prompt reads from the high-resolution features.

        Returns `prompts rows columns` at `mask_size`. `low` is None while the mask decoder is not trained yet.
        """
        if features.fine is None or features.finest is None:
            raise ValueError("this model has no high-resolution features to refine with")
        logits = torch.einsum("pc,crk->prk", self.read_fine(prompts), features.fine[0])[:, None]
        if low is not None:
            logits = logits + self.decoder_gain * low
        reading = self.read_finest(prompts)  # prompts half+1: a weight per channel, and a bias
        size = self.config.mask_size
        refined = F.interpolate(logits, size=(size, size), mode="bilinear", align_corners=False)[:, 0]
        weights, bias = reading[:, :-1], reading[:, -1, None, None]
        total: Tensor = refined + torch.einsum("pc,crk->prk", weights, features.finest[0]) + bias
        return total
