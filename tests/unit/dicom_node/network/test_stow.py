"""STOW-RS against scripted archives: outcomes from every kind of answer, and from none."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from email.parser import BytesParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pydicom
import pytest

from dicom_node.errors import PeerUnreachable, UnparseableInstance
from dicom_node.network.archive import ArchiveAddress
from dicom_node.network.association import Peer, Timeouts
from dicom_node.network.status import Delivery
from dicom_node.network.stow import store
from dicom_node.network.stow_answer import read_stow_answer
from tests.unit.dicom_node.network.web_peer import Answer, Asked, web_peer

SOON = Timeouts(connection_s=2, dimse_s=0.3)
DELIVERED, TRY_AGAIN, REFUSED = Delivery.DELIVERED, Delivery.TRY_AGAIN, Delivery.REFUSED


def parts(asked: Asked) -> list[bytes]:
    """The files in a request, taken apart by Python's own parser of mail."""
    head = f"Content-Type: {asked.headers['Content-Type']}\r\n\r\n".encode()
    message = BytesParser().parsebytes(head + asked.body)
    assert message.get_content_type() == "multipart/related"
    assert message.get_param("type") == "application/dicom"
    contents = []
    for part in message.get_payload():
        assert part.get_content_type() == "application/dicom"  # type: ignore[union-attr]
        contents.append(part.get_payload(decode=True))  # type: ignore[union-attr]
    return contents  # type: ignore[return-value]


def bodies(asked: Asked) -> list[bytes]:
    """The files in a request, byte for byte: mail's parser takes liberties with line ends."""
    boundary = re.search(r"boundary=(\S+)", asked.headers["Content-Type"]).group(1).encode()  # type: ignore[union-attr]
    marks = [mark.span() for mark in re.finditer(b"(?:\r\n|^)--" + boundary + b"(?:--)?\r\n", asked.body)]
    assert marks[0][0] == 0 and marks[-1][1] == len(asked.body)
    return [asked.body[end:begin].split(b"\r\n\r\n", 1)[1] for (_, end), (begin, _) in pairwise(marks)]


def uids(asked: Asked) -> list[str]:
    return [str(re.search(rb"\x02\x00\x03\x00UI..([0-9.]+)", body).group(1), "ascii") for body in bodies(asked)]  # type: ignore[union-attr]


def sequence(*items: dict[str, Any]) -> dict[str, Any]:
    return {"vr": "SQ", "Value": list(items)}


def reference(uid: str, **extra: int) -> dict[str, Any]:
    item: dict[str, Any] = {"00081155": {"vr": "UI", "Value": [uid]}}
    if "reason" in extra:
        item["00081197"] = {"vr": "US", "Value": [extra["reason"]]}
    if "warning" in extra:
        item["00081196"] = {"vr": "US", "Value": [extra["warning"]]}
    return item


def all_stored(asked: Asked) -> Answer:
    return Answer(200, json.dumps({"00081199": sequence(*(reference(uid) for uid in uids(asked)))}).encode())


def test_files_arrive_byte_for_byte_in_one_request_and_are_stored(instances: list[Path]) -> None:
    with web_peer(all_stored, "medseg", "wörd") as peer:
        outcomes = list(store(instances, peer.address))
    (asked,) = peer.asked
    assert (asked.method, asked.path) == ("POST", "/dicom-web/studies")
    assert bodies(asked) == [path.read_bytes() for path in instances]
    assert len(parts(asked)) == 3
    assert asked.headers["Content-Length"] == str(len(asked.body))
    assert asked.headers["Authorization"] == "Basic bWVkc2VnOnfDtnJk"
    assert [(outcome.path, outcome.delivery, outcome.status) for outcome in outcomes] == [
        (path, DELIVERED, 0) for path in instances
    ]


def test_nothing_goes_out_before_the_first_outcome_is_asked_for(instances: list[Path]) -> None:
    with web_peer(all_stored) as peer:
        outcomes = store(instances, peer.address)
        assert not peer.asked
        next(outcomes)
        outcomes.close()
        assert len(peer.asked) == 1


