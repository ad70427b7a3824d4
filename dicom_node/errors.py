"""Errors of the DICOM side.

DicomNodeError
├── InstanceRefused              an instance that the node cannot keep
│   ├── UnparseableInstance      not a DICOM data set
│   ├── IdentifierMismatch       UIDs missing, malformed, or other than the command's
│   ├── InstanceTooLarge         more bytes than are taken
│   └── StorageFull              no room left under the data directory
├── VolumeRefused                a series that is no single volume; `.reason` says which kind
├── ResultRefused                our own SEG or SR failed a check and is not sent
├── ExportRefused                a stack that a file of another format cannot hold as it is
├── MaskRefused                  a file that came in and is no mask
│   └── OtherGrid                a mask on another grid than that of the images
├── JournalInUse                 another process reads the journal already
├── ProtocolViolation            bytes of a peer that are no PDU, or no command set
├── ListenError                  the SCP cannot listen on its address
│   └── PortInUse                another program has the port
└── PeerError                    another application entity
    ├── PeerUnreachable          no association: try again later
    └── PeerRejected             the peer answered, and will not take this instance
"""

from __future__ import annotations

import re
from enum import Enum


class DicomNodeError(Exception):
    """Root of everything `dicom_node` raises on purpose."""


def without_values(error: BaseException) -> str:
    """An error's text without what it quotes: libraries quote values of the header, which may be a patient's name."""
    return _QUOTED.sub("'...'", str(error))


_QUOTED = re.compile(r"b?'[^']*'|b?\x22[^\x22]*\x22")


class InstanceRefused(DicomNodeError):
    """An instance that the node cannot keep."""


class UnparseableInstance(InstanceRefused):
    """The bytes are not a DICOM data set."""


class IdentifierMismatch(InstanceRefused):
    """A UID is missing, malformed, or differs from the C-STORE command's."""


class InstanceTooLarge(InstanceRefused):
    """It has more bytes than are taken."""


class StorageFull(InstanceRefused):
    """No room is left under the data directory."""


class JournalInUse(DicomNodeError):
    """Another process reads the journal of this folder already."""


class VolumeRefusal(Enum):
    """Why a series, or one of its instances, is not read. The value stands in state, status and explain."""

    NO_IMAGES = "no-images"
    NO_IMAGE = "no-image"
    SEVERAL_SERIES = "several-series"
    CONTRADICTING_PATIENTS = "contradicting-patients"
    DIFFERENT_COPIES = "different-copies"
    UNREADABLE_HEADER = "unreadable-header"
    NO_PIXEL_DATA = "no-pixel-data"
    TRUNCATED_PIXEL_DATA = "truncated-pixel-data"
    UNDECODABLE_PIXEL_DATA = "undecodable-pixel-data"
    UNSUPPORTED_SOP_CLASS = "unsupported-sop-class"
    MIXED_SHAPES = "mixed-shapes"
    MIXED_ORIENTATIONS = "mixed-orientations"
    MIXED_SPACINGS = "mixed-spacings"
    MIXED_FRAMES_OF_REFERENCE = "mixed-frames-of-reference"
    MISSING_GEOMETRY = "missing-geometry"
    MISSING_SPACING = "missing-spacing"
    DUPLICATE_POSITIONS = "duplicate-positions"
    IRREGULAR_SPACING = "irregular-spacing"
    FRAMES_IN_SINGLE_FRAME_CLASS = "frames-in-single-frame-class"
    LOCALIZER = "localizer"
    MOSAIC = "mosaic"
    SCREENSHOT = "screenshot"
    TOO_LARGE = "too-large"


class VolumeRefused(DicomNodeError):
    """A series that is not read.

    `reason` is the closed kind; the message names the instances or values and what to do.
    """

    def __init__(self, reason: VolumeRefusal, detail: str) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail


class ResultRefused(DicomNodeError):
    """Our own SEG or SR failed a check before it was sent."""


class ExportRefused(DicomNodeError):
    """A stack cannot be written in another format without moving its voxels; the message says why."""


class MaskRefused(DicomNodeError):
    """A file that came in and is no mask as it is taken; the message says what it should be."""


class OtherGrid(MaskRefused):
    """A mask that lies on another grid than the images that it is of."""


class ProtocolViolation(DicomNodeError):
    """A peer's bytes are no PDU (PS3.8 9.3) or no command set (PS3.7 6.3.1); the message quotes none of them."""


class ListenError(DicomNodeError):
    """The SCP cannot listen on its configured address."""


class PortInUse(ListenError):
    """Another program listens on the port already."""


class PeerError(DicomNodeError):
    """Trouble with another application entity."""


class PeerUnreachable(PeerError):
    """No association could be made or kept; trying again later may help."""


class PeerRejected(PeerError):
    """The peer answered and will not take the instance; trying again will not help."""
