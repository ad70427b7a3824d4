"""Query and retrieve over DIMSE with a scripted archive whose answers are odd."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.presentation import AllStoragePresentationContexts

from dicom_node.errors import IdentifierMismatch, PeerRejected, PeerUnreachable
from dicom_node.network.archive import ArchiveAddress, move, open_archive
from dicom_node.network.association import Peer, Timeouts
from dicom_node.network.records import Archive

FIND, MOVE, GET = (f"1.2.840.10008.5.1.4.1.2.2.{number}" for number in (1, 2, 3))
CT = "1.2.840.10008.5.1.4.1.1.2"
SOON = Timeouts(connection_s=2, acse_s=2, dimse_s=1, network_s=5)
Handler = Callable[[evt.Event], Iterator[Any]]


@contextmanager
def archive(*handlers: tuple[evt.EventType, Handler], services: tuple[str, ...] = (FIND, MOVE, GET)) -> Iterator[Peer]:
    entity = AE("ARCHIVE")
    for service in services:
        entity.add_supported_context(service)
    for context in AllStoragePresentationContexts:
        entity.add_supported_context(
            str(context.abstract_syntax), [ExplicitVRLittleEndian, ImplicitVRLittleEndian], scu_role=True, scp_role=True
        )
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=list(handlers))
    assert server is not None
    try:
        yield Peer("ARCHIVE", "127.0.0.1", server.server_address[1])
    finally:
        server.shutdown()


def client(peer: Peer) -> Archive:
    return open_archive(ArchiveAddress(peer), "MEDSEG", timeouts=SOON)


def row(**values: str) -> Dataset:
    answer = Dataset()
    answer.QueryRetrieveLevel = "STUDY"
    for keyword, value in values.items():
        setattr(answer, keyword, value)
    return answer


def answering(*rows: tuple[int, Dataset | None]) -> Handler:
    def find(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        yield from rows

    return find


def test_rows_of_others_and_rows_without_a_uid_are_left_out() -> None:
    find = answering(
        (0xFF00, row(StudyInstanceUID="1.2.1", PatientID="P1", StudyDate="20240101")),
        (0xFF01, row(StudyInstanceUID="1.2.1", PatientID="P1")),
        (0xFF00, row(StudyInstanceUID="1.2.2", PatientID="P2")),
        (0xFF00, row(StudyInstanceUID="1.2.3", PatientID="p1")),
        (0xFF00, row(StudyInstanceUID="1.2.4")),
        (0xFF00, row(StudyInstanceUID="", PatientID="P1")),
        (0xFF01, row(StudyInstanceUID="../../etc/passwd", PatientID="P1")),
        (0xFF00, row(PatientID="P1")),
    )
    with archive((evt.EVT_C_FIND, find)) as peer:
        found = client(peer).studies(patient_id="P1")
        assert [(study.study_uid, study.patient_id, study.study_date) for study in found] == [
            ("1.2.1", "P1", "20240101")
        ]
        assert client(peer).studies(patient_id="P?") == []
        assert client(peer).studies(patient_id="P1", study_date="20240102-") == []
        assert len(client(peer).studies(patient_id="P1", study_date="-20240101")) == 1
        assert client(peer).studies(accession_number="7") == []


def test_the_keys_go_out_as_they_are_and_a_backslash_divides_nothing() -> None:
    asked: list[Dataset] = []

    def find(event: evt.Event) -> Iterator[tuple[int, Dataset]]:
        asked.append(event.identifier)
        yield 0xFF00, row(StudyInstanceUID="1.2.1", PatientID="A?B", AccessionNumber="7")

    with archive((evt.EVT_C_FIND, find)) as peer:
        assert client(peer).studies(patient_id="A\\B") == []
        assert len(client(peer).studies(patient_id="A?B")) == 1
        client(peer).studies(patient_id="Ж1")
        client(peer).studies(patient_id="P" * 65_000)
    assert [str(one.PatientID) for one in asked[:3]] == ["A?B", "A?B", "Ж1"]
    assert asked[2].SpecificCharacterSet == "ISO_IR 192"
    assert (asked[0].QueryRetrieveLevel, asked[0].AccessionNumber) == ("STUDY", "")


def test_unknown_character_sets_and_long_values_are_no_crash() -> None:
    odd = row(StudyInstanceUID="1.2.1", PatientID="P1", StudyDescription="x" * 65_000)
    odd.SpecificCharacterSet = "ISO_IR 999"
    odd.add_new("PatientName", "PN", b"\xff\xfe^\x00")
    with archive((evt.EVT_C_FIND, answering((0xFF00, odd)))) as peer:
        (found,) = client(peer).studies(patient_id="P1")
    assert len(found.study_description) == 1024


@pytest.mark.slow
def test_several_thousand_rows_come_and_too_many_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(0xFF00, row(StudyInstanceUID=f"1.2.{number}", PatientID="P1")) for number in range(2000)]
    with archive((evt.EVT_C_FIND, answering(*rows))) as peer:
        assert len(client(peer).studies(patient_id="P1")) == 2000
    with archive((evt.EVT_C_FIND, answering(*rows[:100]))) as peer:
        monkeypatch.setattr("dicom_node.network.query.MOST_ROWS", 99)
        with pytest.raises(PeerRejected, match="more than 99 matches"):
            client(peer).studies(patient_id="P1")
        monkeypatch.setattr("dicom_node.network.query.MOST_ROWS", 100)
        assert len(client(peer).studies(patient_id="P1")) == 100


def test_a_query_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicom_node.network.query._MOST_RESPONSES", 50)

    endless = [(0xFF00, row(StudyInstanceUID="1.2.1", PatientID="P1"))] * 60
    with (
        archive((evt.EVT_C_FIND, answering(*endless))) as peer,
        pytest.raises(PeerRejected, match="50 responses to one"),
    ):
        client(peer).studies(patient_id="P1")


@pytest.mark.parametrize("status", [0xA700, 0xA900, 0xC001, 0xFE00, 0x0122])
def test_a_query_that_fails_after_some_rows_gives_no_part(status: int) -> None:
    find = answering((0xFF00, row(StudyInstanceUID="1.2.1", PatientID="P1")), (status, None))
    with archive((evt.EVT_C_FIND, find)) as peer, pytest.raises(PeerRejected, match=f"0x{status:04X}"):
        client(peer).studies(patient_id="P1")


def test_the_comment_of_a_query_that_fails_does_not_reach_an_error() -> None:
    def find(event: evt.Event) -> Iterator[tuple[Dataset, None]]:
        failed = Dataset()
        failed.Status, failed.ErrorComment = 0xC001, "no match for Box^Anna\x00"
        yield failed, None

    with archive((evt.EVT_C_FIND, find)) as peer, pytest.raises(PeerRejected) as refused:
        client(peer).studies(patient_id="P1")
    assert "0xC001" in str(refused.value) and "look into its log" in str(refused.value)
    assert "Anna" not in str(refused.value) and "\0" not in str(refused.value)


def test_a_lost_association_and_nobody_are_unreachable() -> None:
    def abort(event: evt.Event) -> Iterator[tuple[int, Dataset]]:
        yield 0xFF00, row(StudyInstanceUID="1.2.1", PatientID="P1")
        event.assoc.abort()

    with archive((evt.EVT_C_FIND, abort)) as peer, pytest.raises(PeerUnreachable, match="lets our AE title ask"):
        client(peer).studies(patient_id="P1")
    with pytest.raises(PeerUnreachable):
        client(Peer("ARCHIVE", "127.0.0.1", 1)).series("1.2.3")


def test_an_archive_without_the_services_says_so(tmp_path: Path) -> None:
    with archive(services=("1.2.840.10008.1.1",)) as peer:
        with pytest.raises(PeerRejected, match="offers no C-FIND"):
            client(peer).studies(patient_id="P1")
        with pytest.raises(PeerRejected, match="offers no C-MOVE"):
            move(peer, "MEDSEG", "1.2.3", "MEDSEG", timeouts=SOON)
    find = answering((0xFF00, row(SeriesInstanceUID="1.2.4", SOPInstanceUID="1.2.5", SOPClassUID=CT)))
    with (
        archive((evt.EVT_C_FIND, find), services=(FIND,)) as peer,
        pytest.raises(PeerRejected, match="offers no C-GET"),
    ):
        client(peer).retrieve("1.2.3", tmp_path)


def test_a_query_without_a_key_and_uids_that_are_none_are_not_sent(tmp_path: Path) -> None:
    nobody = client(Peer("ARCHIVE", "127.0.0.1", 1))
    with pytest.raises(ValueError, match="needs a key"):
        nobody.studies()
    with pytest.raises(ValueError, match="series_uid"):
        nobody.retrieve("1.2.3", tmp_path, sop_instance_uids=["1.2"])
    for bad in ("../1", "", "1" * 65):
        with pytest.raises(IdentifierMismatch):
            nobody.series(bad)
        with pytest.raises(IdentifierMismatch):
            nobody.retrieve(bad, tmp_path)
        with pytest.raises(IdentifierMismatch):
            nobody.retrieve("1.2.3", tmp_path, series_uid="1.2", sop_instance_uids=[bad])


def test_series_and_instances_of_others_are_left_out() -> None:
    series = answering(
        (0xFF00, row(StudyInstanceUID="1.2.1", SeriesInstanceUID="1.2.1.1", Modality="CT")),
        (0xFF00, row(SeriesInstanceUID="1.2.1.2", Modality="SEG")),
        (0xFF00, row(StudyInstanceUID="1.2.9", SeriesInstanceUID="1.2.1.3", Modality="CT")),
        (0xFF00, row(StudyInstanceUID="1.2.1", Modality="CT")),
    )
    with archive((evt.EVT_C_FIND, series)) as peer:
        assert [one.series_uid for one in client(peer).series("1.2.1")] == ["1.2.1.1", "1.2.1.2"]
        assert [one.series_uid for one in client(peer).series("1.2.1", modality="CT")] == ["1.2.1.1"]
    instances = answering(
        (0xFF00, row(SOPInstanceUID="1.2.1.1.1", SOPClassUID=CT)),
        (0xFF00, row(SOPInstanceUID="1.2.1.1.2")),
        (0xFF00, row(SOPInstanceUID="1.2.1.1.3", SeriesInstanceUID="1.2.1.2")),
    )
    with archive((evt.EVT_C_FIND, instances)) as peer:
        found = client(peer).instances("1.2.1", "1.2.1.1")
        assert [(one.sop_instance_uid, one.sop_class_uid) for one in found] == [("1.2.1.1.1", CT), ("1.2.1.1.2", "")]


# --- C-GET ---


def finding(instances: list[Dataset]) -> Handler:
    def find(event: evt.Event) -> Iterator[tuple[int, Dataset]]:
        for one in instances:
            answer = row(StudyInstanceUID=str(one.StudyInstanceUID), SeriesInstanceUID=str(one.SeriesInstanceUID))
            answer.Modality, answer.SOPInstanceUID, answer.SOPClassUID = "CT", one.SOPInstanceUID, one.SOPClassUID
            yield 0xFF00, answer

    return find


def giving(instances: list[Dataset]) -> Handler:
    def get(event: evt.Event) -> Iterator[Any]:
        yield len(instances)
        for one in instances:
            yield 0xFF00, one

    return get


def read(paths: list[Path]) -> list[Dataset]:
    return [pydicom.dcmread(path) for path in paths]


def test_what_was_not_asked_for_is_refused(instances: list[Path], tmp_path: Path) -> None:
    asked = read(instances)
    other_study, unexpected = read(instances[:2])
    other_study.SOPInstanceUID = other_study.file_meta.MediaStorageSOPInstanceUID = "1.2.3.1"
    other_study.StudyInstanceUID = "1.2.3"
    unexpected.SOPInstanceUID = unexpected.file_meta.MediaStorageSOPInstanceUID = "1.2.3.2"
    series_uid = str(asked[0].SeriesInstanceUID)
    sent = [*asked, other_study, unexpected]
    folder = tmp_path / "back"
    with archive((evt.EVT_C_FIND, finding(asked)), (evt.EVT_C_GET, giving(sent))) as peer:
        wanted = [str(one.SOPInstanceUID) for one in asked]
        paths = client(peer).retrieve(
            str(asked[0].StudyInstanceUID), folder, series_uid=series_uid, sop_instance_uids=wanted
        )
    assert sorted(path.stem for path in paths) == sorted(wanted)
    assert sorted(folder.iterdir()) == sorted(paths)
    assert {pydicom.dcmread(path).SOPInstanceUID for path in paths} == set(wanted)


@pytest.mark.slow
def test_what_does_not_come_is_named(instances: list[Path], tmp_path: Path) -> None:
    asked = read(instances)
    with (
        archive((evt.EVT_C_FIND, finding(asked)), (evt.EVT_C_GET, giving(asked[:2]))) as peer,
        pytest.raises(PeerRejected, match=f"sent 2 of 3 .* {asked[2].SOPInstanceUID}"),
    ):
        client(peer).retrieve(str(asked[0].StudyInstanceUID), tmp_path / "back")


@pytest.mark.parametrize("uid", ["../../../outside", "1.2/3", "", "x"])
def test_no_name_leads_out_of_the_folder(uid: str, instances: list[Path], tmp_path: Path) -> None:
    from dicom_node.network.query import _Receiver
    from dicom_node.network.retrieved import Retrieval

    class Event:
        class request:  # noqa: N801
            AffectedSOPClassUID, AffectedSOPInstanceUID = CT, uid
            DataSet = BytesIO(b"")

        class context:  # noqa: N801
            transfer_syntax = ExplicitVRLittleEndian

    folder = tmp_path / "back" / "folder"
    receiver = _Receiver(Peer("ARCHIVE", "127.0.0.1", 1), Retrieval("1.2.3", folder))
    assert receiver.take(Event()) == 0xA900  # type: ignore[arg-type]
    assert not list(folder.iterdir())


# --- C-MOVE ---


def test_a_refused_move_says_why() -> None:
    def unknown(event: evt.Event) -> Iterator[Any]:
        yield None, None

    with archive((evt.EVT_C_MOVE, unknown)) as peer, pytest.raises(PeerRejected, match="does not know MEDSEG"):
        move(peer, "MEDSEG", "1.2.3", "MEDSEG", timeouts=SOON)

    def broken(event: evt.Event) -> Iterator[Any]:
        raise OSError("no disk")
        yield

    with archive((evt.EVT_C_MOVE, broken)) as peer, pytest.raises(PeerRejected, match="0xC5"):
        move(peer, "MEDSEG", "1.2.3", "MEDSEG", timeouts=SOON)

    def abort(event: evt.Event) -> Iterator[Any]:
        event.assoc.abort()
        yield None, None

    with archive((evt.EVT_C_MOVE, abort)) as peer, pytest.raises(PeerUnreachable):
        move(peer, "MEDSEG", "1.2.3", "MEDSEG", timeouts=SOON)
