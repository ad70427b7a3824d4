"""QIDO-RS and WADO-RS, and Orthanc's REST interface, with scripted servers whose answers are odd."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pydicom
import pytest

from dicom_node.errors import IdentifierMismatch, PeerRejected, PeerUnreachable
from dicom_node.network.archive import open_archive
from dicom_node.network.association import Timeouts
from dicom_node.network.multipart import BrokenMultipart, parts
from dicom_node.network.orthanc import delete_instances, delete_study
from dicom_node.network.records import Archive
from tests.unit.dicom_node.network.web_peer import Answer, Asked, WebPeer, web_peer

SOON = Timeouts(connection_s=2, dimse_s=0.3)


def client(peer: WebPeer) -> Archive:
    return open_archive(peer.address, "MEDSEG", timeouts=SOON)


def row(**values: Any) -> dict[str, Any]:
    tags = {
        "study": "0020000D", "series": "0020000E", "instance": "00080018", "patient": "00100020", "name": "00100010",
        "date": "00080020", "modality": "00080060", "description": "00081030",
    }  # fmt: skip
    return {tags[key]: {"vr": "UI", "Value": [value]} for key, value in values.items()}


def rows_answer(rows: list[Any]) -> Callable[[Asked], Answer]:
    """Answers pages as the standard says."""

    def answer(asked: Asked) -> Answer:
        query = parse_qs(urlsplit(asked.path).query)
        first, most = int(query.get("offset", ["0"])[0]), int(query["limit"][0])
        page = rows[first : first + most]
        return Answer(200, json.dumps(page).encode()) if page else Answer(204)

    return answer


def test_the_query_names_its_keys_and_rows_of_others_are_left_out() -> None:
    rows = [
        row(study="1.2.1", patient="P1", date="20240101", name={"Alphabetic": "A^B"}),
        row(study="1.2.1", patient="P1"),
        row(study="1.2.2", patient="P2"),
        row(study="1.2.3"),
        row(study="../../x", patient="P1"),
        row(study="1.2.4", patient=["P1"]),
        {"0020000D": "1.2.5", "00100020": {"Value": "P1"}},
        {"0020000D": {"Value": [None]}},
        "nonsense",
        None,
    ]
    with web_peer(rows_answer(rows), "medseg", "secret") as peer:
        (found,) = client(peer).studies(patient_id="P1")
    assert (found.study_uid, found.patient_name, found.study_date) == ("1.2.1", "A^B", "20240101")
    first = peer.asked[0]
    assert urlsplit(first.path).path == "/dicom-web/studies"
    query = parse_qs(urlsplit(first.path).query)
    assert query["PatientID"] == ["P1"] and "PatientName" in query["includefield"]
    assert first.headers["Authorization"].startswith("Basic ")
    assert first.headers["Host"] == urlsplit(peer.address.dicomweb_url).netloc


def test_all_pages_are_read_and_an_archive_without_pages_is_no_circle() -> None:
    rows = [row(study=f"1.2.{number}", patient="P1") for number in range(2500)]
    with web_peer(rows_answer(rows)) as peer:
        assert len(client(peer).studies(patient_id="P1")) == 2500
    with web_peer(lambda asked: Answer(200, json.dumps(rows).encode())) as peer:
        assert len(client(peer).studies(patient_id="P1")) == 2500
        assert len(peer.asked) == 2


def test_too_many_rows_are_refused_instead_of_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicom_node.network.dicomweb.MOST_ROWS", 1500)
    rows = [row(study=f"1.2.{number}", patient="P1") for number in range(2500)]
    with web_peer(rows_answer(rows)) as peer, pytest.raises(PeerRejected, match="more than 1500"):
        client(peer).studies(patient_id="P1")


def test_nothing_found_and_long_values() -> None:
    with web_peer(lambda asked: Answer(204)) as peer:
        assert client(peer).studies(patient_id="P1") == []
        assert client(peer).series("1.2.3") == []
        assert client(peer).instances("1.2.3", "1.2.4") == []
    long = row(study="1.2.1", patient="P1", name={"Alphabetic": "x" * 65536}, description="y" * 65536)
    with web_peer(rows_answer([long, row(study="1.2.2", patient="P" * 65536)])) as peer:
        (found,) = client(peer).studies(patient_id="P1")
    assert (len(found.patient_name), len(found.study_description)) == (1024, 1024)


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (Answer(401), PeerUnreachable, "username and password"),
        (Answer(403), PeerUnreachable, "does not let this user in"),
        (Answer(404), PeerUnreachable, "correct the archive's address"),
        (Answer(500, b"PATIENT^NAME"), PeerUnreachable, "try again later"),
        (Answer(503), PeerUnreachable, "try again later"),
        (Answer(400, b"PATIENT^NAME"), PeerRejected, "refuses the request"),
        (Answer(200, b"<html>PATIENT^NAME</html>", "text/html"), PeerUnreachable, "no DICOM JSON"),
        (Answer(200, b'[{"0020000D"'), PeerUnreachable, "no DICOM JSON"),
        (Answer(200, b"[" * 100_000), PeerUnreachable, "no usable answer"),
        (Answer(200, b"7"), PeerUnreachable, "no usable answer"),
        (Answer(200, b"\xff\xfe\xff"), PeerUnreachable, "no DICOM JSON"),
        (Answer(0), PeerUnreachable, "no connection, or the connection was lost"),
        (Answer(302, headers={"Location": "/dicom-web/studies"}), PeerUnreachable, "in a circle"),
    ],
)
def test_odd_answers_are_named(answer: Answer, error: type[Exception], said: str) -> None:
    with web_peer(lambda asked: answer) as peer, pytest.raises(error, match=said) as raised:
        client(peer).studies(patient_id="P1")
    assert "PATIENT" not in str(raised.value)


def test_an_archive_that_falls_silent_is_unreachable(wait_for_end: Callable[[], None]) -> None:
    def silent(asked: Asked) -> Answer:
        wait_for_end()
        return Answer()

    with web_peer(silent) as peer, pytest.raises(PeerUnreachable, match="no answer in time"):
        client(peer).studies(patient_id="P1")


# --- WADO-RS ---


def multipart(*contents: bytes, boundary: str = "x-y", end: bool = True, preamble: bytes = b"") -> Answer:
    body = preamble
    for content in contents:
        body += f"\r\n--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode() + content
    body += f"\r\n--{boundary}--\r\n".encode() if end else b""
    kind = f'multipart/related; type="application/dicom"; boundary="{boundary}"'
    return Answer(200, body.removeprefix(b"\r\n"), kind)


@pytest.fixture
def study_uid(instances: list[Path]) -> str:
    return str(pydicom.dcmread(instances[0]).StudyInstanceUID)


def test_parts_become_files_byte_for_byte(instances: list[Path], study_uid: str, tmp_path: Path) -> None:
    answer = multipart(*(path.read_bytes() for path in instances), preamble=b"This is a multipart message.")
    with web_peer(lambda asked: answer) as peer:
        paths = client(peer).retrieve(study_uid, tmp_path / "back")
    assert {path.read_bytes() for path in paths} == {path.read_bytes() for path in instances}
    assert {path.stem for path in paths} == {str(pydicom.dcmread(path).SOPInstanceUID) for path in instances}
    (asked,) = peer.asked
    assert asked.path == f"/dicom-web/studies/{study_uid}"
    assert asked.headers["Accept"] == 'multipart/related; type="application/dicom"; transfer-syntax=*'


def test_what_never_ends_does_not_fill_the_disk(
    instances: list[Path], study_uid: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = multipart(*(path.read_bytes() for path in instances))
    monkeypatch.setattr("dicom_node.network.dicomweb._LARGEST_INSTANCE_BYTES", 100)
    with web_peer(lambda asked: answer) as peer, pytest.raises(PeerRejected, match="an instance of more than"):
        client(peer).retrieve(study_uid, tmp_path / "large")
    assert not list((tmp_path / "large").iterdir())
    monkeypatch.undo()
    monkeypatch.setattr("dicom_node.network.dicomweb.MOST_ROWS", len(instances) - 1)
    with web_peer(lambda asked: answer) as peer, pytest.raises(PeerRejected, match="sends more than"):
        client(peer).retrieve(study_uid, tmp_path / "many")


def test_one_instance_without_a_multipart_around_it(instances: list[Path], study_uid: str, tmp_path: Path) -> None:
    instance = pydicom.dcmread(instances[0])
    with web_peer(lambda asked: Answer(200, instances[0].read_bytes(), "application/dicom")) as peer:
        (path,) = client(peer).retrieve(
            study_uid,
            tmp_path / "back",
            series_uid=str(instance.SeriesInstanceUID),
            sop_instance_uids=[str(instance.SOPInstanceUID)],
        )
    assert path.read_bytes() == instances[0].read_bytes()
    assert peer.asked[0].path.endswith(f"/instances/{instance.SOPInstanceUID}")


def changed(path: Path, **values: str) -> bytes:
    instance = pydicom.dcmread(path)
    for keyword, value in values.items():
        setattr(instance, keyword, value)
    instance.file_meta.MediaStorageSOPInstanceUID = instance.SOPInstanceUID
    copy = path.with_suffix(".changed")
    with pydicom.config.disable_value_validation():
        instance.save_as(copy)
    return copy.read_bytes()


def test_what_was_not_asked_for_and_what_is_no_instance_is_left_out(
    instances: list[Path], study_uid: str, tmp_path: Path
) -> None:
    folder = tmp_path / "a" / "back"
    answer = multipart(
        instances[0].read_bytes(),
        changed(instances[0], StudyInstanceUID="1.2.3", SOPInstanceUID="1.2.3.1"),
        changed(instances[0], SOPInstanceUID="../../outside"),
        b"no instance",
        b"",
        instances[0].read_bytes()[:200],
        b"\0" * 128 + b"DICM" + b"\xff" * 500,
        instances[1].read_bytes(),
    )
    with web_peer(lambda asked: answer) as peer:
        paths = client(peer).retrieve(study_uid, folder)
    assert {path.read_bytes() for path in paths} == {path.read_bytes() for path in instances[:2]}
    assert sorted(folder.iterdir()) == sorted(paths)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["back"]


@pytest.mark.parametrize(
    "answer",
    [
        multipart(b"x" * 300, end=False),
        Answer(200, b"", 'multipart/related; boundary="x-y"'),
        Answer(200, b"nothing like it" * 5000, 'multipart/related; boundary="x-y"'),
        Answer(200, b"--x-y\r\n" + b"Header: x" * 70_000, 'multipart/related; boundary="x-y"'),
        Answer(200, b"{}", "multipart/related"),
        Answer(200, b"<html></html>", "text/html"),
        Answer(200, b"", ""),
        Answer(500),
    ],
)
def test_an_answer_that_is_cut_off_or_something_else_is_unreachable(
    answer: Answer, study_uid: str, tmp_path: Path
) -> None:
    with web_peer(lambda asked: answer) as peer, pytest.raises(PeerUnreachable):
        client(peer).retrieve(study_uid, tmp_path / "back")
    assert not list((tmp_path / "back").iterdir())


def test_not_there_is_nothing_but_a_wrong_address_is_an_error(study_uid: str, tmp_path: Path) -> None:
    def not_there(asked: Asked) -> Answer:
        return Answer(204) if asked.path.startswith("/dicom-web/studies?") else Answer(404)

    with web_peer(not_there) as peer:
        assert client(peer).retrieve(study_uid, tmp_path) == []
        with pytest.raises(PeerRejected, match=r"0 of 1 .* 1\.2\.4"):
            client(peer).retrieve(study_uid, tmp_path, series_uid="1.2.3", sop_instance_uids=["1.2.4"])
        assert client(peer).series(study_uid) == [] and client(peer).instances(study_uid, "1.2") == []
    with web_peer(lambda asked: Answer(404)) as peer:
        for ask in (
            lambda: client(peer).retrieve(study_uid, tmp_path),
            lambda: client(peer).series(study_uid),
            lambda: client(peer).instances(study_uid, "1.2"),
        ):
            with pytest.raises(PeerUnreachable, match="correct the archive's address"):
                ask()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 4096])
def test_boundaries_are_found_however_the_bytes_come(size: int) -> None:
    contents = [b"", b"\r\n", b"--x-", b"\r\n--x-\r\n--x", b"a" * 5000, b"\r\n--x-z"]
    body = multipart(*contents).body
    pieces = (body[first : first + size] for first in range(0, len(body), size))
    assert [b"".join(content) for content in parts(pieces, "x-y")] == contents
    with pytest.raises(BrokenMultipart):
        for content in parts(iter([body[:-4]]), "x-y"):
            b"".join(content)


# --- Orthanc's REST interface ---


class Rest:
    """An Orthanc that has instances under identifiers of its own."""

    def __init__(self, **has: list[str]) -> None:
        self.has = has
        self.stays: dict[str, int] = {}

    def __call__(self, asked: Asked) -> Answer:
        if asked.path == "/tools/lookup":
            uid = asked.body.decode()
            found = [{"ID": one, "Type": "Instance", "Path": f"/instances/{one}"} for one in self.has.get(uid, [])]
            return Answer(200, json.dumps(found).encode())
        orthanc_id = asked.path.rpartition("/")[2]
        if status := self.stays.get(orthanc_id):
            return Answer(status)
        for ids in self.has.values():
            if orthanc_id in ids:
                ids.remove(orthanc_id)
        return Answer(200, b"{}")


def test_what_is_deleted_stays_away_and_what_stays_is_told() -> None:
    rest = Rest(**{"1.2.1": ["aa", "ab"], "1.2.2": ["ba"], "1.2.3": ["ca"]})
    rest.stays = {"ba": 500, "ca": 404}
    with web_peer(rest) as peer:
        answer = delete_instances(peer.address, ["1.2.1", "1.2.2", "1.2.4"])
    assert answer == {"1.2.1": True, "1.2.2": False, "1.2.4": True}
    assert rest.has["1.2.1"] == []


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (Answer(401), PeerRejected, "username and password"),
        (Answer(403), PeerRejected, "may not delete"),
        (Answer(404), PeerUnreachable, "no Orthanc"),
        (Answer(500), PeerUnreachable, "try again later"),
        (Answer(200, b"<html>"), PeerUnreachable, "as an Orthanc does"),
        (Answer(200, b"{}"), None, ""),
        (Answer(200, b"[7]"), PeerUnreachable, "as an Orthanc does"),
        (Answer(200, b'[{"ID": 7}]'), PeerUnreachable, "as an Orthanc does"),
        (Answer(0), PeerUnreachable, "no answer"),
    ],
)
def test_odd_answers_of_an_orthanc_are_named(answer: Answer, error: type[Exception] | None, said: str) -> None:
    with web_peer(lambda asked: answer) as peer:
        if error is None:
            assert delete_study(peer.address, "1.2.3")
            return
        with pytest.raises(error, match=said):
            delete_study(peer.address, "1.2.3")


def test_an_orthanc_that_falls_silent_is_unreachable(
    wait_for_end: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dicom_node.network.orthanc._WAIT_S", (1.0, 0.2))

    def silent(asked: Asked) -> Answer:
        wait_for_end()
        return Answer()

    with web_peer(silent) as peer, pytest.raises(PeerUnreachable):
        delete_study(peer.address, "1.2.3")


def test_what_is_no_uid_is_not_sent() -> None:
    with web_peer(lambda asked: Answer()) as peer:
        with pytest.raises(IdentifierMismatch):
            delete_instances(peer.address, ["1.2.3", "*"])
        assert not peer.asked
