"""Deletes instances and studies in an Orthanc, through its REST interface: DICOM itself has no service for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import requests
import structlog
from orthanc_api_client import OrthancApiClient
from orthanc_api_client import exceptions as orthanc_errors
from requests.adapters import HTTPAdapter

from dicom_node.errors import PeerRejected, PeerUnreachable
from dicom_node.identifiers import checked_uid
from dicom_node.network.peer_text import peer_text
from dicom_node.network.records import ArchiveAddress
from dicom_node.network.web import shown, status_text

__all__ = ["delete_instances", "delete_study", "orthanc_version"]

_log = structlog.get_logger()

_WAIT_S = (10.0, 120.0)


def delete_instances(address: ArchiveAddress, sop_instance_uids: Sequence[str]) -> dict[str, bool]:
    """Delete instances, by SOP Instance UID. True: it is gone, or was not there; False: it is still there.

    Raises PeerUnreachable, PeerRejected where our user may not delete, and IdentifierMismatch for what is no UID.
    """
    uids = [checked_uid(uid, "SOPInstanceUID") for uid in sop_instance_uids]
    with _client(address) as client:
        return {uid: _delete(client, client.instances, uid, "Instance") for uid in uids}


def delete_study(address: ArchiveAddress, study_uid: str) -> bool:
    """Delete a whole study; answers and raises as `delete_instances`."""
    checked_uid(study_uid, "StudyInstanceUID")
    with _client(address) as client:
        return _delete(client, client.studies, study_uid, "Study")


def orthanc_version(address: ArchiveAddress) -> str:
    """Which version of Orthanc answers; raises as `delete_instances`."""
    with _client(address) as client:
        return peer_text(str(client.get_system()["Version"]))


def _delete(client: Any, resources: Any, uid: str, level: str) -> bool:
    """Delete all that Orthanc has under the UID: it may have it for two patients. Then look whether it is gone."""
    for orthanc_id in _ids(client, uid, level):
        try:
            resources.delete(orthanc_id, ignore_errors=True)
        except orthanc_errors.NotAuthorized:
            raise
        except orthanc_errors.HttpError as error:
            _log.warning("orthanc_delete_failed", level=level, uid=uid, answer=status_text(error.http_status_code or 0))
    return not _ids(client, uid, level)


def _ids(client: Any, uid: str, level: str) -> list[str]:
    """Orthanc's own identifiers for a UID at one level."""
    ids = client.lookup(needle=uid, filter=level)
    if not isinstance(ids, list):
        raise TypeError("an answer that is no list")
    return [str(one) for one in ids]


class _Patience(HTTPAdapter):
    """Waits for an answer no longer than _WAIT_S; the client itself would wait for ever."""

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        return super().send(request, *arguments, **{**options, "timeout": options.get("timeout") or _WAIT_S})


@contextmanager
def _client(address: ArchiveAddress) -> Iterator[Any]:
    """The client, and its errors as those of the house."""
    where = shown(address.orthanc_url)
    client = None
    try:
        client = OrthancApiClient(address.orthanc_url.rstrip("/") + "/", address.username, address.password)
        session = client._http_session  # there is no other way to a time limit
        session.trust_env = False
        session.mount("http://", _Patience())
        session.mount("https://", _Patience())
        yield client
    except orthanc_errors.NotAuthorized as error:
        status = status_text(error.http_status_code or 0)
        raise PeerRejected(
            f"{where}: {status}: this user may not delete: set the archive's username and password, or allow it there"
        ) from None
    except orthanc_errors.ResourceNotFound:
        raise PeerUnreachable(f"{where}: there is no Orthanc: correct the address of its REST interface") from None
    except orthanc_errors.HttpError as error:
        raise PeerUnreachable(f"{where}: {status_text(error.http_status_code or 0)}; try again later") from None
    except orthanc_errors.OrthancApiException as error:
        raise PeerUnreachable(f"{where}: no answer ({type(error).__name__})") from None
    except (requests.RequestException, AttributeError, LookupError, TypeError, ValueError) as error:
        raise PeerUnreachable(f"{where}: it does not answer as an Orthanc does ({type(error).__name__})") from None
    finally:
        if client is not None:
            client.close()
