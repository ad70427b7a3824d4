"""Fuzzes what is read of a data set when it is received and when its study is planned."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.fuzz.running import fuzz, instrumented

with instrumented:
    from dicom_node.errors import IdentifierMismatch, UnparseableInstance
    from dicom_node.headers.elements import read_file_header
    from dicom_node.headers.identity import source_identity
    from dicom_node.headers.instance import INSTANCE_KEYWORDS, checked_identifiers, instance_header
    from dicom_node.headers.raw import read_header
    from dicom_node.headers.study import read_study_header
    from dicom_node.results.stored_report import ReportUnreadable, read_stored_report

from tests.unit.dicom_node.hostile.mutations import seeds

_FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-", dir="/dev/shm"))


def read(contents: bytes) -> None:
    path = _FOLDER / "a.dcm"
    path.write_bytes(contents)
    try:
        _, header = read_file_header(path, INSTANCE_KEYWORDS)
        instance_header(header)
        read_study_header({"1.2.1": [path]})
        source_identity(read_header(path))
        checked_identifiers(header)
        read_stored_report(path)
    except (UnparseableInstance, IdentifierMismatch, ReportUnreadable):
        pass


if __name__ == "__main__":
    fuzz(read, seeds(_FOLDER))
