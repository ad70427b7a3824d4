"""A model of an installed package, named `module:Class`.

The class is called with `device=...` where it takes that, else with nothing, and what it gives is a `Model` or a
`Predictor` of `inference.interface`. A class attribute `description` is read without building anything; where it is a
property the class is built once to be asked.
"""

from __future__ import annotations

import importlib
import inspect
import re
from functools import cache

from inference.errors import CheckpointError, InferenceError
from inference.interface import Model, Predictor, PredictorDescription

__all__ = ["build", "describe", "is_class_name"]

_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_OF_A_PREDICTOR, _OF_A_MODEL = ("answer",), ("card", "locate", "free_answer", "likeness")


def is_class_name(checkpoint: str) -> bool:
    """Whether a checkpoint's name is `module:Class`."""
    return _NAME.fullmatch(checkpoint) is not None


def build(name: str, device: str) -> Model | Predictor:
    """Return what a class gives. Raises `CheckpointError` naming what is missing; what it raises of ours passes."""
    made = _class(name)
    try:
        built = made(device=device) if _takes_device(made) else made()
    except InferenceError:
        raise
    except (Exception, SystemExit) as error:  # the edge to a program that we do not know
        raise CheckpointError(f"{name} cannot be built: {type(error).__name__}: {error}") from error
    if not isinstance(getattr(built, "description", None), PredictorDescription):
        raise CheckpointError(f"{name} has no description that is an inference.interface.PredictorDescription")
    wanted = _OF_A_MODEL if hasattr(built, "locate") else _OF_A_PREDICTOR
    lacking = [method for method in wanted if not hasattr(built, method)]
    if lacking:
        raise CheckpointError(f"{name} lacks {', '.join(lacking)}: see Model and Predictor in inference/interface.py")
    return built  # type: ignore[no-any-return]


@cache
def describe(name: str) -> PredictorDescription:
    """Return what a class says of itself. Raises `CheckpointError` as `build` does."""
    said = getattr(_class(name), "description", None)
    return said if isinstance(said, PredictorDescription) else build(name, "cpu").description


def _class(name: str) -> type:
    module_name, _, class_name = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        lacking = error.name or module_name
        why = "there is no such module" if module_name.startswith(lacking) else f"it needs {lacking}, which is missing"
        raise CheckpointError(f"{name}: {why}; install its package into this environment") from error
    except (Exception, SystemExit) as error:  # the edge to a program that we do not know
        raise CheckpointError(f"{name}: the module cannot be imported: {type(error).__name__}: {error}") from error
    made = getattr(module, class_name, None)
    if not isinstance(made, type):
        raise CheckpointError(f"{name}: the module {module_name} has no class {class_name}")
    return made


def _takes_device(made: type) -> bool:
    try:
        parameters = inspect.signature(made).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(one.name == "device" or one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters)
