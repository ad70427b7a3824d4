"""Errors of the model side.

InferenceError
├── CheckpointError          a checkpoint that is missing, incomplete, altered or of another shape
│   └── TermsNotAccepted     research-only weights without `accept_research_use`
├── InputRefused             a question or a stack that the model cannot take; asking again will not help
└── OutOfMemory              no batch size fits on the device
"""

from __future__ import annotations


class InferenceError(Exception):
    """Root of everything `inference` raises on purpose."""


class CheckpointError(InferenceError):
    """A checkpoint that is missing, incomplete, altered or of another shape."""


class TermsNotAccepted(CheckpointError):
    """Research-only weights named in the configuration without `accept_research_use`."""


class InputRefused(InferenceError):
    """A question or a stack that the model cannot take."""


class OutOfMemory(InferenceError):
    """No batch size fits on the device."""
