"""An archive over DIMSE: C-FIND, C-GET and C-MOVE at the Study Root (PS3.4 C.6.2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import structlog
from pydicom.dataset import Dataset
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context, build_role

from dicom_node.errors import InstanceRefused, PeerRejected, PeerUnreachable
from dicom_node.headers.elements import integer, text
from dicom_node.identifiers import checked_uid
from dicom_node.network.association import Peer, Timeouts, association_with
from dicom_node.network.contexts import ACCEPTED_STORAGE_CLASSES, MOST_CONTEXTS
from dicom_node.network.matching import (
    INSTANCE_KEYWORDS,
    MOST_ROWS,
    SERIES_KEYWORDS,
    STUDY_KEYWORDS,
    TextOf,
    asked_value,
    found_instances,
    found_series,
    found_studies,
    study_keys,
)
from dicom_node.network.records import FoundInstance, FoundSeries, FoundStudy
from dicom_node.network.retrieved import Retrieval
from dicom_node.network.status import SUCCESS, is_warning
from dicom_node.sop_classes import WRITTEN_CLASSES
from dicom_node.storage.instance import ReceivedInstance
from dicom_node.storage.part10 import part10_prefix

__all__ = ["DimseArchive", "move"]

_log = structlog.get_logger()

_FIND, _MOVE, _GET = (f"1.2.840.10008.5.1.4.1.2.2.{number}" for number in (1, 2, 3))
_PENDING = frozenset({0xFF00, 0xFF01})
_UNKNOWN_DESTINATION = 0xA801
_NOT_ASKED_FOR = 0xA900
_MOST_UIDS = 500
"""UIDs in one key: a value in Explicit VR has 64 kB at most."""

# Each in a context of its own, so that the archive sends what it has instead of re-encoding it; the likeliest first.
_TRANSFER_SYNTAXES = (
    ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, JPEGBaseline8Bit,
    RLELossless, JPEG2000, JPEGExtended12Bit, HTJ2KLossless, DeflatedExplicitVRLittleEndian,
)  # fmt: skip


class DimseArchive:
    """An archive that is asked by C-FIND and C-GET. See records.Archive."""

    def __init__(self, peer: Peer, calling_ae_title: str, timeouts: Timeouts) -> None:
        self._peer = peer
        self._calling_ae_title = calling_ae_title
        self._timeouts = timeouts

    def studies(
        self, *, patient_id: str = "", accession_number: str = "", study_uid: str = "", study_date: str = ""
    ) -> list[FoundStudy]:
        """The studies that have every key; without any, ValueError: nobody wants the whole archive."""
        keys = {
            "patient_id": patient_id,
            "accession_number": accession_number,
            "study_uid": study_uid,
            "study_date": study_date,
        }
        rows = self._find("STUDY", STUDY_KEYWORDS, study_keys(keys))
        return found_studies(rows, **keys)

    def series(self, study_uid: str, *, modality: str = "") -> list[FoundSeries]:
        checked_uid(study_uid, "StudyInstanceUID")
        rows = self._find("SERIES", SERIES_KEYWORDS, {"StudyInstanceUID": study_uid, "Modality": modality})
        return found_series(rows, study_uid, modality)

    def instances(self, study_uid: str, series_uid: str) -> list[FoundInstance]:
        checked_uid(study_uid, "StudyInstanceUID")
        checked_uid(series_uid, "SeriesInstanceUID")
        keys = {"StudyInstanceUID": study_uid, "SeriesInstanceUID": series_uid}
        return found_instances(self._find("IMAGE", INSTANCE_KEYWORDS, keys), study_uid, series_uid)

    def _find(self, level: str, keywords: Sequence[str], keys: Mapping[str, str]) -> list[TextOf]:
        query = Dataset()
        if not all(value.isascii() for value in keys.values()):
            query.SpecificCharacterSet = "ISO_IR 192"
        query.QueryRetrieveLevel = level
        for keyword in keywords:
            setattr(query, keyword, asked_value(keys.get(keyword, "")))
        with association_with(
            self._peer, self._calling_ae_title, [build_context(_FIND)], self._timeouts
        ) as association:
            if not association.accepted_contexts:
                raise PeerRejected(f"{self._peer} offers no C-FIND at the Study Root to {self._calling_ae_title}")
            rows = list(islice(self._rows(association, query), MOST_ROWS + 1))
            if len(rows) > MOST_ROWS:
                association.abort()
                raise PeerRejected(f"{self._peer} has more than {MOST_ROWS} matches: ask for less, by more keys")
        return [partial(text, row) for row in rows]

    def _rows(self, association: Association, query: Dataset) -> Iterator[Dataset]:
        for response, row in _responses(association.send_c_find(query, _FIND), self._peer, "C-FIND"):
            status = int(response.Status)
            if status in _PENDING:
                if row is not None:  # pynetdicom could not decode it
                    yield row
            elif not _ended_well(status):
                raise PeerRejected(f"{self._peer} answered C-FIND with {_told(response)}")

    def retrieve(
        self, study_uid: str, folder: Path, *, series_uid: str = "", sop_instance_uids: Sequence[str] = ()
    ) -> list[Path]:
        """Copy by C-GET. The instances are asked for first: for their SOP classes, and to know when all have come.

        Each transfer syntax has a context of its own. Some archives take the first one of a class whatever they hold,
        and fail where they cannot convert to it; so what has not come is asked for once more, one syntax at a time.
        """
        retrieval = Retrieval(study_uid, folder, series_uid, tuple(sop_instance_uids))
        all_series = [series_uid] if series_uid else [series.series_uid for series in self.series(study_uid)]
        found = [instance for uid in all_series for instance in self.instances(study_uid, uid)]
        asked = set(sop_instance_uids) or {one.sop_instance_uid for one in found}
        wanted = {one.sop_instance_uid: one for one in found if one.sop_instance_uid in asked}
        if not wanted:
            return retrieval.paths(self._peer)
        classes = {instance.sop_class_uid for instance in wanted.values()}
        told = self._get(_contexts_to_get(classes), [*_queries(study_uid, series_uid, sop_instance_uids)], retrieval)
        for syntax in _TRANSFER_SYNTAXES[2:]:
            left = [instance for uid, instance in wanted.items() if uid not in retrieval.came]
            if not left:
                break
            classes = {instance.sop_class_uid for instance in left}
            self._get(_contexts_to_get(classes, [syntax]), [*_queries_for(left)], retrieval)
        if missing := wanted.keys() - retrieval.came.keys():
            raise PeerRejected(
                f"{self._peer} sent {len(retrieval.came)} of {len(wanted)} instances by C-GET ({told or 'no error'}); "
                f"one that it did not send is {min(missing)}"
            )
        return retrieval.paths(self._peer)

    def _get(self, contexts: list[PresentationContext], queries: Sequence[Dataset], retrieval: Retrieval) -> str:
        """What the archive answers that is no success; "" where all went well."""
        receiver = _Receiver(self._peer, retrieval)
        roles = [build_role(uid, scp_role=True) for uid in sorted({str(one.abstract_syntax) for one in contexts[1:]})]
        told = ""
        with association_with(
            self._peer,
            self._calling_ae_title,
            contexts,
            self._timeouts,
            roles=roles,
            handlers=[(evt.EVT_C_STORE, receiver.take)],
        ) as association:
            if not any(context.abstract_syntax == _GET for context in association.accepted_contexts):
                raise PeerRejected(
                    f"{self._peer} offers no C-GET at the Study Root to {self._calling_ae_title}: "
                    "allow it there, or give the archive's DICOMweb address"
                )
            for query in queries:
                for response, _ in _responses(association.send_c_get(query, _GET), self._peer, "C-GET"):
                    if int(response.Status) not in (*_PENDING, SUCCESS):
                        told = _told(response)
        return told


_FAILED, _COMPLETED, _WARNED = (f"NumberOf{kind}Suboperations" for kind in ("Failed", "Completed", "Warning"))


class _Receiver:
    """Takes what the archive sends for a C-GET, in the association's thread, one instance at a time."""

    def __init__(self, peer: Peer, retrieval: Retrieval) -> None:
        self._peer = peer
        self._retrieval = retrieval

    def take(self, event: evt.Event) -> int:
        request: Any = event.request
        part = self._retrieval.part(len(self._retrieval.came))
        try:
            received = ReceivedInstance(
                data_set=b"",
                sop_class_uid=checked_uid(str(request.AffectedSOPClassUID), "SOPClassUID"),
                sop_instance_uid=checked_uid(str(request.AffectedSOPInstanceUID), "SOPInstanceUID"),
                transfer_syntax_uid=str(event.context.transfer_syntax),
                calling_ae_title=self._peer.ae_title,
                called_ae_title="",
                peer_address="",
            )
        except InstanceRefused:
            return _NOT_ASKED_FOR
        with part.open("wb") as file:
            file.write(part10_prefix(received))
            file.write(request.DataSet.getbuffer() if request.DataSet is not None else b"")
        return SUCCESS if self._retrieval.keep(part) else _NOT_ASKED_FOR


