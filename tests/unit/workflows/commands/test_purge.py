"""The purge command: lists, asks, removes; refuses what is at work; and `reread` of what retention removed."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from dicom_node.headers.patient import Patient
from workflows.bootstrap import Node
from workflows.commands import cli, purge
from workflows.settings import load_settings
from workflows.state.keeping import KeepingRules
from workflows.state.records import NewInstance
from workflows.steps.retain import retain

Run = Callable[..., Result]


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    monkeypatch.setenv("MEDSEG_NODE__NODE__DATA_DIR", str(tmp_path / "data"))
    for module in (cli, purge):  # the runner's standard error is closed after each call
        monkeypatch.setattr(module, "configure_logging", lambda _format: None)
    node = Node(load_settings(None))
    assert node.node_uid
    return node


@pytest.fixture
def run(node: Node) -> Run:
    return lambda *words, answer=None: CliRunner().invoke(cli.app, list(words), input=answer)


def received(node: Node, study_uid: str, patient: str = "P1") -> Path:
    """An instance of a study, its file and its row."""
    path = Path("instances", study_uid, f"{study_uid}.1", f"{study_uid}.1.1.dcm")
    file = node.folder.absolute(path)
    file.parent.mkdir(parents=True)
    file.write_bytes(b"x" * 2_000_000)
    new = NewInstance(
        study_uid=study_uid, series_uid=f"{study_uid}.1", sop_instance_uid=f"{study_uid}.1.1",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2", transfer_syntax_uid="1.2.840.10008.1.2.1", path=path,
        bytes=2_000_000, digest="d", calling_ae_title="CT1", patient=Patient(patient), accession_number="A1",
    )  # fmt: skip
    node.repository.record_instances([new], lambda _title: 0.0)
    return file


def unmatched(node: Node, study_uid: str, patient: str = "P1") -> Path:
    file = received(node, study_uid, patient)
    node.repository.complete_quiet_studies()
    assert node.repository.save_plan(study_uid, 1, [], [], "no reading protocols") == []
    return file


def test_a_dry_run_lists_and_removes_nothing(node: Node, run: Run) -> None:
    file = unmatched(node, "1.2.1")
    done = run("purge", "--patient", "P1", "--dry-run")
    assert done.exit_code == 0 and "1 instances, 2.0 MB" in done.output and "would be purged" in done.output
    assert "1 of 1 studies, 2.0 MB in all" in done.output
    assert file.exists() and node.repository.audit_entries() == []


def test_it_asks_first_and_keeps_who_wanted_it(node: Node, run: Run) -> None:
    file, other = unmatched(node, "1.2.1"), unmatched(node, "1.2.2", "P2")
    assert run("purge", "--patient", "P1", answer="n\n").exit_code == 1 and file.exists()
    done = run("purge", "--patient", "P1", answer="y\n")
    assert done.exit_code == 0 and "purged" in done.output
    assert (file.exists(), other.exists()) == (False, True)
    assert [view.study.study_uid for view in node.repository.study_views()] == ["1.2.2"]
    (line,) = node.repository.audit_entries("purge")
    assert line.subject == "1.2.1" and line.who and line.counts["bytes"] == 2_000_000
    assert "P1" not in str(line)


def test_a_study_at_work_is_refused_and_the_rest_is_purged(node: Node, run: Run) -> None:
    unmatched(node, "1.2.1")
    file = received(node, "1.2.2")
    done = run("purge", "--accession", "A1", "--yes", "--json")
    assert done.exit_code == 0
    listed = json.loads(done.stdout[done.stdout.index("[\n") :])  # without logging configured, a log line comes before
    outcomes = {one["study_uid"]: one["outcome"] for one in listed}
    assert outcomes["1.2.1"] == "purged" and outcomes["1.2.2"].startswith("refused: RECEIVING")
    assert file.exists()
    assert run("purge", "--study", "1.2.2", "--yes").exit_code == 1


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--study", "1.2.9"),
        ("--older-than", "x"),
        ("--older-than", "1d", "--until", "2d"),
        ("--state", "FAILED", "--json"),
    ],
)
def test_a_wrong_call_removes_nothing(node: Node, run: Run, words: tuple[str, ...]) -> None:
    unmatched(node, "1.2.1")
    done = run("purge", *words)
    assert done.exit_code != 0 and node.repository.study("1.2.1") is not None


def test_older_than_means_the_last_instance(node: Node, run: Run) -> None:
    unmatched(node, "1.2.1")
    assert "0 of 0 studies" in run("purge", "--older-than", "1d", "--yes").output
    assert "1 of 1 studies" in run("purge", "--older-than", "0m", "--dry-run").output


def test_reread_refuses_what_retention_removed_and_explain_says_it(node: Node, run: Run) -> None:
    file = unmatched(node, "1.2.1")
    assert retain(node.repository, node.store, node.folder, KeepingRules(uncommitted=timedelta(0))) == 1
    assert not file.exists()
    done = run("reread", "--study", "1.2.1", "--yes")
    assert done.exit_code == 1 and "were removed on" in done.output and "send the study again" in done.output
    assert "by retention: 1 images" in run("explain", "1.2.1").output
    known = json.loads(run("explain", "1.2.1", "--json").stdout)
    assert known["inputs_removed"]["instances"] == 1 and known["lost"] == []


def test_status_and_doctor_say_that_room_is_short(node: Node, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    unmatched(node, "1.2.1")
    monkeypatch.setenv("MEDSEG_NODE__RETENTION__BUDGET_GB", "0.002")
    Node(load_settings(None)).room_watch().look()
    assert "no more are taken" in run("status").output
    checks = {one["name"]: one for one in json.loads(run("doctor", "--json").stdout)["checks"]}
    assert checks["room"]["outcome"] == "FAIL" and "budget_gb" in checks["room"]["detail"]
    assert checks["files"]["outcome"] == "FAIL", "two megabytes of x are not what was received"
