"""A model elsewhere answers as it would here; whatever it does wrong is named."""

from __future__ import annotations

import datetime
import json
import socket
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from urllib.request import urlopen

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from inference import remote
from inference.checked import CheckedPredictor
from inference.conformance.phantom import Sample
from inference.errors import CheckpointError, InputRefused, RemoteFailed, RemoteRefused, TermsNotAccepted
from inference.interface import Exchange, PredictorDescription, Question
from inference.open import describe_predictor, open_model, open_predictor
from inference.remote import RemoteAccess, RemoteModel, RemotePredictor, open_remote
from inference.remote.client import _Line
from inference.wire.frame import BadMessage
from inference.wire.messages import Description, description_from, description_message

Serving = Callable[..., str]
TOKEN = "0123456789abcdef0123456789abcdef"


def test_it_answers_as_it_would_here(serving: Serving, doubles: ModuleType, sample: Sample) -> None:
    here = doubles.Threshold()
    there = open_remote(serving(here))
    assert isinstance(there, RemoteModel)
    assert (there.description, there.card) == (here.description, here.card)
    labels = ["spleen", "liver", "kidney left"]
    for mine, its in zip(here.locate(sample.stack, labels), there.locate(sample.stack, labels), strict=True):
        assert its is not None
        assert (its.phrase, its.confidence, its.code) == (mine.phrase, mine.confidence, mine.code)
        assert np.array_equal(its.mask, mine.mask)
    assert there.likeness(sample.stack) == 0.75
    question = Question("how big is it?", (Exchange("Where is the liver?", "There.", ("liver",)),), ("liver",))
    [mine], [its] = here.free_answer(sample.stack, [question]), there.free_answer(sample.stack, [question])
    assert its.text == mine.text == "liver after Where is the liver?"
    assert replace(its, targets=()) == replace(mine, targets=())
    assert np.array_equal(its.targets[0].mask, mine.targets[0].mask)


def test_what_has_no_card_is_asked_as_a_predictor(serving: Serving, doubles: ModuleType, sample: Sample) -> None:
    there = open_predictor(serving(doubles.Bare()))
    assert isinstance(there, CheckedPredictor) and isinstance(there.predictor, RemotePredictor)
    assert [answer.text for answer in there.answer(sample.stack, [Question("a"), Question("b")])] == ["nothing"] * 2


@pytest.mark.parametrize(
    ("double", "said"),
    [
        ("WrongGrid", r"mask of 'liver' is bool \(1, 2, 3\); the stack has \(24, 160, 160\)"),
        ("WrongName", "'liver' was asked for, and 'heart' came"),
        ("TooSure", "confidence of 'liver' is 1.5"),
        ("Failing", "failed with RuntimeError; see its log"),
    ],
)
def test_a_lie_is_refused_and_named(
    serving: Serving, doubles: ModuleType, sample: Sample, double: str, said: str
) -> None:
    there = open_remote(serving(getattr(doubles, double)()))
    assert isinstance(there, RemoteModel)
    with pytest.raises(RemoteRefused, match=said) as refused:
        there.locate(sample.stack, ["liver"])
    assert "DOE" not in str(refused.value)
    assert "liver" not in refused.value.for_log, "what came may repeat the question"


def test_one_that_is_slow_or_busy_is_asked_again_later(serving: Serving, doubles: ModuleType, sample: Sample) -> None:
    doubles.Waiting.released.clear()
    address = serving(doubles.Waiting(), waiting=0)
    try:
        slow = open_remote(address, RemoteAccess(timeout_s=0.3))
        assert isinstance(slow, RemoteModel)
        with pytest.raises(RemoteFailed, match=r"did not answer within 0.3 s"):
            slow.locate(sample.stack, ["liver"])
        with pytest.raises(RemoteFailed, match="does not answer now: as many requests as may are waiting"):
            slow.locate(sample.stack, ["liver"])
    finally:
        doubles.Waiting.released.set()


def test_one_that_dies_midway_is_asked_again_and_found_with_other_weights(
    serving_child: Callable[..., tuple[str, subprocess.Popen[str]]], sample: Sample
) -> None:
    address, child = serving_child("doubles:Waiting")
    there = open_remote(address)
    assert isinstance(there, RemoteModel)
    failed: list[BaseException] = []

    def ask() -> None:
        try:
            there.locate(sample.stack, ["liver"])
        except RemoteFailed as error:
            failed.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    while b"busy" not in urlopen(address + "/health").read():
        assert asking.is_alive()
    child.kill()
    asking.join(30)
    assert "broke off before it did answer" in str(failed[0])
    with pytest.raises(RemoteFailed, match="cannot be reached"):
        there.locate(sample.stack, ["liver"])
    serving_child("doubles:Other", int(address.rpartition(":")[2]))
    with pytest.raises(RemoteFailed, match="no longer has the weights"):
        there.locate(sample.stack, ["liver"])
    assert there.description.name == "other", "it is described anew, so that a job for the old weights is not answered"
    assert there.locate(sample.stack, ["liver"])[0] is not None