def _contexts_to_get(classes: set[str], syntaxes: Sequence[str] = _TRANSFER_SYNTAXES) -> list[PresentationContext]:
    """C-GET's own context, then one for each class and syntax, as many as there is room for.

    `classes`: those that are to come; "" for one that the archive does not tell.
    """
    expected = sorted(classes - {""})
    others = [uid for uid in (_LIKELY_CLASSES if "" in classes else sorted(WRITTEN_CLASSES)) if uid not in classes]
    keys = [(uid, syntax) for syntax in syntaxes[:2] for uid in expected]
    keys += [(uid, syntaxes[0]) for uid in others]
    keys += [(uid, syntax) for syntax in syntaxes[2:] for uid in expected]
    return [build_context(_GET), *(build_context(uid, syntax) for uid, syntax in keys[: MOST_CONTEXTS - 1])]


# No association has room for all; images come before documents and what is neither.
_LIKELY_CLASSES = (
    *sorted(WRITTEN_CLASSES),
    *sorted(set(ACCEPTED_STORAGE_CLASSES) - WRITTEN_CLASSES, key=lambda uid: ("Image" not in UID(uid).name, uid)),
)


def _queries(study_uid: str, series_uid: str, sop_instance_uids: Sequence[str]) -> Iterator[Dataset]:
    query = Dataset()
    query.QueryRetrieveLevel = "SERIES" if series_uid else "STUDY"
    query.StudyInstanceUID = study_uid
    if series_uid:
        query.SeriesInstanceUID = series_uid
    if not sop_instance_uids:
        yield query
    for first in range(0, len(sop_instance_uids), _MOST_UIDS):
        query = deepcopy(query)
        query.QueryRetrieveLevel = "IMAGE"
        query.SOPInstanceUID = list(sop_instance_uids[first : first + _MOST_UIDS])
        yield query


