"""Archives over HTTP: sessions with bounded answers, and what an HTTP status or a failure means for a person."""

from __future__ import annotations

import os
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.auth import HTTPBasicAuth

from dicom_node.network.records import ArchiveAddress

__all__ = ["AnswerTooLong", "failure_of_request", "open_session", "remedy", "shown", "status_text"]

_LONGEST_ANSWER_BYTES = 64 * 2**20
_READ_BYTES = 2**16


class AnswerTooLong(requests.RequestException):
    """The archive's answer is longer than any that we could use."""


class _Session(requests.Session):
    """Reads no answer beyond _LONGEST_ANSWER_BYTES, unless the caller streams it."""

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        streamed = bool(options.get("stream"))
        request.headers.pop("Host", None)  # dicomweb-client leaves the port out; http.client does not
        response = super().send(request, **{**options, "stream": True})
        if streamed:
            return response
        content = bytearray()
        with response:
            for piece in response.iter_content(_READ_BYTES):
                content += piece
                if len(content) > _LONGEST_ANSWER_BYTES:
                    raise AnswerTooLong(response=response, request=request)
        response._content = bytes(content)  # as requests keeps it where an answer is not streamed
        return response


def open_session(address: ArchiveAddress) -> requests.Session:
    """A session with the archive's user. The environment's proxies and netrc are left aside: they are not for archives.

    A hospital's own authorities come from REQUESTS_CA_BUNDLE, as everywhere with requests.
    """
    session = _Session()
    session.trust_env = False
    session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or True
    if address.username:
        session.auth = HTTPBasicAuth(address.username.encode(), address.password.encode())
    return session


def shown(url: str) -> str:
    """The URL without a user and password that may stand in it, and without a query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def failure_of_request(error: requests.RequestException) -> str:
    """Why there was no answer, without the URL and what else the library quotes."""
    for kind, told in _FAILURES.items():
        if isinstance(error, kind):
            return told
    return f"no usable answer ({type(error).__name__})"


_FAILURES: dict[type[requests.RequestException], str] = {
    requests.exceptions.SSLError: "no TLS connection: check https:// in the address, and the certificate's authority "
    "(REQUESTS_CA_BUNDLE)",
    requests.exceptions.ConnectTimeout: "no connection in time",
    requests.exceptions.ReadTimeout: "no answer in time",
    requests.exceptions.ConnectionError: "no connection, or the connection was lost",
    requests.exceptions.ChunkedEncodingError: "the connection was lost in the middle of the answer",
    requests.exceptions.InvalidURL: "the address is no URL",
    requests.exceptions.InvalidSchema: "the address is no URL: it begins with http:// or https://",
    requests.exceptions.MissingSchema: "the address is no URL: it begins with http:// or https://",
    requests.exceptions.TooManyRedirects: "it redirects in a circle: correct the address",
    AnswerTooLong: f"its answer is longer than {_LONGEST_ANSWER_BYTES >> 20} MB",
}


def status_text(status: int) -> str:
    """`HTTP 404 Not Found`; the server's own words are left out."""
    try:
        return f"HTTP {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP {status}"


def remedy(status: int) -> str:
    """What to do about a status that says that we, or the address, are wrong; "" for every other status."""
    if status in _REMEDIES:
        return _REMEDIES[status]
    return "it redirects: set the address to where it leads" if 300 <= status < 400 else ""


_REMEDIES = {
    401: "it asks for a user, or does not take this one: set the archive's username and password",
    403: "it does not let this user in: allow it in the archive, or set another username",
    404: "there is no such service: correct the archive's address",
    405: "there is no such service: correct the archive's address",
    407: "a proxy is in between: set an address that reaches the archive itself",
}
