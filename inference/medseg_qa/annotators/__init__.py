"""Annotators write conversations about an image; the template annotator is the default."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from inference.medseg_qa.compose import ImageFacts
from inference.medseg_qa.records import Conversation

__all__ = ["Annotator"]


class Annotator(Protocol):
    """Writes conversations about one image. `name` becomes their provenance."""

    @property
    def name(self) -> str: ...

    def annotate(self, facts: ImageFacts, image: Path) -> tuple[Conversation, ...]:
        """Conversations about an image, not yet checked; raises AnnotatorError when it gives up on this one."""
        ...

    def summary(self) -> dict[str, float]:
        """Counts of the run so far, such as requests, tokens and cost."""
        ...
