"""Errors of the model side.

InferenceError
├── CheckpointError          a checkpoint that is missing, incomplete, altered or of another shape
│   ├── TermsNotAccepted     research-only weights without `accept_research_use`
│   └── NotCalibrated        weights without calibration, without `accept_uncalibrated`
├── AnswerMalformed          the model's answer breaks its own grammar, or is no answer to what was asked
├── InputRefused             a question or a stack that the model cannot take; asking again will not help
│   └── QuestionRefused      a text that asks for nothing; the message has an example of what can be asked
├── RemoteFailed             a remote predictor that does not answer now: slow, busy, dead, or of other weights by now
├── RemoteRefused            a remote predictor's answer that must not be used, or its refusal of what was sent
├── DeviceMissing            the device that the configuration names is not there
└── OutOfMemory              no batch size fits on the device
"""

from __future__ import annotations

from typing import Self


class InferenceError(Exception):
    """Root of everything `inference` raises on purpose.

    `logged`: what a log has of it instead of its message, where that has words of a model or of another machine, which
    may repeat a question: it may hold a reason for a study.
    """

    logged = ""

    @property
    def for_log(self) -> str:
        """What a log may have of it."""
        return self.logged or str(self)

    def with_log(self, logged: str) -> Self:
        """The error with words of its own for the log."""
        self.logged = logged
        return self


class CheckpointError(InferenceError):
    """A checkpoint that is missing, incomplete, altered or of another shape."""


class TermsNotAccepted(CheckpointError):
    """Research-only weights named in the configuration without `accept_research_use`."""


class NotCalibrated(CheckpointError):
    """Weights whose confidence was never set against the truth, without `accept_uncalibrated`."""


class AnswerMalformed(InferenceError):
    """An answer whose named phrases, [SEG] tokens and states do not match, nothing is cut off to make them; or one of a
    program that we do not know that is no answer to what was asked.
    """

    logged = "the model's answer cannot be used"


class InputRefused(InferenceError):
    """A question or a stack that the model cannot take."""


class QuestionRefused(InputRefused):
    """A text that asks for nothing that can be answered."""


class RemoteFailed(InferenceError):
    """A remote predictor that did not answer, or has other weights by now; asking again later may help."""


class RemoteRefused(InferenceError):
    """A remote predictor that answers what it must not, or whose program failed; asking again will not help."""


class OutOfMemory(InferenceError):
    """No batch size fits on the device."""


class DeviceMissing(InferenceError):
    """The device that the configuration names is not there."""
