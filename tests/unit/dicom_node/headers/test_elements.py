from __future__ import annotations

import zlib
from io import BytesIO
from pathlib import Path

from pydicom import dcmread
from pydicom.data import get_testdata_file

from dicom_node.headers.elements import read_data_set_header, text


def test_deflated_data_sets_are_inflated_up_to_a_bound() -> None:
    plain = Path(get_testdata_file("CT_small.dcm"))  # type: ignore[arg-type]
    data_set = plain.read_bytes()[plain.read_bytes().index(b"\x08\x00\x05\x00CS") :]
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = deflate.compress(data_set) + deflate.compress(b"\x00" * 100_000_000) + deflate.flush()
    header = read_data_set_header(BytesIO(bomb), "1.2.840.10008.1.2.1.99", ["SOPInstanceUID"])
    assert text(header, "SOPInstanceUID") == dcmread(plain).SOPInstanceUID