def test_a_request_holds_no_more_than_its_bound(instances: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicom_node.network.stow._MOST_BYTES", 2 * instances[0].stat().st_size)
    with web_peer(all_stored) as peer:
        outcomes = store(instances, peer.address)
        assert [next(outcomes).ok, next(outcomes).ok, len(peer.asked)] == [True, True, 1]
        assert next(outcomes).ok
    assert [len(bodies(asked)) for asked in peer.asked] == [2, 1]


@pytest.mark.parametrize("status", [200, 202, 409])
def test_each_instance_has_the_outcome_that_the_answer_gives_it(status: int, instances: list[Path]) -> None:
    def in_part(asked: Asked) -> Answer:
        first, second, third = uids(asked)
        answer = {
            "00081199": sequence(reference(first, warning=0xB000)),
            "00081198": sequence(reference(second, reason=0x0122), reference(third, reason=0xA700)),
        }
        return Answer(status, json.dumps(answer).encode())

    with web_peer(in_part) as peer:
        outcomes = list(store(instances, peer.address))
    assert len(peer.asked) == 1
    assert [(outcome.delivery, outcome.status) for outcome in outcomes] == [
        (DELIVERED, 0xB000), (REFUSED, 0x0122), (TRY_AGAIN, 0xA700),
    ]  # fmt: skip
    assert outcomes[1].message == "failure reason 0x0122"


@pytest.mark.parametrize("warning", [0x0107, 0x0116, 0xB000, 0xB123, 0xC000])
def test_what_is_stored_with_a_warning_is_delivered(warning: int, instances: list[Path]) -> None:
    def warned(asked: Asked) -> Answer:
        first, second, third = uids(asked)
        answer = {
            "00081199": sequence(reference(first, warning=warning)),
            "00081198": sequence(reference(second, reason=0xB123), reference(third, reason=0)),
        }
        return Answer(202, json.dumps(answer).encode())

    with web_peer(warned) as peer:
        outcomes = list(store(instances, peer.address))
    assert [outcome.delivery for outcome in outcomes] == [DELIVERED, DELIVERED, TRY_AGAIN]
    assert outcomes[0].message == f"stored, warning reason 0x{warning:04X}"


def test_a_duplicate_counts_as_delivered(instances: list[Path]) -> None:
    def duplicate(asked: Asked) -> Answer:
        failed = sequence(*(reference(uid, reason=0x0111) for uid in uids(asked)))
        return Answer(409, json.dumps([{"00081198": failed}]).encode())

    with web_peer(duplicate) as peer:
        assert [outcome.delivery for outcome in store(instances, peer.address)] == [DELIVERED] * 3


def test_xml_is_read_whatever_the_content_type_says(instances: list[Path]) -> None:
    def xml(asked: Asked) -> Answer:
        first, second, third = uids(asked)

        def item(uid: str, more: str = "") -> str:
            return (
                f'<Item number="1"><DicomAttribute tag="00081155" vr="UI"><Value number="1">{uid}</Value>'
                f"</DicomAttribute>{more}</Item>"
            )

        why = '<DicomAttribute tag="00081197" vr="US"><Value number="1">49152</Value></DicomAttribute>'
        body = (
            '<?xml version="1.0"?><NativeDicomModel xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM">'
            f'<DicomAttribute tag="00081199" vr="SQ">{item(first)}{item(second)}</DicomAttribute>'
            f'<DicomAttribute tag="00081198" vr="SQ">{item(third, why)}</DicomAttribute></NativeDicomModel>'
        )
        return Answer(202, body.encode(), "text/plain")

    with web_peer(xml) as peer:
        outcomes = list(store(instances, peer.address))
    assert [outcome.delivery for outcome in outcomes] == [DELIVERED, DELIVERED, REFUSED]
    assert outcomes[2].status == 0xC000


@pytest.mark.parametrize("status", [200, 202])
def test_an_empty_answer_is_no_proof(status: int, instances: list[Path]) -> None:
    with web_peer(lambda asked: Answer(status)) as peer:
        outcomes = list(store(instances, peer.address))
    assert [outcome.delivery for outcome in outcomes] == [TRY_AGAIN] * 3
    assert "an empty answer" in outcomes[0].message
    assert [len(bodies(asked)) for asked in peer.asked] == [3, 1, 1, 1]


def test_one_that_spoils_its_request_does_not_keep_the_others_out(instances: list[Path]) -> None:
    bad = str(pydicom.dcmread(instances[1]).SOPInstanceUID)
    with web_peer(lambda asked: Answer(400) if bad in uids(asked) else all_stored(asked)) as peer:
        outcomes = list(store(instances, peer.address))
    assert [outcome.delivery for outcome in outcomes] == [DELIVERED, REFUSED, DELIVERED]
    assert outcomes[1].message == "HTTP 400 Bad Request with an empty answer"


@pytest.mark.parametrize(
    ("status", "delivery"), [(500, TRY_AGAIN), (503, TRY_AGAIN), (413, TRY_AGAIN), (409, REFUSED), (415, REFUSED)]
)
def test_statuses_without_outcomes(status: int, delivery: Delivery, instances: list[Path]) -> None:
    with web_peer(lambda asked: Answer(status, b"<html>busy</html>", "text/html")) as peer:
        outcomes = list(store(instances, peer.address))
    assert [outcome.delivery for outcome in outcomes] == [delivery] * 3
    assert str(status) in outcomes[0].message and "busy" not in outcomes[0].message


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(401), "username and password"),
        (Answer(403), "does not let this user in"),
        (Answer(404), "correct the archive's address"),
        (Answer(302, headers={"Location": "http://example.org/"}), "redirects"),
        (Answer(200, b"<!DOCTYPE html><html>Sign in</html>", "text/html"), "no DICOMweb service"),
        (Answer(200, b"{broken", "application/dicom+json"), "cannot be parsed"),
        (Answer(200, b'{"error": "PATIENT^NAME"}', "application/json"), "no DICOMweb service"),
        (Answer(200, b"PATIENT^NAME" * 6000, "text/plain"), "neither DICOM JSON nor DICOM XML"),
    ],
)
def test_what_is_no_archive_is_unreachable_and_the_message_says_what_to_do(
    answer: Answer, said: str, instances: list[Path]
) -> None:
    with web_peer(lambda asked: answer) as peer, pytest.raises(PeerUnreachable, match=said) as raised:
        next(store(instances, peer.address))
    assert peer.address.dicomweb_url in str(raised.value)
    assert "PATIENT" not in str(raised.value)


