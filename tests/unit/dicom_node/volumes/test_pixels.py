"""Stored values of each transfer syntax, of each way in which bits and colours lie, and of what is broken."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.pixels import get_encoder
from pydicom.uid import (
    HTJ2K,
    MPEG2MPML,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from dicom_node.errors import VolumeRefusal, VolumeRefused
from dicom_node.volumes import decoders
from dicom_node.volumes.pixels import frames_of, stored_frames

ROWS, COLUMNS = 16, 24
NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
DEFLATED_FRAMES, ENCAPSULATED_UNCOMPRESSED = "1.2.840.10008.1.2.8.1", "1.2.840.10008.1.2.1.98"


def ramp(frames: int = 1, top: int = 4095) -> np.ndarray:
    """uint16 `frames rows columns`; each frame and each pixel differs from its neighbours, and the top is reached."""
    values = np.arange(frames * ROWS * COLUMNS, dtype=np.int64).reshape(frames, ROWS, COLUMNS) * 37 % (top + 1)
    values[..., 3, 5] = top
    return values.astype(np.uint16)


def colours() -> np.ndarray:
    """uint8 `rows columns 3`, smooth, so that lossy compression keeps it."""
    rows, columns = np.mgrid[:ROWS, :COLUMNS]
    return np.stack([rows * 15, columns * 10, 200 - rows * 5], axis=-1).astype(np.uint8)


def save(path: Path, syntax: str, pixels: bytes, **attributes: Any) -> Path:
    instance = Dataset()
    instance.file_meta = FileMetaDataset()
    # pydicom 3.0 does not write what it does not know.
    instance.file_meta.TransferSyntaxUID = ENCAPSULATED_UNCOMPRESSED if syntax == DEFLATED_FRAMES else syntax
    instance.SOPClassUID = instance.file_meta.MediaStorageSOPClassUID = CTImageStorage
    instance.SOPInstanceUID = instance.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    instance.SamplesPerPixel, instance.PhotometricInterpretation = 1, "MONOCHROME2"
    instance.Rows, instance.Columns = ROWS, COLUMNS
    instance.BitsAllocated, instance.BitsStored, instance.HighBit, instance.PixelRepresentation = 16, 12, 11, 0
    for keyword, value in attributes.items():
        setattr(instance, keyword, value)
    instance.PixelData = pixels
    instance["PixelData"].VR = "OB" if instance.BitsAllocated <= 8 else "OW"
    instance["PixelData"].is_undefined_length = syntax not in NATIVE
    implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    instance.save_as(path, implicit_vr=implicit, little_endian=little, enforce_file_format=True)
    if syntax == DEFLATED_FRAMES:
        written = DEFLATED_FRAMES.encode().ljust(len(ENCAPSULATED_UNCOMPRESSED), b"\0")
        path.write_bytes(path.read_bytes().replace(ENCAPSULATED_UNCOMPRESSED.encode(), written, 1))
    return path


def rgb(**attributes: Any) -> dict[str, Any]:
    return {
        "SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0,
        "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, **attributes,
    }  # fmt: skip


def only(path: Path) -> np.ndarray:
    (frame,) = stored_frames(path)
    return frame


def refusal(path: Path) -> VolumeRefused:
    with pytest.raises(VolumeRefused, match=r"1\.2\.3|\.dcm") as refused:
        list(frames_of([(path, None)]))
    return refused.value


LOSSLESS: dict[str, Callable[[np.ndarray], bytes]] = {
    JPEGLossless: lambda frame: imagecodecs.jpeg8_encode(
        frame, lossless=True, predictor=5, bitspersample=8 * frame.itemsize
    ),
    JPEGLosslessSV1: lambda frame: imagecodecs.jpeg8_encode(
        frame, lossless=True, predictor=1, bitspersample=8 * frame.itemsize
    ),
    JPEGLSLossless: lambda frame: imagecodecs.jpegls_encode(frame, out=1 << 16),
    JPEG2000Lossless: lambda frame: imagecodecs.jpeg2k_encode(frame, codecformat="j2k", reversible=True, level=0),
    HTJ2KLossless: lambda frame: imagecodecs.htj2k_encode(frame, reversible=True),
    ENCAPSULATED_UNCOMPRESSED: lambda frame: frame.tobytes(),
}


def _deflated(frame: np.ndarray) -> bytes:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    deflated = deflate.compress(frame.tobytes()) + deflate.flush()
    return deflated + b"\0" * (len(deflated) % 2)


def _run_lengths(frame: np.ndarray) -> bytes:
    samples = 1 if frame.ndim == 2 else frame.shape[2]
    attributes = {
        "rows": frame.shape[0], "columns": frame.shape[1], "samples_per_pixel": samples, "number_of_frames": 1,
        "bits_allocated": frame.itemsize * 8, "bits_stored": frame.itemsize * 8, "pixel_representation": 0,
        "photometric_interpretation": "MONOCHROME2" if samples == 1 else "RGB", "planar_configuration": 0,
    }  # fmt: skip
    return get_encoder(RLELossless).encode(frame.tobytes(), index=0, **attributes)


LOSSLESS |= {DEFLATED_FRAMES: _deflated, RLELossless: _run_lengths}


@pytest.mark.parametrize("syntax", LOSSLESS, ids=str)
@pytest.mark.parametrize("fragments", [1, 3])
@pytest.mark.parametrize("basic_offset_table", [False, True])
def test_every_lossless_syntax_gives_what_went_in(
    tmp_path: Path, syntax: str, fragments: int, basic_offset_table: bool
) -> None:
    if fragments > 1 and syntax in (RLELossless, DEFLATED_FRAMES, ENCAPSULATED_UNCOMPRESSED):
        pytest.skip("a frame is one fragment there (PS3.5 A.4.2)")
    frames = ramp(3)
    pixels = encapsulate([LOSSLESS[syntax](frame) for frame in frames], fragments, basic_offset_table)
    path = save(tmp_path / "one.dcm", syntax, pixels, NumberOfFrames=3)
    assert np.array_equal(list(stored_frames(path)), frames)
    assert np.array_equal(list(frames_of([(path, 2), (path, 0)])), frames[[2, 0]])


@pytest.mark.parametrize("syntax", NATIVE)
def test_native_frames(tmp_path: Path, syntax: str) -> None:
    frames = ramp(3)
    order = ">u2" if syntax == ExplicitVRBigEndian else "<u2"
    path = save(tmp_path / "one.dcm", syntax, frames.astype(order).tobytes() + b"\0\0", NumberOfFrames=3)
    assert np.array_equal(list(stored_frames(path)), frames)
    assert np.array_equal(next(stored_frames(path, [1])), frames[1])


def test_extended_offset_table(tmp_path: Path) -> None:
    frames = ramp(2)
    pixels, offsets, lengths = encapsulate_extended([LOSSLESS[JPEGLosslessSV1](frame) for frame in frames])
    path = save(
        tmp_path / "one.dcm", JPEGLosslessSV1, pixels, NumberOfFrames=2, ExtendedOffsetTable=offsets,
        ExtendedOffsetTableLengths=lengths,
    )  # fmt: skip
    assert np.array_equal(list(stored_frames(path)), frames)


def item(value: bytes) -> bytes:
    return b"\xfe\xff\x00\xe0" + len(value).to_bytes(4, "little") + value


@pytest.mark.parametrize("table", [b"", b"\x07\0\0\0\x09\0\0\0", b"\0\0\0\0\x0c\0\0\0", b"\0\0\0\0"])
def test_a_wrong_offset_table_is_not_believed(tmp_path: Path, table: bytes) -> None:
    frames = ramp(2)
    codestreams = [LOSSLESS[JPEG2000Lossless](frame) for frame in frames]
    pieces = [
        part for stream in codestreams for part in (stream[:4], stream[4:50], stream[50:] + b"\0" * (len(stream) % 2))
    ]
    path = save(
        tmp_path / "one.dcm",
        JPEG2000Lossless,
        item(table) + b"".join(map(item, [*pieces, b"", b"\0\0"])),
        NumberOfFrames=2,
    )
    assert np.array_equal(list(stored_frames(path)), frames)


def test_more_frames_than_the_header_says_are_left(tmp_path: Path) -> None:
    frames = ramp(3)
    pixels = encapsulate([LOSSLESS[JPEGLosslessSV1](frame) for frame in frames])
    assert np.array_equal(only(save(tmp_path / "one.dcm", JPEGLosslessSV1, pixels)), frames[0])


def test_fewer_frames_than_the_header_says_are_refused(tmp_path: Path) -> None:
    path = save(
        tmp_path / "one.dcm", JPEGLosslessSV1, encapsulate([LOSSLESS[JPEGLosslessSV1](ramp()[0])]), NumberOfFrames=2
    )
    with pytest.raises(VolumeRefused, match="2 frames, and its 1 fragments"):
        list(stored_frames(path))


def test_several_frames_in_a_class_of_one_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "one.dcm", ExplicitVRLittleEndian, ramp(2).tobytes(), NumberOfFrames=2)
    assert refusal(path).reason is VolumeRefusal.FRAMES_IN_SINGLE_FRAME_CLASS
    with pytest.raises(VolumeRefused, match="none with number 3"):
        list(frames_of([(path, 2)]))


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEGLosslessSV1, JPEG2000Lossless, RLELossless])
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_bits_outside_the_stored_ones_say_nothing(tmp_path: Path, syntax: str, data: st.DataObject) -> None:
    """Whatever stands above HighBit and below the lowest stored bit, and with a sign or without."""
    stored = data.draw(st.integers(1, 16), label="BitsStored")
    high = data.draw(st.integers(stored - 1, 15), label="HighBit")
    signed = data.draw(st.booleans(), label="signed")
    values = ramp(top=2**stored - 1)[0]
    noise = np.random.default_rng(0).integers(0, 1 << 16, values.shape, np.uint16)
    shift = high + 1 - stored
    mask = np.uint16(((1 << stored) - 1) << shift)
    words = (values << np.uint16(shift)) | (noise & ~mask)
    expected = values.astype(np.int64)
    if signed:
        expected -= (expected >> (stored - 1)) << stored
    pixels = words.tobytes() if syntax == ExplicitVRLittleEndian else encapsulate([LOSSLESS[syntax](words)])
    path = save(tmp_path / "one.dcm", syntax, pixels, BitsStored=stored, HighBit=high, PixelRepresentation=int(signed))
    assert np.array_equal(only(path), expected)


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless])
def test_a_codestream_without_a_sign_gets_the_headers(tmp_path: Path, syntax: str) -> None:
    """JPEG-LS knows no sign; encoders of JPEG 2000 forget it."""
    values = ramp()[0].astype(np.int64) - 2048
    words = (values & 0xFFF).astype(np.uint16)
    encode: dict[str, Callable[[], bytes]] = {
        JPEGLSLossless: lambda: imagecodecs.jpegls_encode(words, out=1 << 16),
        JPEG2000Lossless: lambda: imagecodecs.jpeg2k_encode(
            words, codecformat="j2k", reversible=True, level=0, bitspersample=12
        ),
    }
    path = save(tmp_path / "one.dcm", syntax, encapsulate([encode[syntax]()]), PixelRepresentation=1)
    assert np.array_equal(only(path), values)


def test_a_codestream_of_the_stored_bits_is_aligned_whatever_high_bit_says(tmp_path: Path) -> None:
    codestream = imagecodecs.jpeg2k_encode(ramp()[0], codecformat="j2k", reversible=True, level=0, bitspersample=12)
    path = save(tmp_path / "one.dcm", JPEG2000Lossless, encapsulate([codestream]), HighBit=15)
    assert np.array_equal(only(path), ramp()[0])


def test_jpeg_of_twelve_bits(tmp_path: Path) -> None:
    smooth = np.add.outer(np.arange(ROWS), np.arange(COLUMNS)).astype(np.uint16) * 100
    codestream = imagecodecs.jpeg8_encode(smooth, level=100, bitspersample=12)
    frame = only(save(tmp_path / "one.dcm", JPEGExtended12Bit, encapsulate([codestream])))
    assert frame.dtype == np.uint16 and np.abs(frame.astype(int) - smooth).max() <= 8


def test_one_bit_for_a_pixel(tmp_path: Path) -> None:
    """Frames follow each other without filling bytes up (PS3.5 8.1.1)."""
    values = (ramp(3) % 2).astype(np.uint8)[:, :5, :7]
    packed = np.packbits(values.ravel(), bitorder="little").tobytes() + b"\0"
    path = save(
        tmp_path / "one.dcm", ExplicitVRLittleEndian, packed, NumberOfFrames=3, Rows=5, Columns=7, BitsAllocated=1,
        BitsStored=1, HighBit=0,
    )  # fmt: skip
    assert np.array_equal(list(stored_frames(path)), values)


@pytest.mark.parametrize("keyword", ["FloatPixelData", "DoubleFloatPixelData"])
def test_float_pixels(tmp_path: Path, keyword: str) -> None:
    double = keyword == "DoubleFloatPixelData"
    values = (ramp()[0] / 7 - 100).astype(np.float64 if double else np.float32)
    path = save(tmp_path / "one.dcm", ExplicitVRLittleEndian, b"")
    instance = dcmread(path)
    del instance.PixelData, instance.BitsStored, instance.HighBit, instance.PixelRepresentation
    instance.BitsAllocated = 64 if double else 32
    setattr(instance, keyword, values.tobytes())
    instance.save_as(path)
    frame = only(path)
    assert frame.dtype == np.float32 and np.array_equal(frame, values.astype(np.float32))


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_native_colours(tmp_path: Path, planar: int, syntax: str) -> None:
    samples = colours() if planar == 0 else np.moveaxis(colours(), -1, 0)
    path = save(tmp_path / "one.dcm", syntax, samples.tobytes(), **rgb(PlanarConfiguration=planar))
    assert np.array_equal(only(path), colours())


@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, HTJ2KLossless, RLELossless])
def test_compressed_colours(tmp_path: Path, syntax: str) -> None:
    encode = dict(LOSSLESS)
    encode[JPEGLosslessSV1] = lambda frame: imagecodecs.jpeg8_encode(
        frame, lossless=True, colorspace="RGB", outcolorspace="RGB"
    )
    encode[JPEG2000Lossless] = lambda frame: imagecodecs.jpeg2k_encode(
        frame, codecformat="j2k", reversible=True, level=0, mct=True
    )
    attributes = rgb(PhotometricInterpretation="YBR_RCT" if syntax in (JPEG2000Lossless, HTJ2K) else "RGB")
    path = save(tmp_path / "one.dcm", syntax, encapsulate([encode[syntax](colours())]), **attributes)
    assert np.array_equal(only(path), colours())


def ybr_422(samples: np.ndarray) -> bytes:
    """Y Y B R for each two pixels (PS3.3 C.7.6.3.1.2)."""
    red, green, blue = (samples[..., channel].astype(float) for channel in range(3))
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    chroma = [128 + (blue - luma) / 1.772, 128 + (red - luma) / 1.402]
    halved = [channel.reshape(ROWS, -1, 2).mean(axis=2) for channel in chroma]
    pairs = np.stack([luma[:, 0::2], luma[:, 1::2], *halved], axis=-1)
    return pairs.round().astype(np.uint8).tobytes()


def test_subsampled_native_colours(tmp_path: Path) -> None:
    path = save(
        tmp_path / "one.dcm",
        ExplicitVRLittleEndian,
        ybr_422(colours()),
        **rgb(PhotometricInterpretation="YBR_FULL_422"),
    )
    assert np.abs(only(path).astype(int) - colours()).max() <= 12  # chroma is shared by two pixels


@pytest.mark.parametrize("interpretation", ["RGB", "YBR_FULL_422"])
def test_the_header_says_what_the_colours_of_a_jpeg_are(tmp_path: Path, interpretation: str) -> None:
    """As in DCMTK, whatever JFIF or Adobe markers say."""
    ybr = interpretation == "YBR_FULL_422"
    space = {} if ybr else {"colorspace": "RGB", "outcolorspace": "RGB"}
    codestream = imagecodecs.jpeg8_encode(colours(), level=98, **space)
    attributes = rgb(PhotometricInterpretation=interpretation)
    path = save(tmp_path / "one.dcm", JPEGBaseline8Bit, encapsulate([codestream]), **attributes)
    assert np.abs(only(path).astype(int) - colours()).max() <= 12


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless])
def test_palette(tmp_path: Path, bits: int, syntax: str) -> None:
    indices = (ramp()[0] % 200).astype(np.uint8)
    tables = [np.arange(200, dtype=np.uint16) + offset for offset in (0, 20, 50)]
    order = ">u2" if syntax == ExplicitVRBigEndian else "<u2"
    # Two entries of 8 bits are one word (PS3.3 C.7.6.3.1.6).
    words = [table.astype(np.uint8).view("<u2") if bits == 8 else table << 8 for table in tables]
    written = [table.astype(order) for table in words]
    attributes: dict[str, Any] = {}
    for colour, table in zip(("Red", "Green", "Blue"), written, strict=True):
        attributes[f"{colour}PaletteColorLookupTableDescriptor"] = [200, 0, bits]
        attributes[f"{colour}PaletteColorLookupTableData"] = table.tobytes()
    pixels = encapsulate([_run_lengths(indices)]) if syntax == RLELossless else indices.tobytes()
    path = save(
        tmp_path / "one.dcm", syntax, pixels, PhotometricInterpretation="PALETTE COLOR", BitsAllocated=8, BitsStored=8,
        HighBit=7, **attributes,
    )  # fmt: skip
    assert np.array_equal(only(path), np.stack([table[indices] for table in tables], axis=-1))


def test_the_order_is_kept_and_the_first_refusal_comes_at_its_place(tmp_path: Path) -> None:
    series = []
    for index in range(12):
        pixels = (ramp()[0] + index).tobytes()
        series.append(save(tmp_path / f"{index}.dcm", ExplicitVRLittleEndian, pixels if index != 7 else pixels[:-9]))
    frames = frames_of([(path, None) for path in series])
    for index in range(7):
        assert np.array_equal(next(frames), (ramp()[0] + index) & 0xFFF)
    with pytest.raises(VolumeRefused, match="claims 768 bytes of pixels and holds 760"):
        next(frames)


def test_a_decoder_that_fails_is_followed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("it read 'Doe^Jane' and gave up")

    path = save(tmp_path / "one.dcm", JPEGLosslessSV1, encapsulate([LOSSLESS[JPEGLosslessSV1](ramp()[0])]))
    monkeypatch.setattr(imagecodecs, "jpeg8_decode", fail)
    assert np.array_equal(only(path), ramp()[0])
    monkeypatch.setattr(decoders, "_PYDICOM", ())
    refused = refusal(path)
    assert refused.reason is VolumeRefusal.UNDECODABLE_PIXEL_DATA
    assert "imagecodecs: it read" in refused.detail and "Doe" not in refused.detail


@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, JPEGBaseline8Bit])
def test_half_a_codestream_is_no_image(tmp_path: Path, syntax: str) -> None:
    encode = {**LOSSLESS, JPEGBaseline8Bit: lambda frame: imagecodecs.jpeg8_encode(frame.astype(np.uint8))}
    codestream = encode[syntax](ramp()[0])
    eight = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7} if syntax == JPEGBaseline8Bit else {}
    path = save(tmp_path / "one.dcm", syntax, encapsulate([codestream[: len(codestream) // 4 * 2]]), **eight)
    assert "ends before its end marker" in refusal(path).detail


@pytest.mark.parametrize(
    ("syntax", "says"),
    [
        (MPEG2MPML, "is video .*export the key frames"),
        ("1.2.840.10008.1.2.4.58", "which nothing here decodes"),
        ("1.2.3.4.5", "which nothing here decodes"),
    ],
)
def test_syntaxes_that_nothing_decodes_are_named(tmp_path: Path, syntax: str, says: str) -> None:
    path = save(tmp_path / "one.dcm", syntax, encapsulate([b"\xff\xd8\xff\xd9"]))
    with pytest.raises(VolumeRefused, match=says):
        only(path)


@pytest.mark.parametrize("cut", [1, 8, 20])
def test_a_file_that_ends_inside_its_pixels(tmp_path: Path, cut: int) -> None:
    compressed = save(tmp_path / "a.dcm", JPEGLosslessSV1, encapsulate([LOSSLESS[JPEGLosslessSV1](ramp()[0])]))
    native = save(tmp_path / "b.dcm", ExplicitVRLittleEndian, ramp()[0].tobytes())
    for path in (compressed, native):
        path.write_bytes(path.read_bytes()[:-cut])
        assert refusal(path).reason is VolumeRefusal.TRUNCATED_PIXEL_DATA


def test_contradictions_are_refused_by_name(tmp_path: Path) -> None:
    codestream = LOSSLESS[JPEGLosslessSV1](ramp()[0])
    shape = save(tmp_path / "a.dcm", JPEGLosslessSV1, encapsulate([codestream]), Columns=COLUMNS * 2)
    assert "says 16 x 24 in its codestream, 16 x 48 in its header" in refusal(shape).detail
    colour = save(tmp_path / "b.dcm", JPEGLosslessSV1, encapsulate([codestream]), PhotometricInterpretation="RGB")
    assert "one sample" in refusal(colour).detail
    native = save(tmp_path / "c.dcm", JPEGLosslessSV1, encapsulate([codestream]))
    native.write_bytes(native.read_bytes().replace(b"\xfe\xff\x00\xe0", b"\0\0\0\0"))
    assert "no item where one should be" in refusal(native).detail
    empty = save(tmp_path / "d.dcm", ExplicitVRLittleEndian, b"")
    assert refusal(empty).reason is VolumeRefusal.TRUNCATED_PIXEL_DATA
    packed = save(tmp_path / "e.dcm", ExplicitVRLittleEndian, ramp()[0].tobytes(), BitsAllocated=12, BitsStored=12)
    assert "allocates 12 bits" in refusal(packed).detail


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_a_value_of_megabytes_before_the_pixels_moves_nothing(tmp_path: Path, syntax: str) -> None:
    noise = np.random.default_rng(16).bytes(5 << 20)
    path = save(tmp_path / "one.dcm", syntax, ramp()[0].tobytes())
    instance = dcmread(path)
    instance.add_new(0x00090010, "LO", "SOMEBODY")
    instance.add_new(0x00091001, "OB", noise)
    instance.save_as(path)
    assert np.array_equal(only(path), ramp()[0] & 0xFFF)
    path.write_bytes(path.read_bytes()[: 3 << 20])
    assert refusal(path).reason is VolumeRefusal.TRUNCATED_PIXEL_DATA


def test_a_broken_element_that_nobody_needs_stops_nothing(tmp_path: Path) -> None:
    path = save(tmp_path / "one.dcm", ExplicitVRLittleEndian, ramp()[0].tobytes(), FilterType="WEDGE1", PatientID="P1")
    whole = path.read_bytes()
    for wrong in (
        whole.replace(b"\x18\x00\x60\x11SH", b"\x18\x00\x60\x11QQ", 1),
        whole.replace(b"\x10\x00\x20\x00LO", b"\x10\x00\x20\x00??", 1),
    ):
        assert wrong != whole
        path.write_bytes(wrong)
        assert np.array_equal(only(path), ramp()[0])


@pytest.mark.shared_data
def test_every_decoder_of_a_syntax_gives_the_same_on_real_images(shared_data: Path) -> None:
    """Lossless ones bit for bit."""
    for name in ("CT1_JPLL", "GH610.dcm"):
        (path,) = (shared_data.parent / "cases").glob(f"*/{name}")
        expected = dcmread(path)
        expected.pixel_array_options(decoding_plugin="gdcm")
        assert np.array_equal(only(path), expected.pixel_array)


@pytest.mark.shared_data
def test_real_jpeg_of_twelve_bits(shared_data: Path) -> None:
    (path,) = (shared_data.parent / "cases").glob("*/MR1_JPLY")
    frame = only(path)
    assert (frame.shape, frame.min(), frame.max()) == ((512, 512), 0, 3970)  # as dcmdjpeg has it
