"""Sequences of so many items that they are encoded at once: pydicom takes seconds for some ten thousand elements."""

from __future__ import annotations

import functools
import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom.charset import encode_string
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.valuerep import CUSTOMIZABLE_CHARSET_VR

from dicom_node.headers.identity import EncodedElement, EncodedItem, element_tag
from dicom_node.results.identity import ResultIdentity

__all__ = ["ItemEncoder", "PreparedElement", "prepared_sequence"]

_Value = str | int | NDArray[np.float64] | Sequence[EncodedItem]
_SEQUENCE_HEAD = 12
"""Bytes of tag, VR and length (PS3.5 7.1.2)."""


class PreparedElement(RawDataElement):
    """A sequence as `save` writes it, in the character set of its job. To pydicom it is one that was just read."""


def prepared_sequence(keyword: str, items: Sequence[EncodedItem]) -> PreparedElement:
    """The element of a data set that holds `items`."""
    tag = element_tag(keyword)
    value = EncodedElement(tag, "SQ", tuple(items)).encoded()[_SEQUENCE_HEAD:]
    return PreparedElement(tag, "SQ", len(value), value, 0, False, True)


class ItemEncoder:
    """Encodes items of sequences for the objects of one job, whose `identity` says how texts are written."""

    def __init__(self, identity: ResultIdentity) -> None:
        self._identity, self._encodings = identity, identity.encodings
        self._texts: dict[tuple[str, str], bytes] = {}

    def item(self, **values: _Value) -> EncodedItem:
        """An item with these attributes: text also for IS, whole numbers for US, `values` for FL, items for SQ."""
        return tuple(sorted((self._element(*item) for item in values.items()), key=lambda element: element.tag))

    def _element(self, keyword: str, value: _Value) -> EncodedElement:
        tag, vr = _attribute(keyword)
        if isinstance(value, str):
            return EncodedElement(tag, vr, self._text(value, vr))
        if isinstance(value, int):
            return EncodedElement(tag, vr, struct.pack("<H", value))
        if isinstance(value, np.ndarray):
            return EncodedElement(tag, vr, value.astype("<f4").tobytes())
        return EncodedElement(tag, vr, tuple(value))

    def _text(self, text: str, vr: str) -> bytes:
        if (known := self._texts.get((text, vr))) is not None:
            return known
        if vr in CUSTOMIZABLE_CHARSET_VR:
            written = encode_string(self._identity.fitted(text, vr), self._encodings)
        else:
            written = text.encode("ascii")
        return self._texts.setdefault((text, vr), written + (b"\0" if vr == "UI" else b" ") * (len(written) % 2))


@functools.cache
def _attribute(keyword: str) -> tuple[int, str]:
    tag = element_tag(keyword)
    return int(tag), dictionary_VR(tag)
