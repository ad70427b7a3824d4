"""Stored pixels of instances as arrays, or a named reason why they cannot be had."""

from __future__ import annotations

import os
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut, convert_color_space
from pydicom.uid import UID

from dicom_node.errors import VolumeRefusal, VolumeRefused, without_values
from dicom_node.volumes.codestream import Codestream
from dicom_node.volumes.decoders import Undecodable, begins_codestream, decode, refusal_of_syntax
from dicom_node.volumes.encoded import EncodedImage, open_image
from dicom_node.volumes.palette import require_short_palette

__all__ = ["frames_of", "is_color", "stored_frames"]

_COLOR = frozenset(
    {"RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT", "YBR_PARTIAL_420", "YBR_PARTIAL_422"}
)
_ENCAPSULATED_UNCOMPRESSED, _DEFLATED_FRAMES = "1.2.840.10008.1.2.1.98", "1.2.840.10008.1.2.8.1"
_PALETTE_DATA = 0x00281200
"""Descriptors of palettes have lower tags, their data higher ones."""
_MOST_THREADS = 8
_AHEAD = 2
"""Frames that are decoded before they are asked for, per thread."""


def is_color(header: Dataset) -> bool:
    return str(header.get("PhotometricInterpretation", "")) in _COLOR


def frames_of(wanted: Sequence[tuple[Path, int | None]]) -> Iterator[NDArray[np.generic]]:
    """Frames of several files in the order wanted, decoded ahead on a few threads.

    `wanted`: file and index of the frame from 0, or None for the only one. Yields stored values `rows columns` of an
    integer type (float32 of Float Pixel Data), or uint8 `rows columns 3` RGB where the instance is in colour. A stored
    value is the BitsStored bits below HighBit, sign extended where PixelRepresentation says so (PS3.5 8.1.1); what
    other bits hold, such as overlays, is gone. Frames of one file that follow each other open it once. Raises
    VolumeRefused naming the instance, at its place in the order, or OSError.
    """
    threads = min(len(os.sched_getaffinity(0)), _MOST_THREADS, len(wanted))
    if threads < 2:
        yield from _one_after_the_other(wanted)
        return
    pool = ThreadPoolExecutor(threads, thread_name_prefix="frames")
    try:
        tasks = _tasks(wanted, pool)
        ahead = deque(islice(tasks, threads * _AHEAD))
        while ahead:
            frame = ahead.popleft().result()
            ahead.extend(islice(tasks, 1))
            yield frame
    finally:
        pool.shutdown(cancel_futures=True)


def stored_frames(path: Path, frames: Sequence[int] | None = None) -> Iterator[NDArray[np.generic]]:
    """Frames of one instance, as `frames_of` yields them; `frames`: indices from 0, or None for all of them."""
    image = _Image(path)
    for index in range(image.pixel.number_of_frames) if frames is None else frames:
        yield image.frame(index)


def _one_after_the_other(wanted: Sequence[tuple[Path, int | None]]) -> Iterator[NDArray[np.generic]]:
    image: _Image | None = None
    for path, index in wanted:
        if image is None or image.path != path:
            image = _Image(path)
        yield image.frame(index)


def _tasks(
    wanted: Sequence[tuple[Path, int | None]], pool: ThreadPoolExecutor
) -> Iterator[Future[NDArray[np.generic]]]:
    """A task for each frame. The task that opens a file is older than those that wait for it, so one of them runs."""
    last: Path | None = None
    for path, index in wanted:
        if path != last:
            image, last = pool.submit(_Image, path), path
        yield pool.submit(_frame_of, image, index)


def _frame_of(image: Future[_Image], index: int | None) -> NDArray[np.generic]:
    return image.result().frame(index)


