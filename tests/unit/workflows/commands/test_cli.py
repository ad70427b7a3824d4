"""The command: wrong calls and wrong configurations end with a clear message and their exit code, never a traceback."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from dicom_node.headers.patient import Patient
from tests.services import free_port
from workflows.bootstrap import Node
from workflows.commands import ask as asking
from workflows.commands.reread import operator
from workflows.settings import load_settings
from workflows.state.records import NewInstance

from .calling import Done, called

IMAGE = str(get_testdata_file("CT_small.dcm", download=False))
TRUNCATED = str(get_testdata_file("MR_truncated.dcm", download=False))


def medseg_node(folder: Path, *words: str, **settings: str) -> Done:
    return called(*words, settings={"NODE__DATA_DIR": str(folder / "data"), **settings})


Case = tuple[tuple[str, ...], dict[str, str], int, str]
WRONG: list[Case] = [
    (("nonsense",), {}, 2, "No such command"),
    (("worker", "--role", "gpu"), {}, 2, "'inference'"),
    (("status", "--config", "/nowhere.toml"), {}, 2, "/nowhere.toml: cannot be read"),
    (
        ("status",),
        {"NODE__PROT": "1"},
        2,
        "MEDSEG_NODE__NODE__PROT: [node] prot is no setting; did you mean 'port'?",
    ),
    (("status",), {"DATABASE__URL": "mysql://u:secret@h/x"}, 2, "[database] url: begins with none of sqlite://"),
    (("status",), {"BROKER__URL": "redis://u:secret@h"}, 2, "[broker] url: begins with none of amqp://"),
    (("status",), {"DATABASE__URL": "sqlite"}, 2, "[database] url cannot be used"),
    (("status",), {"NODE__DATA_DIR": "/nowhere"}, 2, "no node has run there: /nowhere/medseg-node.db does not exist"),
    (("explain", "1.2.3"), {"NODE__DATA_DIR": "/nowhere"}, 2, "no node has run there"),
    (("status", "--state", "DONE"), {}, 2, "--state 'DONE' is no state; there are RECEIVING, COMPLETE, PLANNED"),
    (("status", "--since", "yesterday"), {}, 2, "--since 'yesterday' is no time: write 30m, 12h, 2d"),
    (("status", "--limit", "0"), {}, 2, "--limit"),
    (("reread",), {}, 2, "name the studies: --study, --accession"),
    (("reread", "--state", "FAILED"), {"NODE__DATA_DIR": "/nowhere"}, 2, "no node has run there"),
    (("doctor", "--config", "/nowhere.toml"), {}, 2, "/nowhere.toml: cannot be read"),
    (("protocols", "check", "/nowhere"), {}, 2, "/nowhere: no such folder"),
    (("up",), {"MODEL__CHECKPOINT": "/nowhere"}, 2, "/nowhere is no checkpoint"),
    (("up",), {"PROTOCOLS__DIRECTORY": "/nowhere"}, 2, "/nowhere: no such folder"),
    (("worker", "--role", "inference"), {"MODEL__CHECKPOINT": "/nowhere"}, 2, "/nowhere is no checkpoint"),
    (("worker", "--role", "io"), {"PROTOCOLS__DIRECTORY": "/nowhere"}, 2, "/nowhere: no such folder"),
    (("scp",), {"NODE__HOST": "192.0.2.1"}, 2, "check [node] host and port"),
    (("ask", "/nowhere", "Where?"), {}, 2, "/nowhere does not exist"),
    (("ask", IMAGE, " "), {}, 2, "the question is empty"),
    (("ask", IMAGE, "Where?"), {"MODEL__CHECKPOINT": "/nowhere"}, 2, "/nowhere is no checkpoint"),
    (("ask", IMAGE, "Where?", "--out", "/proc/no"), {}, 2, "nothing can be written to /proc/no"),
    (("ask", IMAGE, "Where?", "--out", __file__), {}, 2, f"nothing can be written to {__file__} (File exists)"),
    (("ask", IMAGE, "Where?", "--series", "1.2.3"), {}, 2, "holds no series 1.2.3, but:"),
    (("ask", __file__, "Where?"), {}, 2, "no DICOM data set"),
    (("ask", str(Path(__file__).parent), "Where?"), {}, 2, "holds no DICOM files"),
    (("ask", str(Path(IMAGE).parent), "Where?"), {}, 2, "series; name one with --series:"),
    (("ask", TRUNCATED, "Where?"), {"MODEL__CHECKPOINT": "commissioning"}, 1, "truncated-pixel-data"),
]


@pytest.mark.parametrize("case", WRONG, ids=[" ".join(words[:2]) for words, *_ in WRONG])
def test_what_cannot_work_says_why(case: Case, tmp_path: Path) -> None:
    words, settings, code, said = case
    out = ["--out", str(tmp_path / "out")] if words[0] == "ask" and "--out" not in words else []
    done = medseg_node(tmp_path, *words, *out, **settings)
    assert (done.returncode, said in " ".join(done.stderr.split())) == (code, True), f"{words}: {done.stderr}"
    assert "Traceback" not in done.stderr and "secret" not in done.stderr


def test_a_database_that_does_not_answer_is_an_error_and_keeps_its_password(tmp_path: Path) -> None:
    url = f"postgresql://user:secret@127.0.0.1:{free_port()}/none"
    done = medseg_node(tmp_path, "status", DATABASE__URL=url)
    assert done.returncode == 1 and "the database does not answer" in done.stderr
    assert "Traceback" not in done.stderr and "secret" not in done.stderr


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = medseg_node(tmp_path, "scp", NODE__PORT=str(port))
    assert done.returncode == 2 and str(port) in done.stderr and "[node] port" in done.stderr


def node_in(folder: Path) -> Node:
    """A node that has started in `folder`, where `medseg_node` looks for it."""
    node = Node(load_settings(None, {"MEDSEG_NODE__NODE__DATA_DIR": str(folder / "data")}))
    assert node.node_uid
    return node


def test_a_new_node_has_no_studies(tmp_path: Path) -> None:
    node_in(tmp_path)
    done = medseg_node(tmp_path, "status", "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, [])
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    done = medseg_node(tmp_path, "explain", "1.2.3")
    assert done.returncode == 2 and "no study has the UID or the accession number '1.2.3' here" in done.stderr


@pytest.mark.parametrize("words", [("status",), ("status", "--json"), ("explain", "1.2.3")])
def test_a_command_that_reads_creates_nothing_where_no_node_has_run(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = medseg_node(tmp_path, *words)
    assert (done.returncode, done.stdout) == (2, "") and "no node has run there" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_without_an_archive_doctor_warns_and_a_check_that_fails_is_an_exit_code(tmp_path: Path) -> None:
    done = medseg_node(tmp_path, "doctor", NODE__PORT="0")
    assert done.returncode == 0, done.stdout
    assert "warn archive: none: results are saved and not sent" in done.stdout and "FAIL" not in done.stdout
    assert "ok   pixels: " in done.stdout and "(1.2.840.10008.1.2.4.70): imagecodecs, gdcm" in done.stdout
    assert list(tmp_path.iterdir()) == [], "looking makes nothing"
    as_json = json.loads(medseg_node(tmp_path, "doctor", "--json", NODE__PORT="0").stdout)
    assert {"name": "archive", "outcome": "warn"}.items() <= as_json["checks"][-1].items()
    assert all(syntax["decoders"] for syntax in as_json["transfer_syntaxes"])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = medseg_node(tmp_path, "doctor", NODE__PORT=str(taken.getsockname()[1]))
    assert done.returncode == 1 and "FAIL port" in done.stdout


def test_doctor_names_a_data_directory_and_a_database_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    (tmp_path / "broken.sqlite3").write_text("no database, however long one looks at it\n" * 100)
    done = medseg_node(tmp_path, "doctor", NODE__PORT="0", DATABASE__URL=f"sqlite:///{tmp_path / 'broken.sqlite3'}")
    assert done.returncode == 1
    assert "FAIL data directory" in done.stdout and "FAIL database" in done.stdout
    assert "Traceback" not in done.stderr + done.stdout


def test_asking_writes_what_it_says(tmp_path: Path) -> None:
    done = medseg_node(
        tmp_path, "ask", IMAGE, "Anything bright?", "--out", str(tmp_path / "out"), "--json",
        MODEL__CHECKPOINT="commissioning",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer == json.loads((tmp_path / "out" / "answer.json").read_text())
    assert {"text", "findings", "not_seen", "terms"} <= set(answer)
    assert (answer["question"], answer["series"]["modality"]) == ("Anything bright?", "CT")
    assert {"sr.dcm", "overlay.png", "answer.json"} <= {path.name for path in (tmp_path / "out").iterdir()}


def test_asking_shows_the_series_what_was_seen_and_not_seen_and_the_terms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    liver = {
        "phrase": "the liver", "label": "liver", "confidence": 0.91, "voxels": 12, "volume_ml": 3.5, "area_mm2": None,
    }  # fmt: skip
    volume = {
        "name": "volume", "unit": "ml", "before": 3.0, "after": 3.5, "before_date": "2026-01-02",
        "after_date": "2026-05-06", "difference": 0.5, "per_cent": 16.67,
        "before_at_least": False, "after_at_least": False, "text": "volume +0.5 ml",
    }  # fmt: skip
    seen = {
        "name": "echo time 10", "text": "The liver is here [seen].", "findings": [liver | {"changes": [volume]}],
        "not_seen": ["spleen"], "compared": ["spleen: seen on 2026-01-02, not seen now"],
    }  # fmt: skip
    unseen = {"name": "echo time 20", "text": "Nothing is seen.", "findings": [], "not_seen": []}
    answer = {
        "parts": [seen, unseen], "notes": ["Not read: instance 1.2.3 is a localizer."], "terms": "research use only",
        "passed_over": [],
        "series": {"series_uid": "1.2", "modality": "CT", "series_description": "Body [3.0]", "instances": 2},
    }  # fmt: skip
    monkeypatch.setattr(asking, "ask", lambda *_, **__: answer)
    done = medseg_node(tmp_path, "ask", "x", "Where?")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "CT Body [3.0], 2 instances, series 1.2",
        "part 1: echo time 10",
        "The liver is here [seen].",
        "seen: liver: 3.5 ml, 12 voxels, confidence 0.91",
        "  since then: volume +0.5 ml",
        "asked for and not seen: spleen",
        "compared: spleen: seen on 2026-01-02, not seen now",
        "part 2: echo time 20",
        "Nothing is seen.",
        "seen: nothing",
        "Not read: instance 1.2.3 is a localizer.",
        "written to out",
        "research use only",
    ]


def test_a_folder_that_cannot_be_asked_as_one_says_which_series_it_holds(tmp_path: Path) -> None:
    for name in ("CT_small.dcm", "MR_small.dcm"):
        shutil.copy(str(get_testdata_file(name, download=False)), tmp_path)
    done = medseg_node(tmp_path, "ask", str(tmp_path), "Where?")
    assert done.returncode == 2
    listed = " ".join(done.stderr.split())
    assert "CT (1 instances; patient 1CT1, 20040119)" in listed and "MR (1 instances; patient 4MR1, 20040826)" in listed


@pytest.mark.slow
def test_a_planning_worker_never_loads_torch(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from workflows.bootstrap import Node; import workflows.roles.worker; "
        "from workflows.settings import load_settings; node = Node(load_settings()); "
        "workflows.roles.worker.make_app(node); assert node.planner().protocols; node.sender(); "
        "print('torch' in sys.modules)"
    )
    environment = {**os.environ, "MEDSEG_NODE__NODE__DATA_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, env=environment, check=True
    )
    assert done.stdout.splitlines()[-1] == "False"


def test_libraries_log_in_our_shape_and_never_with_values_of_the_header() -> None:
    script = (
        "import logging, warnings; from workflows.logs import configure_logging; configure_logging('json'); "
        "logging.getLogger('kombu').warning('broker %s', 'away'); warnings.warn('value Doe^Jane'); "
        "logging.getLogger('pydicom').warning('value Doe^Jane')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    (line,) = done.stderr.splitlines()
    entry = json.loads(line)
    assert (entry["event"], entry["level"], entry["logger"]) == ("broker away", "warning", "kombu")


def test_an_error_that_nobody_foresaw_is_a_line_and_with_debug_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("Doe^Jane")

    monkeypatch.setattr(asking, "ask", broken)
    done = medseg_node(tmp_path, "ask", "x", "Where?")
    said = " ".join(done.stderr.split())
    assert said.startswith("the program failed: KeyError in ") and said.endswith("; please report it")
    assert done.returncode == 1 and "Traceback" not in said and "Doe" not in said
    done = medseg_node(tmp_path, "ask", "x", "Where?", "--debug")
    assert done.returncode == 1 and "Traceback" in done.stderr


def received(node: Node, study_uid: str, accession: str, series: int = 1, patient_id: str = "P1") -> None:
    new = NewInstance(
        study_uid, f"{study_uid}.{series}", f"{study_uid}.{series}.1", "c", "t", Path(f"instances/{study_uid}"), 1,
        "d", "CT1", accession_number=accession, patient=Patient(patient_id),
    )  # fmt: skip
    node.repository.record_instances([new], lambda _title: 0.0)
    (node.folder.instances / study_uid).mkdir(parents=True, exist_ok=True)


def unmatched(node: Node, study_uid: str, accession: str) -> None:
    received(node, study_uid, accession)
    node.repository.complete_quiet_studies()
    assert node.repository.save_plan(study_uid, 1, [], [], "no reading protocols") == []


def test_status_takes_selectors_and_says_how_many_it_did_not_list(tmp_path: Path) -> None:
    node = node_in(tmp_path)
    for number in range(3):
        unmatched(node, f"1.2.{number}", f"A{number}")
    received(node, "1.2.9", "A9")

    def listed(*words: str) -> list[str]:
        done = medseg_node(tmp_path, "status", "--json", *words)
        assert done.returncode == 0, done.stderr
        return [study["study_uid"] for study in json.loads(done.stdout)]

    assert listed() == ["1.2.9", "1.2.2", "1.2.1", "1.2.0"], "the latest first"
    assert listed("--accession", "A1") == ["1.2.1"]
    assert listed("--study", "1.2.2") == ["1.2.2"]
    assert listed("--state", "receiving") == ["1.2.9"]
    assert listed("--state", "UNMATCHED", "--limit", "2") == ["1.2.2", "1.2.1"]
    assert listed("--since", "1h") == listed() and listed("--until", "1h") == []
    assert listed("--protocol", "x") == []
    assert "2 of 4 studies; --limit 4 lists all" in medseg_node(tmp_path, "status", "--limit", "2").stdout


def test_reread_says_what_it_would_do_asks_and_does_it(tmp_path: Path) -> None:
    node = node_in(tmp_path)
    unmatched(node, "1.2.1", "A1")
    received(node, "1.2.9", "A9")
    dry = medseg_node(tmp_path, "reread", "--since", "1h", "--dry-run", "--json")
    assert {one["study_uid"]: one["ready"] for one in json.loads(dry.stdout)} == {"1.2.1": True, "1.2.9": False}
    assert medseg_node(tmp_path, "reread", "--accession", "A1").returncode == 1, "nobody said yes"
    assert medseg_node(tmp_path, "reread", "--accession", "A1", "--json").returncode == 2, "nor to a script"
    nothing = medseg_node(tmp_path, "reread", "--accession", "A9")
    assert nothing.returncode == 1 and "[y/N]" not in nothing.stdout, "nothing to ask about"
    study = node.repository.study("1.2.1")
    assert study is not None and study.state.value == "UNMATCHED"
    done = medseg_node(tmp_path, "reread", "--accession", "A1", "--yes")
    assert (done.returncode, done.stdout) == (0, "1.2.1: will be read again\n")
    study = node.repository.study("1.2.1")
    assert study is not None and (study.state.value, study.generation, study.reread) == ("COMPLETE", 2, True)


def test_reread_as_is_reads_a_held_study_and_keeps_who_wanted_it(tmp_path: Path) -> None:
    node = node_in(tmp_path)
    received(node, "1.2.1", "A1")
    received(node, "1.2.1", "A1", series=2, patient_id="P2")
    unmatched(node, "1.2.2", "A2")
    node.repository.complete_quiet_studies()
    assert node.repository.hold_study("1.2.1", 1, "two patients")
    listed = medseg_node(tmp_path, "status", "--patient", "P2", "--state", "HELD", "--json")
    assert [study["study_uid"] for study in json.loads(listed.stdout)] == ["1.2.1"]
    dry = medseg_node(tmp_path, "reread", "--patient", "P1", "--as-is", "--dry-run", "--json")
    assert {one["study_uid"]: one["ready"] for one in json.loads(dry.stdout)} == {"1.2.1": True, "1.2.2": False}
    assert medseg_node(tmp_path, "reread", "--study", "1.2.1", "--as-is").returncode == 1, "nobody said yes"
    done = medseg_node(tmp_path, "reread", "--study", "1.2.1", "--as-is", "--yes")
    assert (done.returncode, done.stdout) == (0, "1.2.1: will be read as it is\n")
    assert "reread_as_is" in done.stderr and "P1" not in done.stderr
    study = node.repository.study("1.2.1")
    assert study is not None and (study.state.value, study.generation) == ("COMPLETE", 2)
    (reading,) = node.repository.as_is_readings("1.2.1")
    assert (reading.generation, reading.by) == (2, operator())
    assert "generation 2 read as it is: " in medseg_node(tmp_path, "explain", "1.2.1").stdout


def test_a_role_does_not_start_on_another_nodes_folder(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'outside.db'}"
    assert Node(load_settings(None, {"MEDSEG_NODE__NODE__DATA_DIR": str(tmp_path / "data"),
                                     "MEDSEG_NODE__DATABASE__URL": url})).node_uid  # fmt: skip
    (tmp_path / "data" / "node.json").write_text('{"node": "another"}')
    for words in (["scp"], ["scheduler"], ["worker", "--role", "io"], ["up"]):
        done = medseg_node(tmp_path, *words, DATABASE__URL=url, NODE__PORT="0")
        assert done.returncode == 2 and "belongs to another node" in done.stderr, done.stderr


@pytest.mark.slow
def test_the_version_is_told_by_a_process_of_its_own() -> None:
    command = [sys.executable, "-m", "workflows.commands.cli"]
    told = subprocess.run([*command, "--version"], capture_output=True, text=True, timeout=120, check=False)
    assert (told.returncode, told.stdout) == (0, f"medseg-node {version('medseg-node')}\n")


def test_an_error_has_no_name_of_a_class_before_it(tmp_path: Path) -> None:
    wrong = medseg_node(tmp_path, "status", "--state", "DONE")
    assert wrong.stderr.startswith("--state 'DONE' is no state")
