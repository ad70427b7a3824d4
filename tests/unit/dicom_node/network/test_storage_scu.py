"""The storage SCU against scripted archives: outcomes as they come, and associations that break."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import UID, generate_uid
from pynetdicom import AE, evt
from pynetdicom.association import Association

from dicom_node.errors import PeerUnreachable, UnparseableInstance
from dicom_node.network.storage_scu import Delivery, Peer, SendOutcome, Timeouts, send

CT = "1.2.840.10008.5.1.4.1.1.2"
NO_PDU = b"\x99\x00\x00\x00\x00\x04none"


@contextmanager
def archive(store: Callable[[evt.Event], int], *handlers: evt.EventHandlerType) -> Iterator[Peer]:
    """An archive that answers each C-STORE as `store` says."""
    entity = AE("ARCHIVE")
    entity.add_supported_context(CT)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store), *handlers])
    assert server is not None
    try:
        yield Peer("ARCHIVE", "127.0.0.1", server.server_address[1])
    finally:
        server.shutdown()


def test_each_outcome_is_there_before_the_next_instance_is_answered(instances: list[Path]) -> None:
    second_came, answer_second = threading.Event(), threading.Event()
    came: list[str] = []

    def store(event: evt.Event) -> int:
        came.append(str(event.request.AffectedSOPInstanceUID))  # type: ignore[union-attr]
        if len(came) == 2:
            second_came.set()
            assert answer_second.wait(30)
        return 0x0000

    outcomes: Queue[SendOutcome] = Queue()
    with archive(store) as peer:

        def consume() -> None:
            for outcome in send(instances, peer, "MEDSEG"):
                outcomes.put(outcome)

        sender = threading.Thread(target=consume)
        sender.start()
        assert second_came.wait(30)
        first = outcomes.get_nowait()
        with pytest.raises(Empty):
            outcomes.get_nowait()
        answer_second.set()
        sender.join(30)
    assert [first, *outcomes.queue] == [
        SendOutcome(path, uid, 0x0000, Delivery.DELIVERED) for path, uid in zip(instances, came, strict=True)
    ]


def test_closing_early_releases_the_association_and_sends_nothing_more(instances: list[Path]) -> None:
    came: list[evt.Event] = []
    released = threading.Event()

    def store(event: evt.Event) -> int:
        came.append(event)
        return 0x0000

    with archive(store, (evt.EVT_RELEASED, lambda event: released.set())) as peer:
        outcomes = send(instances, peer, "MEDSEG")
        assert next(outcomes).ok
        outcomes.close()
        assert released.wait(10)
    assert len(came) == 1


def test_nobody_is_asked_before_the_first_outcome_is(instances: list[Path]) -> None:
    outcomes = send(instances, Peer("ARCHIVE", "127.0.0.1", 1), "MEDSEG")
    with pytest.raises(PeerUnreachable):
        next(outcomes)


def abort(event: evt.Event) -> None:
    event.assoc.abort()


def close(event: evt.Event) -> None:
    event.assoc.dul.socket.socket.shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]


def break_protocol(event: evt.Event) -> None:
    """A PDU of a type that there is none of, then the end of the connection."""
    event.assoc.dul.socket.socket.sendall(NO_PDU)  # type: ignore[union-attr]
    close(event)


@pytest.mark.parametrize("status", [0x0000, 0xB000, 0xB007])
@pytest.mark.parametrize("break_off", [abort, close, break_protocol])
def test_what_was_delivered_before_the_association_broke_counts(
    status: int, break_off: Callable[[evt.Event], None], instances: list[Path]
) -> None:
    came: list[evt.Event] = []

    def store(event: evt.Event) -> int:
        came.append(event)
        if len(came) > 1:
            break_off(event)
        return status

    started = time.monotonic()
    with archive(store) as peer:
        outcomes = list(send(instances, peer, "MEDSEG", timeouts=Timeouts(dimse_s=60)))
    assert time.monotonic() - started < 30  # noticed at once, not after the DIMSE timeout
    assert [one.path for one in outcomes] == instances
    assert [one.delivery for one in outcomes] == [Delivery.DELIVERED, Delivery.TRY_AGAIN, Delivery.TRY_AGAIN]
    assert [one.status for one in outcomes] == [status, None, None]
    assert all("lost" in one.message for one in outcomes[1:])
    assert len(came) == 2


def test_an_association_that_ends_between_two_instances_is_lost_for_the_next(instances: list[Path]) -> None:
    associations: list[Association] = []

    def store(event: evt.Event) -> int:
        associations.append(event.assoc)
        return 0x0000

    with archive(store) as peer:
        outcomes = send(instances, peer, "MEDSEG", timeouts=Timeouts(dimse_s=60))
        started = time.monotonic()
        assert next(outcomes).ok
        associations[0].abort()
        assert [one.delivery for one in outcomes] == [Delivery.TRY_AGAIN, Delivery.TRY_AGAIN]
        assert time.monotonic() - started < 30


def test_what_a_second_association_would_have_carried_is_tried_again(tmp_path: Path) -> None:
    """More kinds of instances than one association has contexts for, and an archive that takes one association."""
    paths = []
    instance = dcmread(str(get_testdata_file("CT_small.dcm")))
    for number in range(65):
        instance.SOPClassUID = instance.file_meta.MediaStorageSOPClassUID = UID(f"1.2.826.0.1.3680043.10.1234.{number}")
        instance.SOPInstanceUID = instance.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        paths.append(tmp_path / f"{number}.dcm")
        instance.save_as(paths[-1])
    requests: list[evt.Event] = []

    def request(event: evt.Event) -> None:
        requests.append(event)
        if len(requests) > 1:
            event.assoc.abort()

    with archive(lambda event: 0x0000, (evt.EVT_REQUESTED, request)) as peer:
        outcomes = list(send(paths, peer, "MEDSEG"))
    assert [one.path for one in outcomes] == paths
    assert [one.delivery for one in outcomes] == [Delivery.DELIVERED] * 64 + [Delivery.TRY_AGAIN]


def test_files_that_are_not_part_10_are_refused_before_anything_is_sent(instances: list[Path], tmp_path: Path) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_text("Dear archive")
    with pytest.raises(UnparseableInstance, match=r"letter\.txt"):
        list(send([*instances, letter], Peer("ARCHIVE", "127.0.0.1", 1), "MEDSEG"))


@pytest.mark.service("name resolution")
def test_a_host_that_does_not_exist_is_unreachable(instances: list[Path]) -> None:
    with pytest.raises(PeerUnreachable, match=r"ARCHIVE@no-such-host\.invalid:104"):
        list(send(instances, Peer("ARCHIVE", "no-such-host.invalid", 104), "MEDSEG"))


def test_nothing_to_send_needs_no_peer() -> None:
    assert list(send([], Peer("ARCHIVE", "127.0.0.1", 1), "MEDSEG")) == []
