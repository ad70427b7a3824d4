"""The convolutional stem of a small model: EfficientNet-Lite0 as far as stride 16.

Mobile inverted bottlenecks (Sandler 2018) in the sizes of EfficientNet-Lite0 (Tan and Le 2019; the lite variant has no
squeeze-and-excitation and uses ReLU6). Batch normalisation is folded into the convolutions when pretrained weights are
read (`inference/training/pretrained.py`), so there is none here: the same numbers, half the passes over memory.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

__all__ = ["STEM_CHANNELS", "EfficientNetStem"]


@dataclass(frozen=True)
class _Stage:
    """Blocks of one size; only the first has the stride."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


_FIRST = 32  # channels of the first convolution, stride 2
_STAGES = (
    _Stage(blocks=1, kernel=3, stride=1, expansion=1, channels=16),  # at stride 2
    _Stage(blocks=2, kernel=3, stride=2, expansion=6, channels=24),  # at stride 4
    _Stage(blocks=2, kernel=5, stride=2, expansion=6, channels=40),  # at stride 8
    _Stage(blocks=3, kernel=3, stride=2, expansion=6, channels=80),  # at stride 16
    _Stage(blocks=3, kernel=5, stride=1, expansion=6, channels=112),  # at stride 16
)

STEM_CHANNELS = (16, 24, 40, 112)
"""Channels at strides 2, 4, 8 and 16."""


class _InvertedBottleneck(nn.Module):
    def __init__(self, channels_in: int, stage: _Stage, stride: int) -> None:
        super().__init__()
        wide = channels_in * stage.expansion
        layers: list[nn.Module] = []
        if stage.expansion > 1:
            layers += [nn.Conv2d(channels_in, wide, 1), nn.ReLU6(inplace=True)]
        layers += [
            nn.Conv2d(wide, wide, stage.kernel, stride, stage.kernel // 2, groups=wide),
            nn.ReLU6(inplace=True),
            nn.Conv2d(wide, stage.channels, 1),
        ]
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and channels_in == stage.channels

    def forward(self, images: Tensor) -> Tensor:
        changed: Tensor = self.layers(images)
        return images + changed if self.residual else changed


class EfficientNetStem(nn.Module):
    """Images `n 3 rows columns` in, features at strides 2, 4, 8 and 16 out, `STEM_CHANNELS` channels each."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, _FIRST, 3, 2, 1), nn.ReLU6(inplace=True))
        channels, stages = _FIRST, []
        for stage in _STAGES:
            blocks = []
            for place in range(stage.blocks):
                blocks.append(_InvertedBottleneck(channels, stage, stage.stride if place == 0 else 1))
                channels = stage.channels
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return what each stride's last block gives."""
        half = self.stages[0](self.first(images))
        quarter = self.stages[1](half)
        eighth = self.stages[2](quarter)
        return half, quarter, eighth, self.stages[4](self.stages[3](eighth))
