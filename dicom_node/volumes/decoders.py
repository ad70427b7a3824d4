"""One frame's codestream decoded, by the first decoder that can; and which transfer syntaxes decode here.

imagecodecs (libjpeg-turbo, CharLS, OpenJPEG; outside Python's lock) goes first: it decodes all of them, bit for bit as
DCMTK does. What pydicom has beside it follows: gdcm, which pydicom keeps from JPEG Extended of 12 bits and JPEG-LS of 6
or 7 bits, pyjpegls, Pillow, and pydicom's own RLE.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import convert_color_space
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from dicom_node.errors import without_values
from dicom_node.volumes.codestream import (
    Codestream,
    jpeg_2000_codestream,
    jpeg_codestream,
    run_length_codestream,
)
from dicom_node.volumes.encoded import ImagePixel

__all__ = [
    "DecodableSyntax",
    "Undecodable",
    "begins_codestream",
    "decodable_syntaxes",
    "decode",
    "refusal_of_syntax",
]


class Undecodable(ValueError):
    """No decoder could read the frame; the message names those that were tried."""


@dataclass(frozen=True)
class DecodableSyntax:
    """A transfer syntax of compressed images, and the decoders for it here in the order in which they are tried."""

    uid: str
    name: str
    decoders: tuple[str, ...]


_Decode = Callable[[bytes, ImagePixel], NDArray[np.generic]]

_YBR = frozenset({"YBR_FULL", "YBR_FULL_422"})
_JPEG_SPECTRAL, _JPEG_PROGRESSIVE = "1.2.840.10008.1.2.4.53", "1.2.840.10008.1.2.4.55"
_LOSSY_JPEG = frozenset({JPEGBaseline8Bit, JPEGExtended12Bit, _JPEG_SPECTRAL, _JPEG_PROGRESSIVE})
_JPEG = _LOSSY_JPEG | {JPEGLossless, JPEGLosslessSV1}
_JPEG_LS = frozenset({JPEGLSLossless, JPEGLSNearLossless})
_HTJ2K = frozenset({HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K})
_JPEG_2000 = _HTJ2K | {JPEG2000Lossless, JPEG2000}
_SOI, _SOC, _JP2 = b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP"
_END, _TAIL = b"\xff\xd9", 64
_PADDING = 1 << 12
"""Bytes by which segments of run lengths may be longer than the frame: some encoders pad rows or segments."""

# What decoders raise is not a closed set: imagecodecs' errors are RuntimeErrors, pydicom wraps in these.
_FAILURES = (ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, NotImplementedError, RuntimeError,
             TypeError, ValueError, OSError)  # fmt: skip


def _jpeg(codestream: bytes, pixel: ImagePixel) -> NDArray[np.generic]:
    """The header's Photometric Interpretation says whether colours are turned to RGB, as in DCMTK: markers are wrong
    as often as it is, and a viewer in the same house shows what DCMTK does."""
    if pixel.samples_per_pixel == 1:
        return imagecodecs.jpeg8_decode(codestream)
    if pixel.transfer_syntax_uid in _LOSSY_JPEG and pixel.photometric_interpretation in _YBR:
        return imagecodecs.jpeg8_decode(codestream, colorspace="YCBCR", outcolorspace="RGB")
    samples = imagecodecs.jpeg8_decode(codestream, colorspace="RGB", outcolorspace="RGB")
    return _as_rgb(samples, pixel)


def _jpeg_ls(codestream: bytes, pixel: ImagePixel) -> NDArray[np.generic]:
    return _as_rgb(_by_pixel(imagecodecs.jpegls_decode(codestream), pixel), pixel)


def _openjpeg(codestream: bytes, pixel: ImagePixel) -> NDArray[np.generic]:
    # The multiple component transform of YBR_RCT and YBR_ICT is undone by the decoder (PS3.5 8.2.4).
    return _as_rgb(_by_pixel(imagecodecs.jpeg2k_decode(codestream), pixel), pixel)


def _openjph(codestream: bytes, pixel: ImagePixel) -> NDArray[np.generic]:
    return _as_rgb(_by_pixel(imagecodecs.htj2k_decode(codestream), pixel), pixel)


def _rle(codestream: bytes, pixel: ImagePixel) -> NDArray[np.generic]:
    """PS3.5 Annex G: byte planes of one sample after the other, and no more than the header has."""
    room = pixel.native_frame_bits // 8 + _PADDING  # two bytes can be a run of 128
    if pixel.bits_allocated == 1:
        packed = np.frombuffer(_unrolled(codestream, "u1", room), np.uint8)
        return np.unpackbits(packed, bitorder="little")[: pixel.rows * pixel.columns].reshape(pixel.shape)
    decoded = _unrolled(codestream, f"<u{pixel.bits_allocated // 8}", room)
    planes = np.frombuffer(decoded, f"<u{pixel.bits_allocated // 8}")
    planes = planes[: pixel.rows * pixel.columns * pixel.samples_per_pixel]  # a segment may have a padding byte
    planes = planes.reshape(pixel.samples_per_pixel, pixel.rows, pixel.columns)
    return _as_rgb(planes[0] if pixel.samples_per_pixel == 1 else np.moveaxis(planes, 0, -1), pixel)


def _unrolled(codestream: bytes, kind: str, room: int) -> bytes:
    try:
        return bytes(imagecodecs.dicomrle_decode(codestream, kind, out=room))
    except RuntimeError as error:
        if "TOO_SMALL" in str(error):
            raise Undecodable(f"its runs make more than the {room:,} bytes of a frame; send it again") from error
        raise


def _with_pydicom(plugin: str) -> _Decode:
    def decode_with_plugin(codestream: bytes, pixel: ImagePixel) -> NDArray[np.generic]:
        options: dict[str, Any] = {
            "rows": pixel.rows,
            "columns": pixel.columns,
            "samples_per_pixel": pixel.samples_per_pixel,
            "photometric_interpretation": pixel.photometric_interpretation,
            "planar_configuration": pixel.planar_configuration,
            "number_of_frames": 1,
            "bits_allocated": pixel.bits_allocated,
            "bits_stored": pixel.bits_stored,
            "pixel_representation": int(pixel.signed),
            "pixel_keyword": "PixelData",
        }
        decoder = get_decoder(UID(pixel.transfer_syntax_uid))
        return decoder.as_array(encapsulate([codestream]), index=0, decoding_plugin=plugin, **options)[0]

    return decode_with_plugin


_OURS: dict[str, tuple[tuple[str, bool, _Decode], ...]] = {
    **dict.fromkeys(_JPEG, (("imagecodecs", imagecodecs.JPEG8.available, _jpeg),)),
    **dict.fromkeys(_JPEG_LS, (("imagecodecs", imagecodecs.JPEGLS.available, _jpeg_ls),)),
    **dict.fromkeys(_JPEG_2000, (("imagecodecs", imagecodecs.JPEG2K.available, _openjpeg),)),
    RLELossless: (("imagecodecs", imagecodecs.DICOMRLE.available, _rle),),
}
_OURS |= {uid: (*_OURS[uid], ("OpenJPH", imagecodecs.HTJ2K.available, _openjph)) for uid in _HTJ2K}
_PYDICOM = ("gdcm", "pylibjpeg", "pyjpegls", "pillow", "pydicom")


def _decoders(transfer_syntax_uid: str) -> dict[str, _Decode]:
    """Decoders of the syntax by name, in the order in which they are tried."""
    decoders = {name: decoder for name, available, decoder in _OURS.get(transfer_syntax_uid, ()) if available}
    try:
        plugins = get_decoder(UID(transfer_syntax_uid)).available_plugins
    except NotImplementedError:  # a syntax that pydicom does not know
        plugins = ()
    return decoders | {name: _with_pydicom(name) for name in _PYDICOM if name in plugins}


def decodable_syntaxes() -> tuple[DecodableSyntax, ...]:
    """Every compressed transfer syntax of images that a node may meet, with the decoders that are installed for it."""
    return tuple(
        DecodableSyntax(uid, UID(uid).name, tuple(_decoders(uid)))
        for uid in sorted(_OURS, key=lambda uid: [int(part) for part in uid.split(".")])
    )


def refusal_of_syntax(transfer_syntax_uid: str) -> str | None:
    """Why no frame of this transfer syntax can be decoded, and what to do; None if it can be tried."""
    if transfer_syntax_uid in _OURS:
        return None
    name = UID(transfer_syntax_uid).name if transfer_syntax_uid else "an unnamed transfer syntax"
    if any(word in name for word in ("MPEG", "HEVC", "H.264")):
        return f"is video ({name}); export the key frames as images and send those"
    return f"is compressed as {name}, which nothing here decodes; send it in a transfer syntax that `doctor` lists"


def begins_codestream(transfer_syntax_uid: str) -> Callable[[bytes], bool]:
    """Whether bytes can be the first ones of a frame in this transfer syntax."""
    if transfer_syntax_uid in _JPEG or transfer_syntax_uid in _JPEG_LS:
        return lambda first: first.startswith(_SOI)
    if transfer_syntax_uid in _JPEG_2000:
        return lambda first: first.startswith((_SOC, _JP2))
    if transfer_syntax_uid == RLELossless:  # 1 to 15 segments, the first one after the header of 64 bytes (PS3.5 G.5)
        return lambda first: 1 <= first[0] <= 15 and first[1:8] == b"\0\0\0\x40\0\0\0"
    return bool


def decode(codestream: bytes, pixel: ImagePixel) -> tuple[NDArray[np.generic], Codestream]:
    """One frame, `rows columns` or `rows columns samples` (RGB unless it is indices of a palette), as it was encoded.

    Raises Undecodable naming the decoders that were tried and why each failed.
    """
    if pixel.transfer_syntax_uid != RLELossless and _END not in codestream.rstrip(b"\0")[-_TAIL:]:
        raise Undecodable("its codestream ends before its end marker; send it again")
    announced = _announced(codestream, pixel)
    reasons = []
    for name, decoder in _decoders(pixel.transfer_syntax_uid).items():
        try:
            frame = decoder(codestream, pixel)
            _require_as_announced(frame, pixel)
        except Undecodable:  # no other decoder is to find out
            raise
        except _FAILURES as error:
            reasons.append(f"{name}: {_reason(error, name)}")
        else:
            return frame, announced
    raise Undecodable("; ".join(reasons) or "no decoder for it is installed: pip install imagecodecs python-gdcm")


def _require_as_announced(frame: NDArray[np.generic], pixel: ImagePixel) -> None:
    if frame.shape != pixel.shape:
        raise ValueError(f"it decoded to {frame.shape}, the header says {pixel.shape}")
    bits = frame.dtype.itemsize * 8
    if bits > max(8, pixel.bits_allocated):
        raise ValueError(f"it holds samples of {bits} bits, the header allocates {pixel.bits_allocated}")


def _by_pixel(samples: NDArray[np.generic], pixel: ImagePixel) -> NDArray[np.generic]:
    """Planes of colours (JPEG-LS without interleaving) become colours by pixel."""
    planes = (pixel.samples_per_pixel, pixel.rows, pixel.columns)
    return np.moveaxis(samples, 0, -1) if samples.shape == planes != pixel.shape else samples


def _as_rgb(samples: NDArray[np.generic], pixel: ImagePixel) -> NDArray[np.generic]:
    if pixel.samples_per_pixel != 3 or pixel.photometric_interpretation not in _YBR:
        return samples
    return np.asarray(convert_color_space(samples, pixel.photometric_interpretation, "RGB"))


def _announced(codestream: bytes, pixel: ImagePixel) -> Codestream:
    """What the codestream says of itself. Raises Undecodable where that is nothing, or not what the header says."""
    syntax = pixel.transfer_syntax_uid
    if syntax == RLELossless:
        planes = pixel.samples_per_pixel * ((pixel.bits_allocated + 7) // 8)
        if why := run_length_codestream(codestream, planes):
            raise Undecodable(f"{why}; send it again")
        return Codestream()
    if syntax in _JPEG_2000:
        announced = jpeg_2000_codestream(codestream)
    else:
        announced = jpeg_codestream(codestream, is_ls=syntax in _JPEG_LS)
    if announced is None:
        raise Undecodable("its codestream does not say how large it is; send it again")
    if why := announced.contradiction(pixel.rows, pixel.columns, pixel.samples_per_pixel):
        raise Undecodable(f"{why}; send it again")
    return announced


def _reason(error: BaseException, decoder: str) -> str:
    """The first lines of a decoder's own words, without pydicom's before them."""
    words = without_values(error).rpartition(f"{decoder}: ")[2]
    return " ".join(line.strip() for line in words.splitlines()[:3])[:200] or type(error).__name__
