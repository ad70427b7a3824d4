"""Errors of the model side.

InferenceError
├── CheckpointError          a checkpoint that is missing, incomplete, altered or of another shape
│   └── TermsNotAccepted     research-only weights without `accept_research_use`
├── AnswerMalformed          the model's answer breaks its own grammar: [SEG] tokens without phrases, or the reverse
├── InputRefused             a question or a stack that the model cannot take; asking again will not help
├── DeviceMissing            the device that the configuration names is not there
└── OutOfMemory              no batch size fits on the device
"""

from __future__ import annotations


class InferenceError(Exception):
    """Root of everything `inference` raises on purpose."""


class CheckpointError(InferenceError):
    """A checkpoint that is missing, incomplete, altered or of another shape."""


class TermsNotAccepted(CheckpointError):
    """Research-only weights named in the configuration without `accept_research_use`."""


class AnswerMalformed(InferenceError):
    """An answer whose named phrases, [SEG] tokens and states do not match; nothing is cut off to make them."""


class InputRefused(InferenceError):
    """A question or a stack that the model cannot take."""


class OutOfMemory(InferenceError):
    """No batch size fits on the device."""


class DeviceMissing(InferenceError):
    """The device that the configuration names is not there."""
