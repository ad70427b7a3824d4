"""Errors of MedSeg-QA.

MedSegQAError
├── KnowledgeError       the committed knowledge or wordings are incomplete or contradict each other
├── SourceError          a folder that no adapter can read at all
├── BuildError           the set could not be written; nothing is left behind
│   ├── OutputExists     the output folder is there already
│   └── BuildStopped     the disk or an endpoint gave out on the way
├── AnnotatorError       an annotator gave up on a record
└── ReviewError          a review that cannot be recorded
"""

from __future__ import annotations

from inference.errors import InferenceError

__all__ = [
    "AnnotatorError",
    "BuildError",
    "BuildStopped",
    "KnowledgeError",
    "MedSegQAError",
    "OutputExists",
    "ReviewError",
    "SourceError",
]


class MedSegQAError(InferenceError):
    """Root of everything MedSeg-QA raises on purpose."""


class KnowledgeError(MedSegQAError):
    """The committed knowledge or wordings are incomplete or contradict each other."""


class SourceError(MedSegQAError):
    """A folder that no adapter can read at all."""


class BuildError(MedSegQAError):
    """The set could not be written; nothing is left behind."""


class OutputExists(BuildError):
    """The output folder is there already; name another or pass --force."""


class BuildStopped(BuildError):
    """The call was right, and the disk or an endpoint gave out on the way."""


class AnnotatorError(MedSegQAError):
    """An annotator gave up on a record."""


class ReviewError(MedSegQAError):
    """A review that cannot be recorded."""
