"""How large an image may claim to be: against what is ever read, and against the bytes that there are.

Small files can claim anything: 65,535 rows and columns, a billion frames, a codestream of nothing but zeros. What they
claim is checked here before anything is allocated for it.
"""

from __future__ import annotations

from pathlib import Path

from dicom_node.errors import VolumeRefusal, VolumeRefused

__all__ = ["MOST_FRAMES", "require_believable", "require_few_frames", "require_few_pixels", "require_room"]

MOST_PIXELS = 1 << 27
"""Of a frame. The largest mammograms and stitched radiographs have a quarter."""
MOST_FRAMES = 200_000
"""Of an instance. A functional MR of an hour has 64,000."""
_MOST_SAMPLES, _MOST_BITS = 4, 64
_FREE, _RATIO = 64 << 20, 250
"""Compressed images are believed to so many bytes, and beyond them to so many times the bytes that they take. A blank
frame of JPEG 2000 compresses a thousandfold, whole instances of blank frames are not read."""


def require_few_pixels(name: str, rows: int, columns: int, samples: int, bits_allocated: int) -> None:
    """Raise VolumeRefused for a frame of more pixels, samples for a pixel or bits for a sample than are ever read."""
    if rows * columns > MOST_PIXELS:
        raise VolumeRefused(
            VolumeRefusal.TOO_LARGE,
            f"{name} claims {rows:,} x {columns:,} pixels, and at most {MOST_PIXELS:,} are read; send it smaller",
        )
    if samples > _MOST_SAMPLES or bits_allocated > _MOST_BITS:
        raise VolumeRefused(
            VolumeRefusal.UNDECODABLE_PIXEL_DATA,
            f"{name} claims {samples:,} samples for a pixel, of {bits_allocated:,} bits each, and no image has more "
            f"than {_MOST_SAMPLES} of {_MOST_BITS}; send it corrected",
        )


def require_few_frames(name: str, frames: int) -> None:
    """Raise VolumeRefused for an instance of more frames than are ever read."""
    if frames > MOST_FRAMES:
        raise VolumeRefused(
            VolumeRefusal.TOO_LARGE,
            f"{name} claims {frames:,} frames, and at most {MOST_FRAMES:,} are read; send it in several instances",
        )


def require_believable(name: str, claimed: int, held: int, what: str) -> None:
    """Raise VolumeRefused where `held` bytes of compressed pixels claim to be `claimed` bytes that nothing is worth."""
    if claimed > _FREE + _RATIO * held:
        raise VolumeRefused(
            VolumeRefusal.UNDECODABLE_PIXEL_DATA,
            f"{name} claims {claimed:,} bytes of pixels ({what}) and holds {held:,} compressed: no image compresses "
            f"{claimed // max(1, held):,}-fold; send it again without compression",
        )


def require_room(name: str, size: int) -> None:
    """Raise VolumeRefused (TOO_LARGE) where `size` bytes are more than this host has left.

    Linux would promise them and end the process when they are filled.
    """
    left = _available()
    if left is not None and size > left:
        raise VolumeRefused(
            VolumeRefusal.TOO_LARGE,
            f"{name} needs {size / 1e9:.1f} GB of memory and this host has {left / 1e9:.1f} GB left; read it on a "
            "larger one",
        )


def _available() -> int | None:
    """Bytes of memory that the kernel could give now; None where it does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    told = [line.split() for line in lines if line.startswith("MemAvailable:")]
    return int(told[0][1]) * 1024 if told else None
