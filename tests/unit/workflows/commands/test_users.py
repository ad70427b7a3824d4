"""`medseg-node users` and what `doctor` says of the pages."""

from __future__ import annotations

import json
import os
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from workflows.bootstrap import Node
from workflows.commands.checks import Warned
from workflows.commands.users import add, disable
from workflows.commands.web import check_accounts, check_pages, why_no_pages
from workflows.errors import CallError, SettingsError
from workflows.roles.liveness import Liveness
from workflows.settings import Settings
from workflows.state.people import OneTimeKind, Role

from .calling import Done, called

PASSWORD = "a horse in the corridor"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "node.toml").write_text("[web]\nport = 0\n")
    return tmp_path / "node.toml"


def users(config: Path, *words: str, typed: str = "") -> Done:
    return called("users", *words, "--config", str(config), typed=typed)


def node_of(config: Path) -> Node:
    return Node(Settings.model_validate({"node": {"data_dir": str(config.parent / "data")}}))


def test_the_first_administrator_and_the_others(config: Path) -> None:
    assert users(config, "add", "Boss", "--role", "administrator", typed=f"{PASSWORD}\n").returncode == 0
    assert users(config, "add", "reader", "--name", "PHANTOM^Reader", typed=f"{PASSWORD}\n").returncode == 0
    listed = json.loads(users(config, "list", "--json").stdout)
    assert [(one["account"], one["role"], one["name"]) for one in listed] == [
        ("boss", "administrator", "boss"), ("reader", "viewer", "PHANTOM^Reader"),
    ]  # fmt: skip
    assert "password_hash" not in listed[0] and PASSWORD not in json.dumps(listed)
    held = node_of(config).repository.password_of("reader")
    assert held is not None and held[1].startswith("$argon2id$")
    assert [entry.action for entry in node_of(config).repository.audit_entries()] == ["account changed"] * 2


def test_an_account_does_not_make_a_node_where_the_command_happens_to_be_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("MEDSEG_NODE__")]:
        monkeypatch.delenv(name)
    for call in (partial(add, role=Role.ADMINISTRATOR, link=True), disable):
        with pytest.raises(CallError, match="--config FILE"):
            call("boss")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("typed", ["", "short\n", "aaaaaaaaaaaaaaaa\n", "x" * 300 + "\n"])
def test_a_password_that_is_none_is_refused_and_no_account_is_made(config: Path, typed: str) -> None:
    assert users(config, "add", "reader", typed=typed).returncode == 2
    assert node_of(config).repository.accounts() == []


def test_no_command_takes_a_password_as_an_argument(config: Path) -> None:
    assert users(config, "password", "reader", PASSWORD).returncode == 2
    assert users(config, "add", "reader", "--password", PASSWORD).returncode == 2


def test_a_link_works_and_the_password_stays_until_it_is_used(config: Path) -> None:
    users(config, "add", "reader", typed=f"{PASSWORD}\n")
    told = json.loads(users(config, "password", "reader", "--link", "--json").stdout)
    token = told["link"].rpartition("/")[2]
    known = node_of(config).repository.known_one_time(OneTimeKind.LINK, token)
    assert known is not None and known[0].has_password
    users(config, "disable", "reader")
    assert node_of(config).repository.known_one_time(OneTimeKind.LINK, token) is None


def settings_with(tmp_path: Path, **web: object) -> Settings:
    return Settings.model_validate({"node": {"data_dir": str(tmp_path / "data")}, "web": {"port": 0, **web}})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "node.hospital"])
def test_the_pages_do_not_go_over_a_network_as_they_are(host: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="certificate"):
        why_no_pages(settings_with(tmp_path, host=host))
    with pytest.raises(SettingsError, match="certificate"):
        check_pages(settings_with(tmp_path, host=host))


def test_doctor_says_where_tls_has_to_end_and_who_is_missing(tmp_path: Path) -> None:
    with pytest.raises(Warned, match="plain HTTP"):
        check_pages(settings_with(tmp_path, host="0.0.0.0", proxies=["127.0.0.1"]))
    assert "is free" in check_pages(settings_with(tmp_path))
    with pytest.raises(Warned, match="users add NAME --role administrator"):
        check_accounts(settings_with(tmp_path))
    (tmp_path / "cert.pem").write_text("no certificate")
    with pytest.raises(SettingsError, match="cannot be used"):
        check_pages(settings_with(tmp_path, certificate=str(tmp_path / "cert.pem"), key=str(tmp_path / "cert.pem")))
    assert "off" in check_pages(settings_with(tmp_path, enabled=False, host="0.0.0.0"))


class _Pages(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        ours = self.path == "/healthz"
        self.send_response(200 if ours else 404)
        self.end_headers()
        self.wfile.write(b"ok" if ours else b"")

    def log_message(self, *_: object) -> None: ...


def test_doctor_knows_the_pages_of_a_node_that_runs(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Pages) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        settings = settings_with(tmp_path, port=server.server_port)
        try:
            with pytest.raises(Warned, match="cannot be listened on"):  # no node of this folder runs
                check_pages(settings)
            Liveness("web", settings.node.data_dir).beat()
            assert "this node's own pages" in check_pages(settings)
            with pytest.raises(Warned, match="cannot be listened on"):
                check_pages(settings_with(tmp_path, port=server.server_port, base_path="/elsewhere"))
        finally:
            server.shutdown()
