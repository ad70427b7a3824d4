"""Sends instances to an archive over STOW-RS (PS3.18 10.5), byte for byte, with an outcome for each."""

from __future__ import annotations

import uuid
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import requests

from dicom_node.errors import PeerUnreachable
from dicom_node.network.association import Timeouts
from dicom_node.network.outgoing import Outgoing, SendOutcome, outgoing_instance, without_answer
from dicom_node.network.records import ArchiveAddress
from dicom_node.network.status import SUCCESS, Delivery, delivery_of
from dicom_node.network.stow_answer import EMPTY, StowAnswer, read_stow_answer
from dicom_node.network.web import failure_of_request, open_session, remedy, shown, status_text

__all__ = ["store"]

_MOST_BYTES = 32 * 2**20
_MOST_INSTANCES = 500
_PIECE_BYTES = 2**20


def store(
    instances: Sequence[Path], address: ArchiveAddress, *, timeouts: Timeouts | None = None
) -> Generator[SendOutcome, None, None]:
    """Store Part 10 files and yield the outcome of each, in the order given, as storage_scu.send does.

    A request holds 32 MB or one instance; it goes out when the outcome of its first instance is asked for. Files are
    streamed and never decoded. An instance counts as stored only where the answer names it; if the answer to several
    says nothing of some, each of those is sent again in a request of its own. Where the connection is lost, no answer
    comes or the archive has become another, nothing more is sent: the rest is TRY_AGAIN.

    The first `next` raises PeerUnreachable if nobody answers, or what answers is no DICOMweb service that takes us
    (401, 403, 404, a page for people), and UnparseableInstance for a file that is not Part 10. Then nothing was stored.
    """
    outgoing = [outgoing_instance(path) for path in instances]
    with open_session(address) as session:
        sender = _Sender(session, address, timeouts or Timeouts())
        for number, batch in enumerate(_batches(outgoing)):
            if number == 0 and (reason := sender.unreachable_reason(batch)):
                raise PeerUnreachable(reason)
            yield from sender.outcomes(batch)


def _batches(outgoing: Sequence[Outgoing]) -> Iterator[list[Outgoing]]:
    batch: list[Outgoing] = []
    size = 0
    for instance in outgoing:
        length = instance.path.stat().st_size
        if batch and (size + length > _MOST_BYTES or len(batch) >= _MOST_INSTANCES):
            yield batch
            batch, size = [], 0
        batch.append(instance)
        size += length
    if batch:
        yield batch


class _Multipart:
    """A request's body: the files one after the other, read as they are sent (RFC 2387)."""

    def __init__(self, batch: Sequence[Outgoing]) -> None:
        self.boundary = uuid.uuid4().hex
        self._paths = [instance.path for instance in batch]
        self._begin = f"--{self.boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        self._end = f"--{self.boundary}--\r\n".encode()
        self._sizes = [path.stat().st_size for path in self._paths]
        self.error: OSError | None = None

    def __len__(self) -> int:
        return sum(self._sizes) + len(self._sizes) * (len(self._begin) + 2) + len(self._end)

    def __iter__(self) -> Iterator[bytes]:
        try:
            for path, size in zip(self._paths, self._sizes, strict=True):
                # What is small travels with its header: a segment of its own would wait for an acknowledgement.
                pending = self._begin
                with path.open("rb") as stream:
                    while piece := stream.read(_PIECE_BYTES):
                        size -= len(piece)
                        yield pending + piece
                        pending = b""
                if size:
                    raise OSError(f"{path}: changed while it was sent")
                yield pending + b"\r\n"
            yield self._end
        except OSError as error:
            self.error = error
            raise