class _Image:
    """One opened file; `frame` may be called by several threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._encoded: EncodedImage = open_image(path)
        self.pixel = self._encoded.pixel

    def frame(self, index: int | None) -> NDArray[np.generic]:
        """Stored values of the frame; None is the only frame."""
        pixel = self.pixel
        if index is None and pixel.number_of_frames > 1:
            raise VolumeRefused(
                VolumeRefusal.FRAMES_IN_SINGLE_FRAME_CLASS,
                f"{pixel.name} holds {pixel.number_of_frames} frames, and its SOP class has one; convert it to an "
                "enhanced multi-frame class, or to an instance for each frame",
            )
        try:
            return self._stored(index or 0)
        except Undecodable as error:
            reason = f"{pixel.name} ({UID(pixel.transfer_syntax_uid).name}): {error}"
        except (ValueError, ArithmeticError, LookupError, AttributeError, TypeError, NotImplementedError) as error:
            reason = f"{pixel.name}: {without_values(error)}"
        raise VolumeRefused(VolumeRefusal.UNDECODABLE_PIXEL_DATA, reason)

    def _stored(self, index: int) -> NDArray[np.generic]:
        pixel = self.pixel
        if not 0 <= index < pixel.number_of_frames:
            raise ValueError(f"has {pixel.number_of_frames} frames, so none with number {index + 1}")
        if pixel.photometric_interpretation.startswith("YBR_PARTIAL"):
            raise ValueError(
                f"its colours are {pixel.photometric_interpretation}, which is not read; convert it to RGB"
            )
        codestream = Codestream()
        if self._encoded.fragments is None:
            frame = self._native(index)
        elif pixel.transfer_syntax_uid in (_ENCAPSULATED_UNCOMPRESSED, _DEFLATED_FRAMES):
            frame = self._unpacked(np.frombuffer(self._inflated(index), np.uint8).copy())
        else:
            frame, codestream = decode(self._codestreams[index], pixel)
        if pixel.is_float:
            return np.asarray(frame, dtype=np.float32)
        if pixel.photometric_interpretation == "PALETTE COLOR":
            return self._through_palette(self._significant(frame, codestream))
        if pixel.photometric_interpretation in _COLOR:
            if frame.ndim != 3:
                raise ValueError(f"it is in colour ({pixel.photometric_interpretation}) and has one sample for a pixel")
            samples = np.asarray(frame, dtype=f"u{frame.dtype.itemsize}")
            return np.asarray(samples >> max(0, pixel.bits_stored - 8), dtype=np.uint8)
        if frame.ndim != 2:
            raise ValueError(
                f"it is {pixel.photometric_interpretation} and has {pixel.samples_per_pixel} samples for a pixel"
            )
        return self._significant(frame, codestream)

    @cached_property
    def _codestreams(self) -> list[bytes]:
        assert self._encoded.fragments is not None
        syntax = self.pixel.transfer_syntax_uid
        if syntax not in (_ENCAPSULATED_UNCOMPRESSED, _DEFLATED_FRAMES) and (why := refusal_of_syntax(syntax)):
            raise ValueError(why)
        return self._encoded.fragments.frames(self.pixel.number_of_frames, begins_codestream(syntax))

    def _inflated(self, index: int) -> bytes:
        """A frame that was kept without compression (PS3.5 A.4.11), or deflated by itself (PS3.5 A.4.13)."""
        frame = self._codestreams[index]
        if self.pixel.transfer_syntax_uid == _DEFLATED_FRAMES:
            try:
                frame = zlib.decompressobj(-zlib.MAX_WBITS).decompress(frame, self.pixel.native_frame_bits // 8 + 1)
            except zlib.error as error:
                raise ValueError("one of its frames cannot be inflated; send it again") from error
        needed = (self.pixel.native_frame_bits + 7) // 8
        if len(frame) < needed:
            raise ValueError(f"a frame claims {needed} bytes and holds {len(frame)}; send it again")
        return frame[:needed]

    def _native(self, index: int) -> NDArray[np.generic]:
        pixel = self.pixel
        first, bits = index * pixel.native_frame_bits, pixel.native_frame_bits
        if pixel.bits_allocated == 1:  # frames follow each other without a gap (PS3.5 8.1.1)
            packed = self._encoded.native_bytes(first // 8, (first + bits + 7) // 8 - first // 8)
            return np.unpackbits(packed, bitorder="little")[first % 8 :][:bits].reshape(pixel.shape)
        if (
            not pixel.little_endian and pixel.word_vr and pixel.bits_allocated == 8
        ):  # words of two samples, turned round
            start, end = first // 16 * 2, (first + bits + 15) // 16 * 2
            words = self._encoded.native_bytes(start, end - start).reshape(-1, 2)[:, ::-1]
            return self._unpacked(words.ravel()[first // 8 - start :][: bits // 8])
        return self._unpacked(self._encoded.native_bytes(first // 8, bits // 8))

    def _unpacked(self, frame: NDArray[np.uint8]) -> NDArray[np.generic]:
        """Samples of the bytes of a frame that is not compressed: `rows columns` or RGB `rows columns 3`."""
        pixel = self.pixel
        if pixel.bits_allocated == 1:
            return np.unpackbits(frame, bitorder="little")[: pixel.native_frame_bits].reshape(pixel.shape)
        size, partial = divmod(pixel.bits_allocated, 8)
        if partial or size not in (1, 2, 4, 8):
            raise ValueError(f"allocates {pixel.bits_allocated} bits for a sample, which is not read; convert it")
        kind = "f" if pixel.is_float else "u"
        samples = frame.view(np.dtype(f"{'<' if pixel.little_endian else '>'}{kind}{size}"))
        samples = samples.astype(samples.dtype.newbyteorder("="), copy=False)
        if pixel.samples_per_pixel == 1:
            return samples.reshape(pixel.shape)
        if pixel.photometric_interpretation == "YBR_FULL_422":  # Y Y B R for each two pixels
            pairs = samples.reshape(pixel.rows, pixel.columns // 2, 4)
            luma = pairs[..., :2].reshape(pixel.rows, pixel.columns)
            samples = np.stack([luma, *(np.repeat(pairs[..., k], 2, axis=1) for k in (2, 3))], axis=-1)
        elif pixel.planar_configuration == 1:
            samples = np.moveaxis(samples.reshape(pixel.samples_per_pixel, pixel.rows, pixel.columns), 0, -1)
        else:
            samples = samples.reshape(pixel.shape)
        if pixel.photometric_interpretation in ("YBR_FULL", "YBR_FULL_422"):
            return np.asarray(convert_color_space(samples, pixel.photometric_interpretation, "RGB"))
        return samples

    def _significant(self, frame: NDArray[np.generic], codestream: Codestream) -> NDArray[np.generic]:
        """The BitsStored bits below HighBit, sign extended (PS3.5 8.1.1)."""
        pixel = self.pixel
        size = max(1, pixel.bits_allocated // 8)
        if frame.dtype.itemsize != size:  # a decoder takes as much as the codestream's precision needs
            frame = frame.astype(f"{frame.dtype.kind}{size}")
        samples = frame.view(f"u{size}")
        if not samples.flags.writeable:
            samples = samples.copy()
        stored, precision = pixel.bits_stored, codestream.precision
        # A codestream of BitsStored bits has nothing below them, whatever HighBit says.
        if (shift := pixel.high_bit + 1 - stored) and (precision is None or precision > stored):
            samples >>= shift
        # JPEG-LS has no sign, and encoders of JPEG 2000 forget it: then the sign is the codestream's highest bit.
        if precision is not None and codestream.signed is not None and codestream.signed != pixel.signed:
            stored = min(stored, precision)
        unused = 8 * size - stored
        if not pixel.signed:
            if unused:
                samples &= (1 << stored) - 1
            return samples
        signed = samples.view(f"i{size}")
        if unused:
            signed <<= unused
            signed >>= unused
        return signed

    def _through_palette(self, indices: NDArray[np.generic]) -> NDArray[np.uint8]:
        pixel = self.pixel
        palette = Dataset()
        palette.set_original_encoding(False, True)  # the endianness of segmented tables
        numbers = ">u2" if not pixel.little_endian else "<u2"
        for tag, value in pixel.palette.items():
            if tag < _PALETTE_DATA:
                palette.add_new(tag, "US", np.frombuffer(value[:6], numbers).tolist())
            else:
                words = pixel.little_endian or len(value) % 2
                palette.add_new(tag, "OW", value if words else np.frombuffer(value, ">u2").astype("<u2").tobytes())
        require_short_palette(palette)
        bits = int(palette.RedPaletteColorLookupTableDescriptor[2])
        # Some writers declare 16 bits and fill 8 (PS3.3 C.7.6.3.1.5 tells to expect it).
        colors = apply_color_lut(indices, palette)[..., :3]
        shift = 8 if bits > 8 and int(colors.max(initial=0)) > 255 else 0
        return np.asarray(colors >> shift, dtype=np.uint8)
