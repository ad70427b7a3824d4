"""requeue, cancel and resend: they say what they would do, ask, do it, and tell who wanted it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from dicom_node.results.codes import LABELS
from dicom_node.results.profiles import Profile, ResultKind
from inference.interface import PredictorDescription
from workflows.bootstrap import Node
from workflows.commands import cli, operate
from workflows.commands.cli import app
from workflows.errors import CallError
from workflows.protocols.schema import ProtocolQuestion
from workflows.settings import load_settings
from workflows.state.answers import AnswerRecord
from workflows.state.records import Destination, JobPlan, NewInstance, Part, PartKind, SavedObject
from workflows.state.repository import Repository
from workflows.state.states import DeliveryState
from workflows.steps import operating

STUDY = "1.2.3"
QUESTION = ProtocolQuestion("where", "Where?", (LABELS["liver"],))


class Log:
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def warning(self, event: str, **about: Any) -> None:
        self.events.append((event, about))


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    log = Log()
    monkeypatch.setattr(operating, "log", log)
    return log


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: Log) -> Path:
    monkeypatch.setattr(operate, "operator", lambda: "anna")
    for module in (operate, cli):  # it would bind standard error, which each call replaces
        monkeypatch.setattr(module, "configure_logging", lambda *_: None)
    file = tmp_path / "node.toml"
    file.write_text(
        f'[node]\ndata_dir = "{tmp_path / "data"}"\nquiet_period_s = 0.01\n'
        '[[archives]]\nname = "pacs"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = 104\n'
    )
    return file


@pytest.fixture
def repository(config: Path) -> Iterator[Repository]:
    """A node's own, with one study and its job."""
    node = Node(load_settings(config))
    repository = node.repository
    (node.folder.instances / STUDY).mkdir(parents=True)
    new = NewInstance(STUDY, "1.2.3.1", "1.2.3.1.1", "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1",
                      Path("1.dcm"), 10, "d", "CT1", accession_number="A1")  # fmt: skip
    repository.record_instances([new], lambda _title: 0)
    assert repository.complete_quiet_studies() == [STUDY]
    weights = PredictorDescription("model", "1", "a" * 64, None)
    plan = JobPlan("a1", "a1", "a1", "1.2.3.1", "abdomen", "1", (QUESTION,), ("a1",), weights, "1",
                   (Destination("pacs", Profile.AIR),))  # fmt: skip
    assert repository.save_plan(STUDY, 1, [plan], [], "planned") == ["a1"]
    yield repository
    repository.close()


def state(repository: Repository) -> str:
    study = repository.study(STUDY)
    assert study is not None
    return study.state.value


def call(config: Path, *words: str, says: str | None = None) -> Result:
    return CliRunner().invoke(app, [*words, "--config", str(config)], input=says)


def answer(repository: Repository) -> None:
    job = repository.claim_job("a1", "w", 60, 3)
    assert job is not None
    seg = SavedObject("2.25.1", "class SEG", ResultKind.SEGMENTATION, 0, Profile.AIR, Path("seg.dcm"), "d")
    report = SavedObject("2.25.2", "class SR", ResultKind.REPORT, None, Profile.AIR, Path("sr.dcm"), "d", ("2.25.1",))
    answers = [AnswerRecord("Where?", "nowhere", (), ())]
    assert repository.save_results("a1", "w", job.model, [Part(0, PartKind.VOLUME, 1)], answers, [seg, report])


def deliver(repository: Repository) -> None:
    for one in repository.claim_deliveries("a1", "pacs", "io", 60):
        repository.record_delivery(one.result.sop_instance_uid, "pacs", "io", DeliveryState.DELIVERED)
    repository.release_deliveries("a1", "pacs", "io", "", 0)
    assert state(repository) == "DELIVERED"


def fail(repository: Repository) -> None:
    assert repository.claim_job("a1", "w", 60, 3)
    repository.fail_job("a1", "w", "the slices have no common direction")


def test_requeue_says_what_it_would_do_asks_does_it_and_tells_who_wanted_it(
    config: Path, repository: Repository, log: Log
) -> None:
    fail(repository)
    dry = call(config, "requeue", "--state", "FAILED", "--dry-run")
    assert (dry.exit_code, dry.stdout) == (0, "1.2.3: would be put back: 1 job\n")
    assert call(config, "requeue", "--accession", "A1", says="n\n").exit_code == 1
    assert state(repository) == "FAILED"
    done = call(config, "requeue", "--accession", "A1", says="y\n")
    assert done.exit_code == 0 and "1.2.3: put back: 1 job" in done.stdout
    assert (state(repository), repository.job("a1").reason) == ("PLANNED", "put back by anna")
    assert log.events == [("requeue", {"study_uid": STUDY, "wanted_by": "anna", "jobs": 1, "objects": 0})]


