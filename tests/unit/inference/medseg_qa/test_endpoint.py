"""Conversations from an OpenAI-compatible endpoint: a real HTTP server that answers well, badly, late or not at all."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from inference.medseg_qa.annotators.endpoint import EndpointAnnotator, EndpointSettings
from inference.medseg_qa.builder import build
from inference.medseg_qa.commands import make_app
from inference.medseg_qa.errors import AnnotatorError, BuildError
from inference.medseg_qa.records import read_records
from inference.medseg_qa.sources import open_source

Reply = tuple[int, str]


@dataclass
class Endpoint:
    url: str
    reply: Callable[[dict[str, Any]], Reply]
    asked: list[dict[str, Any]] = field(default_factory=list)


def good(body: dict[str, Any]) -> Reply:
    text = next(m["content"] for m in body["messages"] if m["role"] == "user")
    facts = json.loads(text[text.index("{") : text.index("\n\n")])
    conversations = [
        {
            "turns": [
                {"question": f"Segment the {t['phrase']}.", "answer": f"Here: <p>{t['phrase']}</p>[SEG].",
                 "kind": "explicit", "asked": [t["label"]], "targets": [t["number"]]},
                {"question": "Is there a gallbladder?", "answer": "No gallbladder is visible.", "kind": "explicit",
                 "asked": ["gallbladder"], "absent": ["gallbladder"]},
            ]
        }
        for t in facts["targets"]
    ]  # fmt: skip
    return 200, json.dumps({"conversations": conversations})


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            served.asked.append(body)
            status, text = served.reply(body)
            choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
            usage = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}
            answer = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
            payload = json.dumps({**answer, "usage": usage} if status == 200 else {"error": {"message": text}}).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.send_header("retry-after-ms", "1")
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *args: object) -> None:
            """Quiet."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *args: object) -> None:
            """A client that hangs up is part of the test."""

    server = Server(("127.0.0.1", 0), Handler)
    served = Endpoint(f"http://127.0.0.1:{server.server_port}/v1", good)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield served
    server.shutdown()
    server.server_close()


def annotator(endpoint: Endpoint, cache: Path, **settings: Any) -> EndpointAnnotator:
    made = EndpointSettings("m", endpoint.url, requests_per_minute=1e6, price_in=1.0, price_out=2.0, **settings)
    return EndpointAnnotator(made, cache)


def test_replies_become_checked_conversations(endpoint: Endpoint, make_images: Any, tmp_path: Path) -> None:
    asked = annotator(endpoint, tmp_path / "cache")
    report = build(open_source(make_images()), tmp_path / "set", annotator=asked)
    assert report.records == 6 and not report.faults
    turns = [t for r in read_records(tmp_path / "set") for c in r.conversations for t in c.turns]
    assert "Here: <p> liver </p> [SEG]." in {turn.answer for turn in turns}
    assert report.annotator_summary["requests"] == 6
    assert report.annotator_summary["cost"] == pytest.approx(6 * (100 + 2 * 50) / 1e6)
    sent = json.dumps(endpoint.asked)
    assert "patient_" not in sent and "case_" not in sent


def test_the_command_counts_cost_and_keeps_the_rate(endpoint: Endpoint, make_images: Any, tmp_path: Path) -> None:
    arguments = [
        "build",
        "--images",
        make_images(2),
        "--out",
        tmp_path / "set",
        "--annotator",
        "openai",
        "--model",
        "m",
    ]
    arguments += ["--base-url", endpoint.url, "--cache", tmp_path / "cache", "--price-in", "10", "--price-out", "20"]
    began = time.monotonic()
    result = CliRunner().invoke(make_app(), [*map(str, arguments), "--requests-per-minute", "120"])
    assert result.exit_code == 0 and time.monotonic() - began >= 0.5
    assert "openai:m cost: 0.004" in result.output and "openai:m requests: 2" in result.output


def test_a_limited_request_is_tried_again(endpoint: Endpoint, make_images: Any, tmp_path: Path) -> None:
    endpoint.reply = lambda body: (429, "slow down") if len(endpoint.asked) == 1 else good(body)
    report = build(open_source(make_images(2)), tmp_path / "set", annotator=annotator(endpoint, tmp_path / "cache"))
    assert report.records == 2 and len(endpoint.asked) == 3


def test_nonsense_is_sent_back_once_then_given_up(endpoint: Endpoint, make_images: Any, tmp_path: Path) -> None:
    endpoint.reply = lambda body: good(body) if len(body["messages"]) > 2 else (200, "I am a teapot")
    report = build(open_source(make_images(2)), tmp_path / "set", annotator=annotator(endpoint, tmp_path / "cache"))
    assert report.records == 2 and report.annotator_summary["unusable_replies"] == 2
    endpoint.reply = lambda body: (200, "I am a teapot")
    with pytest.raises(BuildError, match="no image could be used"):
        build(open_source(tmp_path / "images"), tmp_path / "b", annotator=annotator(endpoint, tmp_path / "other"))


def test_a_crashed_build_resumes_from_the_cache(endpoint: Endpoint, make_images: Any, tmp_path: Path) -> None:
    images = make_images()
    endpoint.reply = lambda body: good(body) if len(endpoint.asked) <= 4 else (500, "gone")
    with pytest.raises(BuildError, match="run again to resume"):
        build(
            open_source(images),
            tmp_path / "set",
            annotator=annotator(endpoint, tmp_path / "cache", retries=0, give_up_after=2),
        )
    assert not (tmp_path / "set").exists()
    endpoint.reply = good
    again = annotator(endpoint, tmp_path / "cache")
    report = build(open_source(images), tmp_path / "set", annotator=again)
    assert report.records == 6
    assert report.annotator_summary["cached"] == 4 and report.annotator_summary["requests"] == 2


def test_a_silent_endpoint_times_out(endpoint: Endpoint, make_images: Any, tmp_path: Path) -> None:
    released = threading.Event()

    def late(body: dict[str, Any]) -> Reply:
        released.wait(5)
        return good(body)

    endpoint.reply = late
    asked = annotator(endpoint, tmp_path / "cache", timeout_s=0.2, retries=0, give_up_after=1)
    began = time.monotonic()
    with pytest.raises(BuildError, match="failed 1 times"):
        build(open_source(make_images(2)), tmp_path / "set", annotator=asked)
    released.set()
    assert time.monotonic() - began < 5


def test_a_contradiction_is_not_kept(endpoint: Endpoint, make_images: Any, tmp_path: Path) -> None:
    endpoint.reply = lambda body: (200, good(body)[1].replace("Here:", "On the patient's left, 7 mm2:"))
    asked = annotator(endpoint, tmp_path / "cache")
    with pytest.raises(BuildError, match="annotator-failed"):
        build(open_source(make_images(2)), tmp_path / "set", annotator=asked)
    assert issubclass(AnnotatorError, Exception)
