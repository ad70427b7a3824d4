"""A message and its arrays as bytes: what was declared is checked before anything is made of it.

    4 bytes    MSR1
    4 bytes    length of the JSON, unsigned, little endian
    JSON       UTF-8, an object; "arrays" lists {"dtype", "shape"} of each array, in order
    arrays     one behind the other, C order, little endian; bool as packed bits, the highest bit first

The length of the whole follows from what is declared, so one byte more or less is refused. No pickle, no compression.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

__all__ = ["CONTENT_TYPE", "MOST_BYTES", "BadMessage", "Packed", "pack", "unpack"]

CONTENT_TYPE = "application/x-medseg-arrays"
MOST_BYTES = 2 * 1024**3
"""The largest message that is sent or taken, unless somebody says otherwise: 2000 slices of 512 x 512 floats."""

_MAGIC = b"MSR1"
_MOST_JSON, _MOST_ARRAYS, _MOST_AXES = 16 * 1024**2, 4096, 4
_DTYPES: dict[str, np.dtype[Any]] = {
    "float32": np.dtype("<f4"),
    "uint8": np.dtype("u1"),
    "bool": np.dtype(np.bool_),
}


class BadMessage(ValueError):
    """Bytes that are no message, or a message that is not what it must be; the text says what is wrong with it."""


class Packed:
    """A message as bytes, in chunks: an array is not copied to be sent. `size`: bytes in all."""

    def __init__(self, head: bytes, arrays: Sequence[NDArray[Any]]) -> None:
        self._head, self._arrays = head, tuple(arrays)
        self.size = len(head) + sum(_bytes_of(array.dtype.name, array.shape) for array in arrays)

    def __iter__(self) -> Iterator[bytes]:
        yield self._head
        for array in self._arrays:
            if array.dtype == np.bool_:
                yield np.packbits(array.reshape(-1)).tobytes()
                continue
            plain = np.ascontiguousarray(array, dtype=_DTYPES[array.dtype.name]).reshape(-1).view(np.uint8)
            for start in range(0, plain.size, _CHUNK):
                yield plain[start : start + _CHUNK].tobytes()


_CHUNK = 1024**2


def pack(message: dict[str, Any], arrays: Sequence[NDArray[Any]] = ()) -> Packed:
    """Return a message with its arrays, float32, uint8 or bool. Raises ValueError for another array, or NaN in JSON."""
    for array in arrays:
        if array.dtype.name not in _DTYPES or array.ndim > _MOST_AXES:
            raise ValueError(f"an array of {array.dtype} with {array.ndim} axes cannot be sent")
    declared = [{"dtype": array.dtype.name, "shape": list(array.shape)} for array in arrays]
    text = json.dumps(message | {"arrays": declared}, allow_nan=False).encode()
    return Packed(_MAGIC + len(text).to_bytes(4, "little") + text, arrays)


def unpack(body: bytes | bytearray | memoryview) -> tuple[dict[str, Any], list[NDArray[Any]]]:
    """Return a message and its arrays, which are read-only views of `body` but for masks.

    Raises `BadMessage` for anything but a whole message with nothing behind it.
    """
    view = memoryview(body)
    if len(view) < 8 or bytes(view[:4]) != _MAGIC:
        raise BadMessage("no message: it does not begin with MSR1")
    length = int.from_bytes(view[4:8], "little")
    if length > min(_MOST_JSON, len(view) - 8):
        raise BadMessage(f"its JSON is declared with {length} bytes; {min(_MOST_JSON, len(view) - 8)} can be there")
    message = _json(bytes(view[8 : 8 + length]))
    kinds = _declared(message.pop("arrays", None))
    sizes = [_bytes_of(*kind) for kind in kinds]
    rest = view[8 + length :]
    if sum(sizes) != len(rest):
        raise BadMessage(f"its arrays are declared with {sum(sizes)} bytes; {len(rest)} are there")
    arrays = list[NDArray[Any]]()
    start = 0
    for (dtype, shape), size in zip(kinds, sizes, strict=True):
        arrays.append(_array(rest[start : start + size], dtype, shape))
        start += size
    return message, arrays


def _json(text: bytes) -> dict[str, Any]:
    try:
        message = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise BadMessage("its JSON cannot be read") from error
    if not isinstance(message, dict):
        raise BadMessage("its JSON is no object")
    return message


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _declared(arrays: object) -> list[tuple[str, tuple[int, ...]]]:
    if not isinstance(arrays, list) or len(arrays) > _MOST_ARRAYS:
        raise BadMessage(f"arrays is no list of at most {_MOST_ARRAYS}")
    kinds = []
    for number, entry in enumerate(arrays):
        dtype, shape = (entry.get("dtype"), entry.get("shape")) if isinstance(entry, dict) else (None, None)
        if not isinstance(dtype, str) or dtype not in _DTYPES:
            raise BadMessage(f"array {number} has a dtype that is none of {', '.join(_DTYPES)}")
        axes = isinstance(shape, list) and len(shape) <= _MOST_AXES and all(type(n) is int and n >= 0 for n in shape)
        if not isinstance(shape, list) or not axes:
            raise BadMessage(f"array {number} has a shape that is no list of at most {_MOST_AXES} sizes")
        kinds.append((dtype, tuple(shape)))
    return kinds


def _bytes_of(dtype: str, shape: Sequence[int]) -> int:
    values = math.prod(shape)
    return -(-values // 8) if dtype == "bool" else values * _DTYPES[dtype].itemsize


def _array(data: memoryview, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    if dtype == "bool":
        bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8), count=math.prod(shape))
        return bits.view(np.bool_).reshape(shape)
    return np.frombuffer(data, dtype=_DTYPES[dtype]).reshape(shape)
