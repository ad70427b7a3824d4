"""Which files `ask` looks at, and what it says of the others."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from workflows.commands.ask import ask, look_for_series
from workflows.errors import CallError
from workflows.settings import Settings

IMAGE = Path(str(get_testdata_file("CT_small.dcm", download=False)))
LONG = "1.2." + "3" * 66


def with_long_uid(path: Path) -> Path:
    whole = IMAGE.read_bytes()
    uid = dcmread(IMAGE).SeriesInstanceUID.encode()
    written = len(uid) + len(uid) % 2
    head = b"\x20\x00\x0e\x00UI"
    at = whole.index(head)
    value = head + len(LONG).to_bytes(2, "little") + LONG.encode()
    path.write_bytes(whole[:at] + value + whole[at + 8 + written :])
    return path


def test_a_folder_of_refused_files_says_the_first_reasons(tmp_path: Path) -> None:
    for index in range(5):
        with_long_uid(tmp_path / f"{index}.dcm")
    (tmp_path / "0-read-me.txt").write_text("no image")
    with pytest.raises(CallError) as refused:
        ask(tmp_path, "Where is the liver?", Settings(), tmp_path / "out")
    lines = str(refused.value).splitlines()
    assert lines[:2] == [f"no file under {tmp_path} can be read", "6 files were passed over:"]
    assert "0.dcm: Series Instance UID has 70 characters" in lines[2] and lines[5] == "  and 3 more"


def test_a_folder_without_dicom_says_so_and_why(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("no image")
    with pytest.raises(CallError, match=r"holds no DICOM files\n1 files were passed over:\n.*letter\.txt"):
        ask(tmp_path, "Where is the liver?", Settings(), tmp_path / "out")


def test_what_was_passed_over_is_counted_and_the_rest_is_read(tmp_path: Path) -> None:
    shutil.copy(IMAGE, tmp_path / "good.dcm")
    wrong = with_long_uid(tmp_path / "wrong.dcm")
    found = look_for_series(tmp_path)
    assert list(found.series.values()) == [[tmp_path / "good.dcm"]]
    assert found.told() == [
        "1 files were passed over:",
        f"  {wrong}: Series Instance UID has 70 characters; a UID has at most 64",
    ]
    with pytest.raises(CallError, match="Series Instance UID has 70 characters"):
        look_for_series(wrong)
