"""The parts of segment_anything that MedSeg-R is composed of, imported without torchvision.

The package's `__init__` imports its predictor and its automatic mask generator, which import torchvision; `modeling`
does not. So a bare package object with the right `__path__` is registered under the package's name first, and only
`modeling` is imported. Where something else has imported segment_anything already, its package is used as it is.

Upstream the answer is to install torchvision first (facebookresearch/segment-anything, issue 437, open); no issue that
asks for an import without it was found. A test fails as soon as segment_anything imports without torchvision.
"""

from __future__ import annotations

import importlib.util
import sys
import types

__all__ = ["ImageEncoderViT", "MaskDecoder", "PromptEncoder", "TwoWayTransformer"]


def _register_bare_package(name: str = "segment_anything") -> None:
    if name in sys.modules:
        return
    specification = importlib.util.find_spec(name)
    if specification is None or specification.submodule_search_locations is None:
        raise ModuleNotFoundError(f"{name} is not installed; install this package with its dependencies")
    package = types.ModuleType(name)
    package.__path__ = list(specification.submodule_search_locations)
    package.__spec__ = specification
    sys.modules[name] = package


_register_bare_package()

from segment_anything.modeling import (  # noqa: E402 - only after the registration above
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    TwoWayTransformer,
)
