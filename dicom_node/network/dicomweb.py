"""An archive over DICOMweb: QIDO-RS (PS3.18 10.6) and WADO-RS (PS3.18 10.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import requests
from dicomweb_client.api import DICOMwebClient
from pydicom.datadict import tag_for_keyword
from requests.utils import parse_dict_header

from dicom_node.errors import PeerRejected, PeerUnreachable
from dicom_node.identifiers import checked_uid
from dicom_node.network.association import Timeouts
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
from dicom_node.network.multipart import BrokenMultipart, parts
from dicom_node.network.records import ArchiveAddress, FoundInstance, FoundSeries, FoundStudy
from dicom_node.network.retrieved import Retrieval
from dicom_node.network.web import failure_of_request, open_session, remedy, shown, status_text

__all__ = ["DicomwebArchive"]

_PAGE = 1000
_PIECE_BYTES = 2**20
_LARGEST_INSTANCE_BYTES = 2**32
_AS_IT_IS = 'multipart/related; type="application/dicom"; transfer-syntax=*'

_Page = Callable[..., list[dict[str, Any]]]


class DicomwebArchive:
    """An archive that is asked by QIDO-RS and WADO-RS. See records.Archive."""

    def __init__(self, address: ArchiveAddress, timeouts: Timeouts) -> None:
        self._url = address.dicomweb_url.rstrip("/")
        self._session = open_session(address)
        self._wait_s = (timeouts.connection_s, timeouts.dimse_s)

    def __str__(self) -> str:
        return shown(self._url)

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
        rows = self._rows(
            lambda client: client.search_for_studies, "StudyInstanceUID", STUDY_KEYWORDS, study_keys(keys)
        )
        return found_studies(rows, **keys)

    def series(self, study_uid: str, *, modality: str = "") -> list[FoundSeries]:
        checked_uid(study_uid, "StudyInstanceUID")
        rows = self._rows(
            lambda client: partial(client.search_for_series, study_uid),
            "SeriesInstanceUID",
            SERIES_KEYWORDS,
            {"Modality": modality},
        )
        return found_series(rows, study_uid, modality)

    def instances(self, study_uid: str, series_uid: str) -> list[FoundInstance]:
        checked_uid(study_uid, "StudyInstanceUID")
        checked_uid(series_uid, "SeriesInstanceUID")
        rows = self._rows(
            lambda client: partial(client.search_for_instances, study_uid, series_uid),
            "SOPInstanceUID",
            INSTANCE_KEYWORDS,
            {},
        )
        return found_instances(rows, study_uid, series_uid)

    def _rows(
        self, search: Callable[[DICOMwebClient], _Page], own: str, keywords: Sequence[str], keys: Mapping[str, str]
    ) -> list[TextOf]:
        """All pages. An archive that passes over `offset` repeats itself; so a page without a new UID is the end."""
        filters = {keyword: asked_value(value) for keyword, value in keys.items() if value}
        rows: dict[str, TextOf] = {}
        received = 0
        with self._told():
            page = search(self._client())
            while True:
                answer = self._page(page, limit=_PAGE, offset=received, fields=list(keywords), search_filters=filters)
                before = len(rows)
                for text_of in _texts(answer):
                    rows.setdefault(text_of(own), text_of)
                if len(rows) == before:
                    return list(rows.values())
                received += len(answer)
                if received > MOST_ROWS:
                    raise PeerRejected(f"{self} has more than {MOST_ROWS} matches: ask for less, by more keys")

    def _page(self, page: _Page, **query: Any) -> list[dict[str, Any]]:
        """A page; an empty one where the archive answers "not found" for a study that it does not have."""
        try:
            return page(**query)
        except requests.HTTPError as error:
            if error.response is None or error.response.status_code != 404:
                raise
            self._must_be_there()
            return []

    def _client(self) -> DICOMwebClient:
        # Permissive: archives hold UIDs with leading zeros, and we have looked at them ourselves.
        client = DICOMwebClient(self._url, session=self._session, permissive_uid=True, timeout=self._wait_s)
        client.set_http_retry_params(retry=False)
        return client

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Failures of a request as the errors of the house."""
        try:
            yield
        except requests.HTTPError as error:
            status = 0 if error.response is None else error.response.status_code
            if why := remedy(status):
                raise PeerUnreachable(f"{self}: {status_text(status)}: {why}") from None
            if status >= 500 or status in (408, 429):
                raise PeerUnreachable(f"{self}: {status_text(status)}; try again later") from None
            raise PeerRejected(f"{self}: {status_text(status)}: it refuses the request") from None
        except requests.exceptions.InvalidJSONError:
            raise PeerUnreachable(f"{self}: its answer is no DICOM JSON: correct the archive's address") from None
        except requests.RequestException as error:
            raise PeerUnreachable(f"{self}: {failure_of_request(error)}") from None
        except (BrokenMultipart, AttributeError, TypeError, ValueError, RecursionError) as error:
            # dicomweb-client takes an answer for what it should be, and an address for a URL.
            raise PeerUnreachable(f"{self}: no usable answer or address ({type(error).__name__})") from None

    def retrieve(
        self, study_uid: str, folder: Path, *, series_uid: str = "", sop_instance_uids: Sequence[str] = ()
    ) -> list[Path]:
        """Copy by WADO-RS, as the archive holds them; the parts go to disk as they come, and are never decoded."""
        retrieval = Retrieval(study_uid, folder, series_uid, tuple(sop_instance_uids))
        url = f"{self._url}/studies/{study_uid}" + (f"/series/{series_uid}" if series_uid else "")
        with self._told():
            if not sop_instance_uids:
                self._get(url, retrieval)
            for uid in sop_instance_uids:
                self._get(f"{url}/instances/{uid}", retrieval)
        return retrieval.paths(self)

    def _get(self, url: str, retrieval: Retrieval) -> None:
        with self._session.get(url, headers={"Accept": _AS_IT_IS}, timeout=self._wait_s, stream=True) as response:
            if response.status_code in (204, 404):  # it has none; what was asked for by its UID is missed in the end
                self._must_be_there()
                return
            response.raise_for_status()
            for number, content in enumerate(self._contents(response)):
                if number == MOST_ROWS:
                    raise PeerRejected(f"{self} sends more than {MOST_ROWS:,} instances for one study")
                part = retrieval.part(len(retrieval.came))
                try:
                    with part.open("wb") as file:
                        file.writelines(self._bounded(content))
                except (requests.RequestException, BrokenMultipart, PeerRejected):
                    part.unlink(missing_ok=True)
                    raise
                retrieval.keep(part)

    def _bounded(self, content: Iterator[bytes]) -> Iterator[bytes]:
        """The pieces of an instance, as long as it is not larger than any that the standard can hold."""
        came = 0
        for piece in content:
            came += len(piece)
            if came > _LARGEST_INSTANCE_BYTES:
                raise PeerRejected(f"{self} sends an instance of more than {_LARGEST_INSTANCE_BYTES >> 30} GB")
            yield piece

    def _must_be_there(self) -> None:
        """Raise where "not found" speaks of the whole service."""
        self._client().search_for_studies(limit=1, search_filters={"StudyInstanceUID": "1"})

    def _contents(self, response: requests.Response) -> Iterator[Iterator[bytes]]:
        pieces = response.iter_content(_PIECE_BYTES)
        kind, _, parameters = response.headers.get("Content-Type", "").partition(";")
        if kind.strip().lower() == "application/dicom":
            yield pieces
            return
        boundary = parse_dict_header(parameters.replace(";", ",")).get("boundary")
        if kind.strip().lower() != "multipart/related" or not boundary:
            raise PeerUnreachable(f"{self}: its answer is no multipart/related message: correct the archive's address")
        yield from parts(pieces, boundary)


def _texts(answer: object) -> list[TextOf]:
    if not isinstance(answer, list):
        raise TypeError("an answer that is no list")
    return [partial(_text, row) for row in answer if isinstance(row, dict)]


def _text(row: Mapping[str, Any], keyword: str) -> str:
    """The first value of an attribute in DICOM JSON (PS3.18 F.2) as text, "" where there is none."""
    element = row.get(f"{tag_for_keyword(keyword):08X}")
    values = element.get("Value") if isinstance(element, dict) else None
    value = values[0] if isinstance(values, list) and values else None
    if isinstance(value, dict):  # a person's name
        value = next((value[group] for group in _NAME_GROUPS if value.get(group)), None)
    return str(value).strip(" \0") if isinstance(value, str | int | float) else ""


_NAME_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
