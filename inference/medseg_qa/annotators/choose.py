"""The annotator that the command line names."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path

from inference.medseg_qa.annotators import Annotator
from inference.medseg_qa.errors import BuildError

__all__ = ["EndpointLimits", "choose_annotator"]


@dataclass(frozen=True)
class EndpointLimits:
    """What an endpoint may be asked and costs: requests per minute, seconds per request, prices per million tokens."""

    requests_per_minute: float = 600.0
    timeout_s: float = 60.0
    price_in: float = 0.0
    price_out: float = 0.0


def choose_annotator(
    name: str, *, model: str, base_url: str | None, cache: Path, seed: int, limits: EndpointLimits | None = None
) -> Annotator | None:
    """The annotator called `name`; None is the template annotator of the builder.

    The key of an endpoint is taken from OPENAI_API_KEY. Raises BuildError.
    """
    if name == "template":
        return None
    if name not in ("openai", "transformers"):
        raise BuildError(f"no annotator is called {name!r}; choose template, openai or transformers")
    if not model:
        raise BuildError(f"--annotator {name} needs --model")
    if name == "openai":
        from inference.medseg_qa.annotators.endpoint import EndpointAnnotator, EndpointSettings

        key = os.environ.get("OPENAI_API_KEY", "none")
        settings = EndpointSettings(model, base_url, key, **asdict(limits or EndpointLimits()))
        return EndpointAnnotator(settings, cache, seed)
    from inference.medseg_qa.annotators.local import LocalAnnotator

    if not Path(model).is_dir():
        raise BuildError(f"{model} is no folder; --annotator transformers wants the folder of a downloaded model")
    return LocalAnnotator(Path(model))