def test_cancel_and_requeue_by_script(config: Path, repository: Repository) -> None:
    unclear = call(config, "cancel", "--study", STUDY, "--json")
    assert isinstance(unclear.exception, CallError) and state(repository) == "PLANNED", "nobody said yes"
    done = call(config, "cancel", "--study", STUDY, "--json", "--yes")
    assert done.exit_code == 0
    (said,) = json.loads(done.stdout)
    expected: dict[str, Any] = {"study_uid": STUDY, "generation": 1, "state": "PLANNED", "ready": True, "jobs": 1}
    assert expected.items() <= said.items()
    assert repository.job("a1").reason == "cancelled by anna before a worker took it up"
    again = call(config, "cancel", "--study", STUDY, "--yes")
    assert (again.exit_code, again.stdout) == (1, "1.2.3: FAILED: nothing of it is under way\n")
    assert call(config, "requeue", "--protocol", "abdomen", "--yes").exit_code == 0
    assert state(repository) == "PLANNED"


def test_resend_sends_to_an_archive_of_the_settings_only(config: Path, repository: Repository) -> None:
    answer(repository)
    deliver(repository)
    wrong = call(config, "resend", "--study", STUDY, "--archive", "elsewhere", "--yes")
    assert isinstance(wrong.exception, CallError)
    assert str(wrong.exception) == "--archive 'elsewhere' is none of the settings; there are pacs"
    done = call(config, "resend", "--study", STUDY, "--archive", "pacs", "--yes")
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, "1.2.3: will be sent again: 1 job, 1 object to send")
    assert (state(repository), repository.take_due().deliveries) == ("DELIVERING", [("a1", "pacs")])


@pytest.mark.parametrize("command", ["requeue", "cancel", "resend"])
def test_all_studies_at_once_and_a_study_that_is_not_there_are_wrong_calls(
    config: Path, repository: Repository, command: str
) -> None:
    everything = call(config, command, "--yes")
    assert isinstance(everything.exception, CallError) and "name the studies" in str(everything.exception)
    unknown = call(config, command, "--study", "1.9", "--yes")
    assert isinstance(unknown.exception, CallError) and "no study 1.9" in str(unknown.exception)
    nothing = call(config, command, "--accession", "other", "--yes")
    assert (nothing.exit_code, nothing.stdout) == (0, "no study is like that\n")


def test_status_and_explain_name_the_way_on(config: Path, repository: Repository) -> None:
    waiting = call(config, "explain", STUDY)
    assert "PLANNED: waits for a worker" in waiting.stdout and "next attempt at" in waiting.stdout
    fail(repository)
    remedy = f"once its cause is mended: medseg-node requeue --study {STUDY}"
    assert remedy in call(config, "status").stdout and remedy in call(config, "explain", STUDY).stdout
    (known,) = json.loads(call(config, "status", "--json").stdout)
    assert known["remedy"] == f"medseg-node requeue --study {STUDY}"
    assert known["jobs"][0]["failure"] == {"kind": "refused", "passing": False}
    call(config, "requeue", "--study", STUDY, "--yes")
    told = call(config, "explain", STUDY).stdout
    assert "before, at " in told and "the slices have no common direction" in told


def test_who_wanted_it_stands_in_the_audit_and_a_dry_run_leaves_no_line(config: Path, repository: Repository) -> None:
    assert call(config, "cancel", "--study", STUDY, "--dry-run").exit_code == 0
    assert repository.audit_entries() == []
    assert call(config, "cancel", "--study", STUDY, "--yes").exit_code == 0
    assert call(config, "requeue", "--study", STUDY, "--yes").exit_code == 0
    lines = [(one.who, one.action, one.subject) for one in repository.audit_entries()]
    assert lines == [("anna", "cancel", STUDY), ("anna", "requeue", STUDY)]


def test_a_study_that_nothing_matched_is_read_again(config: Path, repository: Repository) -> None:
    repository.reopen(STUDY, "again")
    assert repository.save_plan(STUDY, 2, [], [], "nothing matches") == []
    assert state(repository) == "UNMATCHED"
    assert call(config, "reread", "--state", "UNMATCHED", "--yes").exit_code == 0
    assert state(repository) == "COMPLETE"
    assert [one.action for one in repository.audit_entries()] == ["reread"]


def test_explain_takes_an_accession_number_and_explains_each_study_of_it(config: Path, repository: Repository) -> None:
    done = call(config, "explain", "A1", "--json")
    assert json.loads(done.output)["study_uid"] == STUDY
    other = NewInstance("1.2.4", "1.2.4.1", "1.2.4.1.1", "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1",
                        Path("2.dcm"), 10, "d", "CT1", accession_number="A1")  # fmt: skip
    repository.record_instances([other], lambda _title: 0)
    done = call(config, "explain", "A1")
    assert "2 studies have the accession number A1" in done.output
    assert {one["study_uid"] for one in json.loads(call(config, "explain", "A1", "--json").output)} == {STUDY, "1.2.4"}


def test_status_counts_what_came_to_nothing_and_says_what_is_in_quarantine(
    config: Path, repository: Repository
) -> None:
    assert call(config, "cancel", "--study", STUDY, "--yes").exit_code == 0
    (study,) = json.loads(call(config, "status", "--accession", "A1", "--json").output)
    assert study["progress"] == {"done": 1, "of": 1, "failed": 0, "cancelled": 1}
    assert (study["quarantine"], study["room"]) == (0, "")
    assert "1 of 1 jobs done (1 cancelled)" in call(config, "status").output