def _queries_for(instances: Sequence[FoundInstance]) -> Iterator[Dataset]:
    """Queries for single instances, series by series."""
    by_series: dict[tuple[str, str], list[str]] = {}
    for instance in instances:
        by_series.setdefault((instance.study_uid, instance.series_uid), []).append(instance.sop_instance_uid)
    for (study_uid, series_uid), uids in by_series.items():
        yield from _queries(study_uid, series_uid, uids)


def move(
    peer: Peer,
    calling_ae_title: str,
    study_uid: str,
    destination_ae: str,
    *,
    series_uid: str = "",
    sop_instance_uids: Sequence[str] = (),
    timeouts: Timeouts | None = None,
) -> int:
    """Have an archive send a study, a series of it, or some instances of the series to `destination_ae` (C-MOVE).

    Returns how many instances it sent.

    The archive must know that AE title and where it listens. Raises PeerUnreachable and PeerRejected; a move of which
    only some instances failed is logged and counts those that were sent.
    """
    checked_uid(study_uid, "StudyInstanceUID")
    if sop_instance_uids and not series_uid:
        raise ValueError("instances are asked for with their series: give series_uid too")
    series_uid = checked_uid(series_uid, "SeriesInstanceUID") if series_uid else ""
    moved = failed = 0
    with association_with(peer, calling_ae_title, [build_context(_MOVE)], timeouts or Timeouts()) as association:
        if not association.accepted_contexts:
            raise PeerRejected(f"{peer} offers no C-MOVE at the Study Root to {calling_ae_title}")
        for query in _queries(study_uid, series_uid, sop_instance_uids):
            some, others = _moved(association, query, peer, destination_ae)
            moved, failed = moved + some, failed + others
    if failed and not moved:
        raise PeerRejected(f"{peer} could not send any of {failed} instances to {destination_ae}: look into its log")
    if failed:
        _log.warning("move_incomplete", study_uid=study_uid, moved=moved, failed=failed)
    return moved


def _moved(association: Association, query: Dataset, peer: Peer, destination_ae: str) -> tuple[int, int]:
    """How many instances one C-MOVE has sent, and how many it could not."""
    moved = failed = 0
    for response, _ in _responses(association.send_c_move(query, destination_ae, _MOVE), peer, "C-MOVE"):
        status = int(response.Status)
        sent = (integer(response, _COMPLETED) or 0) + (integer(response, _WARNED) or 0)
        moved, failed = max(moved, sent), max(failed, integer(response, _FAILED) or 0)
        if status == _UNKNOWN_DESTINATION:
            raise PeerRejected(f"{peer} does not know {destination_ae}: enter it there with its host and port")
        if status not in _PENDING and not _ended_well(status) and not moved:
            raise PeerRejected(f"{peer} answered C-MOVE with {_told(response)}")
    return moved, failed


_MOST_RESPONSES = 4 * MOST_ROWS
"""To one request; an archive that is still sending has sent so many instances."""


def _responses(
    responses: Iterator[tuple[Dataset, Dataset | None]], peer: Peer, service: str
) -> Iterator[tuple[Dataset, Dataset | None]]:
    """The responses up to the last; PeerUnreachable where one does not come, PeerRejected where they do not end."""
    for count, (response, identifier) in enumerate(responses):
        if count == _MOST_RESPONSES:
            raise PeerRejected(f"{peer} gave {count:,} responses to one {service} and no last one: look into its log")
        if "Status" not in response:
            raise PeerUnreachable(
                f"{peer} did not answer {service} to its end: try again, and look whether it lets our AE title ask"
            )
        yield response, identifier


def _ended_well(status: int) -> bool:
    """Success, or a warning (PS3.7 C.4)."""
    return status == SUCCESS or is_warning(status)


def _told(response: Dataset) -> str:
    """The status; an Error Comment may repeat what was asked for, as a patient's name, and errors are logged."""
    commented = ", with a comment: look into its log" if text(response, "ErrorComment") else ""
    return f"status 0x{int(response.Status):04X}{commented}"
