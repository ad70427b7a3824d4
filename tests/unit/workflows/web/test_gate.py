"""The gate: names, sizes, headers, errors, the log; with and without a proxy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from starlette.responses import Response
from structlog.testing import capture_logs

from tests.unit.workflows.web.conftest import PAGE, Browser
from workflows.bootstrap import Node
from workflows.errors import DatabaseUnavailable
from workflows.settings import Settings
from workflows.state.people import OneTimeKind, Role
from workflows.web.app import create_app
from workflows.web.bodies import takes_body
from workflows.web.gate import Gate
from workflows.web.headers import Allowed, allow
from workflows.web.hosts import Hosts
from workflows.web.one_link import draw_plainly
from workflows.web.sessions import SessionDoor


@pytest.mark.parametrize(("host", "status"), [("127.0.0.1:80", 200), ("LOCALHOST:8080", 200), ("[::1]", 200),
                                              ("localhost.", 200), ("evil.example", 421),
                                              ("127.0.0.1.evil.example", 421),
                                              ("evil.example:127", 421), ("127.0.0.1@evil.example", 400), ("", 400),
                                              ("a b", 421), ("127.0.0.1:x", 400), ("127.0.0.1/x", 400)])  # fmt: skip
def test_only_our_names_are_answered(host: str, status: int, browser: Browser) -> None:
    answer = browser.client.get("/login", headers={"Host": host})
    assert answer.status_code == status
    assert host not in answer.text or status == 200 or not host


def test_every_answer_says_what_the_browser_may_do_with_it(browser: Browser) -> None:
    client = browser.client
    answers = [client.get("/login"), client.get("/static/style.css"), client.get("/static/none"), client.get("/none"),
               client.post("/login"), client.get("/login", headers={"Host": "evil.example"}),
               client.post("/login", content=b"x" * 1_100_000), client.request("TRACE", "/login")]  # fmt: skip
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src 'self';" in policy and "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "strict-transport-security" not in answer.headers
        assert answer.headers["cache-control"] in ("no-store", "no-cache")


def test_no_page_has_a_script_style_or_handler_in_it(browser: Browser) -> None:
    templates = Path(__file__).parents[4] / "workflows" / "web" / "templates"
    for template in set(templates.glob("*.html")) - {templates / "alone.html"}:  # a file to be mailed, never a page
        text = template.read_text()
        assert "<style" not in text and " style=" not in text and "<script>" not in text, template
        assert not [word for word in text.split() if word.startswith("on") and "=" in word], template


@pytest.fixture
def plain() -> Iterator[TestClient]:
    """A gate before an application of a test's own, with a door that is open."""
    app = FastAPI()

    @app.post("/small")
    async def small(request: Request) -> int:
        return len(await request.body())

    @app.post("/large")
    @takes_body(megabytes=2)
    async def large(request: Request) -> int:
        return len(await request.body())

    @app.get("/wasm")
    def wasm(request: Request) -> str:
        allow(request, Allowed.WASM, Allowed.BLOB_WORKER)
        return ""

    @app.get("/fails/{name}")
    def fails(name: str) -> None:
        raise RuntimeError(f"PHANTOM^{name}")

    class Open:
        async def admit(self, request: Request) -> Response | None:
            return None

    gate = Gate(app, door=Open(), hosts=Hosts(), draw=draw_plainly, routes=app.routes)
    with TestClient(gate, base_url="http://localhost", raise_server_exceptions=False) as client:
        yield client


def test_a_route_takes_as_much_as_it_says(plain: TestClient) -> None:
    def portions(count: int) -> Iterator[bytes]:
        yield from [b"x" * 100_000] * count  # chunked: its size is not said before

    assert plain.post("/small", content=b"x" * 1_000_000).status_code == 200
    assert plain.post("/small", content=b"x" * 1_000_001).status_code == 413
    assert plain.post("/small", content=portions(11)).status_code == 413
    assert plain.post("/large", content=portions(20)).json() == 2_000_000
    assert plain.post("/large", content=portions(21)).status_code == 413


def test_one_page_may_do_more_and_no_other(plain: TestClient) -> None:
    policy = plain.get("/wasm").headers["content-security-policy"]
    assert "script-src 'self' 'wasm-unsafe-eval';" in policy and "worker-src blob:" in policy
    assert "wasm" not in plain.get("/none").headers["content-security-policy"]


def test_an_error_tells_the_browser_and_the_log_no_name(plain: TestClient) -> None:
    with capture_logs() as logs:
        answer = plain.get("/fails/Alpha?q=Beta")
    assert answer.status_code == 500 and "PHANTOM" not in answer.text and "Traceback" not in answer.text
    assert [log["route"] for log in logs] == ["/fails/{name}", "/fails/{name}"]
    told = json.dumps([{**log, "exc_info": ""} for log in logs])
    assert "Alpha" not in told and "Beta" not in told


def test_the_log_has_the_account_and_neither_token_nor_address(browser: Browser) -> None:
    browser.add("reader")
    link = browser.node.repository.make_one_time(OneTimeKind.LINK, SessionDoor(browser.node)._idle, "reader")
    with capture_logs() as logs:
        browser.client.get(f"/link/{link}")
        browser.sign_in("reader")
        browser.client.get("/account?name=PHANTOM")
    pages = [log for log in logs if log["event"] == "page"]
    assert pages[0]["route"] == "/link/{token}" and pages[-1]["account"] == "reader"
    assert link not in str(logs) and "PHANTOM" not in str(logs)


def test_a_database_that_is_away_is_told_so(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    browser.add("reader")
    browser.sign_in("reader")

    def away(*_: object, **__: object) -> None:
        raise DatabaseUnavailable("postgresql://medseg:password@db")

    monkeypatch.setattr(type(browser.node.repository), "session_of", away)
    answer = browser.client.get("/worklist")
    assert answer.status_code == 503 and "password@" not in answer.text
    assert browser.client.get("/static/style.css").status_code == 200


@pytest.mark.parametrize("stripped", [True, False])
def test_below_the_path_of_a_proxy(stripped: bool, tmp_path: Path) -> None:
    values = {"node": {"data_dir": str(tmp_path / "data")}, "web": {"base_path": "/medseg", "hosts": ["node.hospital"]}}
    node = Node(Settings.model_validate(values))
    client = TestClient(create_app(node, SessionDoor(node)), base_url="https://node.hospital", follow_redirects=False)
    before = "" if stripped else "/medseg"
    browser = Browser(client, node)
    browser.add("boss", Role.ADMINISTRATOR)
    asked = client.get(f"{before}/users?x=1", headers=PAGE)
    assert asked.headers["location"] == "/medseg/login?next=/users%3Fx%3D1"
    page = client.get(f"{before}/login", headers=PAGE)
    assert 'href="/medseg/static/style.css"' in page.text
    assert client.get(f"{before}/static/style.css").status_code == 200
    form = {
        "csrf": browser.csrf(f"{before}/login"),
        "account": "boss",
        "password": "a horse in the corridor",
        "next": "/users",
    }
    answer = client.post(f"{before}/login", data=form)
    assert answer.headers["location"] == "/medseg/users"
    cookie = next(one for one in answer.headers.get_list("set-cookie") if "session" in one)
    assert cookie.startswith("__Host-medseg-session=") and "Secure" in cookie and "Path=/;" in cookie
    assert answer.headers["strict-transport-security"]
    assert client.get(f"{before}/users").status_code == 200
    node.repository.close()