class _Sender:
    """Requests to one archive, until it no longer answers."""

    def __init__(self, session: requests.Session, address: ArchiveAddress, timeouts: Timeouts) -> None:
        self._session = session
        self._url = f"{address.dicomweb_url.rstrip('/')}/studies"
        self._wait_s = (timeouts.connection_s, timeouts.dimse_s)
        self._lost = ""
        self._first: tuple[int, StowAnswer] | None = None

    def unreachable_reason(self, batch: Sequence[Outgoing]) -> str:
        """Send the first request; "" if an archive answered it, or may have taken some of it before it fell silent."""
        try:
            self._first = self._post(batch)
        except requests.RequestException as error:
            reason = f"{shown(self._url)}: {failure_of_request(error)}"
            if not _may_have_arrived(error):
                return reason
            self._lost = reason
            return ""
        status, answer = self._first
        why = self._no_archive(status, answer)
        return f"{shown(self._url)}: {why}" if why else ""

    def outcomes(self, batch: Sequence[Outgoing]) -> Iterator[SendOutcome]:
        if self._lost:
            yield from (without_answer(instance, self._lost) for instance in batch)
            return
        try:
            status, answer = self._first or self._post(batch)
        except requests.RequestException as error:
            self._lost = f"{shown(self._url)}: {failure_of_request(error)}"
            yield from (without_answer(instance, self._lost) for instance in batch)
            return
        self._first = None
        if why := self._no_archive(status, answer):
            self._lost = f"{shown(self._url)}: {why}"
        for instance in batch:
            named = instance.sop_instance_uid in answer.stored or instance.sop_instance_uid in answer.failed
            if named or len(batch) == 1 or status == 503 or self._lost:
                yield _outcome(instance, status, answer)
            else:
                yield from self.outcomes([instance])

    def _post(self, batch: Sequence[Outgoing]) -> tuple[int, StowAnswer]:
        body = _Multipart(batch)
        headers = {
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={body.boundary}',
            "Accept": "application/dicom+json, application/dicom+xml;q=0.5",
        }
        try:
            response = self._session.post(
                self._url, data=body, headers=headers, timeout=self._wait_s, allow_redirects=False
            )
        except requests.RequestException:
            if body.error is not None:
                raise body.error from None
            raise
        return response.status_code, read_stow_answer(response.content)

    @staticmethod
    def _no_archive(status: int, answer: StowAnswer) -> str:
        """Why what answered is no archive that takes anything from us, or ""."""
        if why := remedy(status):
            return f"{status_text(status)}: {why}"
        if 200 <= status < 300 and answer.problem and answer.problem != EMPTY:
            return f"{status_text(status)} with {answer.problem}: no DICOMweb service; correct the archive's address"
        return ""


def _may_have_arrived(error: requests.RequestException) -> bool:
    """Whether the request may have reached an archive: there was a connection."""
    if isinstance(error, requests.exceptions.ConnectTimeout | requests.exceptions.SSLError):
        return False
    if isinstance(error, requests.exceptions.ConnectionError):
        return "NewConnectionError" not in repr(error) and "NameResolutionError" not in repr(error)
    return not isinstance(error, ValueError)  # an address that is no URL


def _outcome(instance: Outgoing, status: int, answer: StowAnswer) -> SendOutcome:
    """What the answer says of the instance; nothing is believed that it does not say."""
    uid = instance.sop_instance_uid
    if uid in answer.failed:
        reason = answer.failed[uid]
        if reason is None:
            return without_answer(instance, f"{status_text(status)}: failed, without a reason")
        return SendOutcome(instance.path, uid, reason, delivery_of(reason), f"failure reason 0x{reason:04X}")
    if uid in answer.stored:
        warning = answer.stored[uid]
        message = f"stored, warning reason 0x{warning:04X}" if warning else ""
        return SendOutcome(instance.path, uid, warning or SUCCESS, Delivery.DELIVERED, message)
    said = answer.problem or "an answer that does not name the instance"
    if status == 413:
        said += "; raise the limit of the archive's web server to the size of the file"
    message = f"{status_text(status)} with {said}"
    refused = status in _REFUSALS
    return SendOutcome(instance.path, uid, None, Delivery.REFUSED if refused else Delivery.TRY_AGAIN, message)


_REFUSALS = frozenset({400, 409, 415, 422})
"""The request itself is refused (PS3.18 10.5.3.1); it held this instance alone, so sending it again will not help."""
