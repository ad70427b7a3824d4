"""A server takes any bytes for what they are, and answers the next request as if nothing had been."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference.conformance.phantom import Sample
from inference.errors import CheckpointError
from inference.interface import SliceStack
from inference.remote import RemoteModel, open_remote
from inference.serve.app import Served
from inference.serve.run import serve
from inference.wire.frame import CONTENT_TYPE, BadMessage, pack, unpack
from inference.wire.messages import stack_from, stack_message

Serving = Callable[..., str]
FEW = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
VALUES = np.zeros((2, 9, 8), dtype=np.float32)
VALID = b"".join(pack({"digest": "?", "stack": stack_message(SliceStack(VALUES, "CT", None), 0)}, [VALUES]))

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=8) | st.sampled_from(["bool", "nan"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
declared = st.fixed_dictionaries(
    {"dtype": st.sampled_from(["float32", "uint8", "bool", "object", "<f8"]) | json_values,
     "shape": st.lists(st.integers(-1, 2**40), max_size=5) | json_values}
)  # fmt: skip


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Messages with something wrong: other JSON, other arrays, bytes cut off, flipped or added."""
    kind = draw(st.sampled_from(["json", "cut", "flip", "more", "any"]))
    if kind == "any":
        return draw(st.binary(max_size=64))
    if kind == "cut":
        return VALID[: draw(st.integers(0, len(VALID) - 1))]
    if kind == "more":
        return VALID + draw(st.binary(min_size=1, max_size=9))
    if kind == "flip":
        place = draw(st.integers(0, 300))
        return VALID[:place] + bytes([draw(st.integers(0, 255))]) + VALID[place + 1 :]
    message = {"digest": "?", "stack": draw(json_values), "labels": draw(json_values), "questions": draw(json_values)}
    message["arrays"] = draw(st.lists(declared, max_size=3) | json_values)
    text = json.dumps(message).encode()
    return b"MSR1" + len(text).to_bytes(4, "little") + text + draw(st.binary(max_size=64))


@FEW
@given(bodies())
def test_bytes_that_are_no_message_are_refused_as_such(body: bytes) -> None:
    try:
        message, arrays = unpack(body)
        stack_from(message.get("stack"), arrays)
    except BadMessage:
        pass


def test_a_server_lives_on(serving: Serving, doubles: ModuleType, sample: Sample) -> None:
    address = serving(doubles.Threshold())

    @FEW
    @given(bodies(), st.sampled_from(["/locate", "/answer", "/likeness"]))
    def send(body: bytes, path: str) -> None:
        assert _post(address, path, body) in (400, 409)

    send()
    there = open_remote(address)
    assert isinstance(there, RemoteModel)
    assert there.locate(sample.stack, ["liver"])[0] is not None


def test_what_is_too_much_or_not_a_message_is_refused_before_it_is_read(serving: Serving, doubles: ModuleType) -> None:
    address = serving(doubles.Threshold(), most_bytes=1000)
    assert _post(address, "/locate", b"", {"content-length": "99999999999"}) == 413
    assert _post(address, "/locate", b"x" * 5000) == 413
    assert _post(address, "/locate", VALID[:100], {"content-type": "application/x-pickle"}) == 415


def test_a_busy_server_says_when_to_come_again(serving: Serving, doubles: ModuleType) -> None:
    class _Full(doubles.Threshold):  # type: ignore[misc,name-defined]
        pass

    address = serving(_Full(), waiting=-1)
    host = address.removeprefix("http://")
    connection = http.client.HTTPConnection(host)
    connection.request("POST", "/locate", VALID, {"content-type": CONTENT_TYPE})
    response = connection.getresponse()
    assert (response.status, response.getheader("retry-after")) == (503, "15")
    connection.close()


def test_beyond_this_machine_it_serves_only_with_a_token_over_tls(doubles: ModuleType) -> None:
    with pytest.raises(CheckpointError, match="--token-file, --certificate and --key"):
        serve(Served(doubles.Threshold(), "x" * 32), "0.0.0.0", 0, None, None)


def _post(address: str, path: str, body: bytes, headers: dict[str, str] | None = None) -> int:
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=20)
    sent: dict[str, Any] = {"content-type": CONTENT_TYPE, **(headers or {})}
    try:
        connection.request("POST", path, body, sent)
        return connection.getresponse().status
    finally:
        connection.close()
