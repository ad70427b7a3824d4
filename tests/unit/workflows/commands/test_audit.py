"""`audit verify` and `audit export`, and `agreement`: what they print, write and record, and their exit codes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from xml.etree.ElementTree import parse

import pytest
from sqlalchemy import text
from typer.testing import CliRunner, Result

from workflows.bootstrap import Node
from workflows.commands import agreement, audit, cli
from workflows.commands.doctor import _audit
from workflows.errors import CallError, SettingsError
from workflows.settings import Settings, load_settings
from workflows.state.auditing import AuditAction, AuditEvent, Outcome

Run = Callable[..., Result]


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    monkeypatch.setenv("MEDSEG_NODE__NODE__DATA_DIR", str(tmp_path / "data"))
    for module in (cli, audit, agreement):  # the runner's standard error is closed after each call
        monkeypatch.setattr(module, "configure_logging", lambda _format: None)
    node = Node(load_settings(None))
    for number in range(3):
        node.repository.record_event(AuditEvent("anna", AuditAction.LOOK, f"1.2.{number}", f"1.2.{number}"))
    return node


@pytest.fixture
def run() -> Run:
    return lambda *words: CliRunner().invoke(cli.app, list(words))


def test_a_whole_chain_gives_a_checkpoint_that_holds_later(node: Node, run: Run) -> None:
    said = run("audit", "verify")
    assert said.exit_code == 0 and "3 rows, whole" in said.output
    checkpoint = said.output.splitlines()[-1].removeprefix("checkpoint ")
    assert checkpoint.startswith("3:")
    again = run("audit", "verify", "--checkpoint", checkpoint, "--json")
    assert again.exit_code == 0 and json.loads(again.output)["rows"] == 4
    assert [row.action for row in node.repository.audit_entries()][-2:] == ["audit-verify", "audit-verify"]


def test_a_broken_chain_is_told_with_its_number_and_exit_code_1(node: Node, run: Run) -> None:
    with node.repository._engine.begin() as connection:
        connection.execute(text("UPDATE audit SET who = 'berta' WHERE number = 2"))
    said = run("audit", "verify")
    assert said.exit_code == 1
    assert "number 2 is not as it was recorded: changed, or moved" in said.output and "NOT" in said.output
    assert node.repository.audit_entries()[-1].outcome is Outcome.SERIOUS_FAILURE
    faults = json.loads(run("audit", "verify", "--json").output)["faults"]
    assert [fault["number"] for fault in faults] == [2]


def test_a_checkpoint_that_is_none_is_a_wrong_call(node: Node, run: Run) -> None:
    assert isinstance(run("audit", "verify", "--checkpoint", "3").exception, CallError)


def test_an_export_is_written_and_recorded(node: Node, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "audit.xml"
    said = run("audit", "export", "--format", "xml", "--out", str(file), "--action", "look", "--json")
    assert said.exit_code == 0 and json.loads(said.output)["rows"] == 3
    assert len(parse(file).getroot()) == 3 and file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["audit.xml"]
    last = node.repository.audit_entries()[-1]
    assert (last.action, last.subject) == ("audit-export", "audit.xml")
    assert last.details == {"format": "xml", "action": "look"}


def test_an_export_to_standard_output(node: Node, run: Run) -> None:
    lines = run("audit", "export", "--study", "1.2.1").output.splitlines()
    assert [json.loads(line)["number"] for line in lines] == [2]
    rows = list(csv.DictReader(io.StringIO(run("audit", "export", "--format", "csv", "--since", "1h").output)))
    assert [row["action"] for row in rows] == ["look", "look", "look", "audit-export"]
    assert run("audit", "export", "--until", "1h").output == ""
    assert isinstance(run("audit", "export", "--json").exception, CallError)
    assert isinstance(run("audit", "export", "--since", "yesterday").exception, CallError)


def test_agreement_of_nothing(node: Node, run: Run) -> None:
    assert "no review is like that" in run("agreement").output
    plain = json.loads(run("agreement", "--json", "--by", "scanner").output)
    assert (plain["by"], plain["groups"]) == ("scanner", [])
    assert run("agreement", "--csv").output.splitlines()[1].startswith("finding,all,0")
    assert isinstance(run("agreement", "--csv", "--json").exception, CallError)
    assert [row.subject for row in node.repository.audit_entries("export")] == ["agreement.json", "agreement.csv"]


def test_doctor_says_how_the_receiver_is(node: Node) -> None:
    assert "kept in the database" in _audit(node.settings)
    settings = Settings.model_validate(
        {**node.settings.model_dump(), "audit": {"syslog": {"host": "127.0.0.1", "port": 1, "tls": False}}}
    )
    with pytest.raises(Exception, match="cannot be reached"):
        _audit(settings)


def test_a_certificate_without_its_key_is_a_mistake() -> None:
    with pytest.raises((SettingsError, ValueError), match="certificate and key go together"):
        Settings.model_validate({"audit": {"syslog": {"certificate": "a.pem"}}})