def test_nobody_there_is_unreachable_without_the_password_in_the_message(instances: list[Path]) -> None:
    address = ArchiveAddress(Peer("ARCHIVE", "127.0.0.1", 1), "http://user:secret@127.0.0.1:1/dicom-web")
    with pytest.raises(PeerUnreachable, match=r"^http://127\.0\.0\.1:1/dicom-web/studies: no connection") as raised:
        next(store(instances, address))
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("url", ["archive/dicom-web", "ftp://archive", ""])
def test_an_address_that_is_no_url_is_unreachable(url: str, instances: list[Path]) -> None:
    with pytest.raises(PeerUnreachable, match="no URL"):
        next(store(instances, ArchiveAddress(Peer("ARCHIVE", "127.0.0.1", 1), url)))


def test_a_lost_connection_ends_it_and_everything_is_tried_again(
    instances: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dicom_node.network.stow._MOST_INSTANCES", 1)
    with web_peer(lambda asked: all_stored(asked) if len(peer.asked) == 1 else Answer(0)) as peer:
        outcomes = list(store(instances, peer.address))
    assert [outcome.delivery for outcome in outcomes] == [DELIVERED, TRY_AGAIN, TRY_AGAIN]
    assert "connection was lost" in outcomes[2].message
    assert len(peer.asked) == 2


def test_an_archive_that_falls_silent_may_have_taken_it(
    instances: list[Path], wait_for_end: Callable[[], None]
) -> None:
    def silent(asked: Asked) -> Answer:
        wait_for_end()
        return Answer()

    with web_peer(silent) as peer:
        outcomes = list(store(instances, peer.address, timeouts=SOON))
    assert [outcome.delivery for outcome in outcomes] == [TRY_AGAIN] * 3
    assert "no answer in time" in outcomes[0].message


def test_an_endless_answer_is_not_read_to_its_end(instances: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicom_node.network.web._LONGEST_ANSWER_BYTES", 2**16)
    with web_peer(lambda asked: Answer(200, b" " * 2**18)) as peer:
        outcomes = list(store(instances, peer.address))
    assert [outcome.delivery for outcome in outcomes] == [TRY_AGAIN] * 3
    assert "longer than" in outcomes[0].message


def test_a_file_that_is_not_part_10_is_named_before_anything_is_sent(instances: list[Path]) -> None:
    instances[2].write_bytes(b"no dicom" * 100)
    with web_peer(all_stored) as peer, pytest.raises(UnparseableInstance, match=r"2\.dcm"):
        next(store(instances, peer.address))
    assert not peer.asked


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b"[]",
        b"[{}, {}]",
        b"null",
        b'{"00081199": 3}',
        b'{"00081199": {"Value": 3}}',
        b'{"00081199": {"Value": [3, null, {"00081155": {"Value": ["../../etc/passwd"]}}]}}',
        b'{"00081199": {"Value": [{"00081155": {"Value": [{}]}}]}}',
        b'{"00081199": {"Value": [{"00081155": {"Value": []}}]}}',
        b"\xff\xfe{",
        b"{\xff}",
        b'<!DOCTYPE x [<!ENTITY a "aaaa">]><NativeDicomModel>&a;</NativeDicomModel>',
        b"<NativeDicomModel><DicomAttribute><Item/></DicomAttribute></NativeDicomModel>",
        b"<" * 70_000,
        json.dumps({"00081199": sequence(reference("1" * 65536))}).encode(),
    ],
)
def test_answers_that_name_no_instance_are_no_crash(content: bytes) -> None:
    answer = read_stow_answer(content)
    assert not answer.stored and not answer.failed


def test_a_failure_without_a_usable_reason_is_tried_again(instances: list[Path]) -> None:
    def odd(asked: Asked) -> Answer:
        first, second, third = uids(asked)
        second_item = {**reference(second), "00081197": {"vr": "US", "Value": ["nonsense"]}}
        return Answer(
            202,
            json.dumps({"00081198": sequence(reference(first), second_item, reference(third, reason=0x0110))}).encode(),
        )

    with web_peer(odd) as peer:
        outcomes = list(store(instances, peer.address))
    assert [outcome.delivery for outcome in outcomes] == [TRY_AGAIN] * 3
    assert [outcome.status for outcome in outcomes] == [None, None, 0x0110]


def test_who_is_named_as_stored_and_as_failed_has_failed(instances: list[Path]) -> None:
    def both(asked: Asked) -> Answer:
        every = uids(asked)
        answer = {
            "00081199": sequence(*map(reference, every)),
            "00081198": sequence(*(reference(uid, reason=0xC000) for uid in every)),
        }
        return Answer(200, json.dumps(answer).encode())

    with web_peer(both) as peer:
        assert {outcome.delivery for outcome in store(instances, peer.address)} == {REFUSED}