def test_a_token_is_asked_for_and_never_told(
    serving: Serving, doubles: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = serving(doubles.Threshold(), token=TOKEN)
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    assert describe_predictor(address, access=RemoteAccess(token_file=file)).name == "threshold"
    monkeypatch.setenv(remote.TOKEN_VARIABLE, TOKEN)
    assert describe_predictor(address).name == "threshold"
    monkeypatch.setenv(remote.TOKEN_VARIABLE, TOKEN[::-1])
    with pytest.raises(RemoteFailed, match="does not take our token") as failed:
        describe_predictor(address)
    assert TOKEN[::-1] not in f"{failed.value!r} {failed.value.__cause__!r}"
    with pytest.raises(CheckpointError, match="sent over TLS only"):
        describe_predictor("http://gpu.invalid:8090")
    monkeypatch.delenv("MEDSEG_R_TOKEN", raising=False)  # images of patients without one either
    with pytest.raises(CheckpointError, match="sent over TLS only"):
        describe_predictor("http://gpu.invalid:8090")
    file.write_text("short")
    with pytest.raises(CheckpointError, match="openssl rand"):
        describe_predictor(address, access=RemoteAccess(token_file=file))


def test_over_tls_only_its_own_certificate_is_taken(serving: Serving, doubles: ModuleType, tmp_path: Path) -> None:
    certificate, key = _self_signed(tmp_path)
    address = serving(doubles.Threshold(), certificate=certificate, key=key)
    assert describe_predictor(address, access=RemoteAccess(ca_file=certificate)).name == "threshold"
    with pytest.raises(RemoteFailed, match=r"cannot be reached.*certificate"):
        describe_predictor(address)


def test_what_answers_and_is_no_predictor_is_named() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(RemoteRefused, match="no message"):
            describe_predictor(f"http://127.0.0.1:{listening.getsockname()[1]}")
        thread.join()


def test_a_stack_that_is_too_large_is_not_even_sent(serving: Serving, doubles: ModuleType, sample: Sample) -> None:
    there = open_remote(serving(doubles.Threshold(), most_bytes=100_000))
    assert isinstance(there, RemoteModel)
    with pytest.raises(InputRefused, match=r"more than http.* takes"):
        there.locate(sample.stack, ["liver"])


@pytest.mark.parametrize("address", ["http://", "http://user:secret@host:1", "https://host:99999", "http://h/?a=b"])
def test_an_address_that_cannot_be_used_is_refused_without_its_password(address: str) -> None:
    with pytest.raises(CheckpointError) as refused:
        open_remote(address)
    assert "secret" not in str(refused.value)


def test_a_class_of_a_package_is_opened_and_what_is_wrong_with_it_named(
    doubles: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert open_model("doubles:Threshold").description == describe_predictor("doubles:Threshold")
    for name, said in {
        "no_such_package.models:Class": "there is no such module",
        "doubles:Nobody": "has no class Nobody",
        "doubles:Lacking": "lacks card, free_answer, likeness",
        "doubles:Unbuildable": "cannot be built: OSError: weights.bin is not there",
    }.items():
        with pytest.raises(CheckpointError, match=said):
            open_model(name)
    research = PredictorDescription("r", "1", "0" * 64, "research use only")
    monkeypatch.setattr(doubles.Bare, "description", research)
    with pytest.raises(TermsNotAccepted, match="accept_research_use"):
        open_predictor("doubles:Bare")
    shipped = describe_predictor("tiny")
    monkeypatch.setattr(doubles.Bare, "description", replace(research, digest=shipped.digest))
    assert open_predictor("doubles:Bare").description.terms == research.terms, "the shipped weights need no consent"


def _self_signed(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    address = x509.IPAddress(__import__("ipaddress").ip_address("127.0.0.1"))
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


@pytest.mark.parametrize("endless", [b"HTTP/1.1 200 OK\r\nx: ", b""], ids=["a header", "informational answers"])
def test_one_that_never_comes_to_its_answer_is_left_in_time(endless: bytes) -> None:
    """Each byte comes in time, the whole never: in what precedes a body too."""
    served = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def drip() -> None:
        connection, _ = served.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(endless)
            while not over.wait(0.01):
                try:
                    connection.sendall(b"a" if endless else b"HTTP/1.1 100 Continue\r\n\r\n")
                except OSError:
                    return

    dripping = threading.Thread(target=drip)
    dripping.start()
    try:
        line = _Line(f"http://127.0.0.1:{served.getsockname()[1]}", RemoteAccess())
        with pytest.raises(RemoteFailed, match=r"did not answer within 0.5 s"), line._failing("answer", 0.5):
            line._exchange("GET", "/description", None, 0.5, 1000)
    finally:
        over.set()
        dripping.join(30)
        served.close()


def test_a_card_says_over_the_wire_what_it_may_say_in_a_file(doubles: ModuleType) -> None:
    model = doubles.Threshold()
    said = json.loads(json.dumps(description_message(Description(model.description, model.card))))
    assert description_from(said).card == model.card
    for key, lie in {"likeness_limits": [0.5, 0.5], "windows": {"CT": [5.0, 1.0]}, "labels": []}.items():
        with pytest.raises(BadMessage, match=f"its card: {key}"):
            description_from(said | {"card": said["card"] | {key: lie}})
    said["card"]["labels"][0]["least_confidence"] = 5  # nothing would ever be sure enough: everything "not seen"
    with pytest.raises(BadMessage, match="least_confidence must be from 0 to 1"):
        description_from(said)
