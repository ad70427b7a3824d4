"""Wake-ups and what planning and predicting leave behind: a broker that is away stops nobody."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import pytest
from celery import Celery

from dicom_node.results.profiles import Profile
from inference.interface import PredictorDescription
from inference.medseg_r.description import Thresholds, checkpoint_folder
from tests.services import free_port
from workflows.bootstrap import Node
from workflows.errors import OtherWeights
from workflows.roles.delivering import plan_or_hold
from workflows.roles.queues import configure
from workflows.roles.waker import CeleryWaker
from workflows.settings import load_settings
from workflows.state.records import Destination, JobPlan, NewInstance
from workflows.state.waker import RecordingWaker
from workflows.steps.complete import complete_quiet_studies
from workflows.steps.predict import predict_job


def test_a_broker_that_is_away_is_logged_and_no_error(capfd: pytest.CaptureFixture[str]) -> None:
    app = configure(Celery("test"), f"amqp://guest:guest@127.0.0.1:{free_port()}//")
    waker = CeleryWaker(app)
    waker.predict("a-job")
    assert waker.flush(30)
    said = "".join(capfd.readouterr())
    assert "broker_away" in said and "a-job" in said and "guest:guest" not in said


def test_the_embedded_queue_keeps_one_wake_up_a_queue(tmp_path: Path) -> None:
    waker = CeleryWaker(configure(Celery("test"), f"filesystem://{tmp_path}"))
    for number in range(200):
        waker.plan(f"study-{number}")
        waker.predict(f"job-{number}")
    assert waker.flush(30)
    files = sorted((tmp_path / "messages").glob("*.msg"))
    assert [file.name.split(".")[-2] for file in files] == ["inference", "planning"]
    messages = [json.loads(file.read_bytes()) for file in files]
    assert [message["headers"]["task"] for message in messages] == ["predict", "plan"]
    assert json.loads(base64.b64decode(messages[1]["body"]))[0] == ["study-199"]


def test_production_queues_are_quorum_queues_with_confirmed_publishing() -> None:
    app = configure(Celery("test"), "amqp://queue//")
    assert {queue.name: queue.queue_arguments["x-queue-type"] for queue in app.conf.task_queues} == dict.fromkeys(
        ("planning", "inference", "delivery"), "quorum"
    )
    assert app.conf.broker_transport_options == {"confirm_publish": True}
    assert app.conf.medseg_publish_options == {"confirm_timeout": 3.0, "expiration": 30.0}, (
        "nobody waits, none piles up"
    )


def node_of(folder: Path, **settings: str) -> Node:
    given = {"NODE__DATA_DIR": str(folder / "data"), **settings}
    return Node(load_settings(None, {f"MEDSEG_NODE__{name}": value for name, value in given.items()}))


def complete_study(node: Node) -> None:
    new = NewInstance("1.2", "1.2.1", "1.2.1.1", "c", "t", Path("instances/p"), 1, "d", "CT1")
    node.repository.record_instances([new], lambda _title: 0.0)
    assert complete_quiet_studies(node.repository, RecordingWaker()) == ["1.2"]


def reason(node: Node, study_uid: str = "1.2") -> tuple[str, str]:
    study = node.repository.study(study_uid)
    assert study is not None
    return study.state.value, study.reason


def test_protocols_that_cannot_be_read_are_the_reason_of_a_study_that_waits(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("name: x\nversion: [")
    node = node_of(tmp_path, PROTOCOLS__DIRECTORY=str(tmp_path))
    complete_study(node)
    plan_or_hold("1.2", node, RecordingWaker())
    state, why = reason(node)
    assert state == "COMPLETE" and why.startswith("waits to be planned: ") and "broken.yaml:2: not YAML" in why


def test_a_model_that_cannot_be_loaded_is_the_reason_of_a_job_that_waits(tmp_path: Path) -> None:
    node = node_of(tmp_path, MODEL__CHECKPOINT=str(tmp_path / "nowhere"))
    complete_study(node)
    model = PredictorDescription("m", "1", "d" * 64, None)
    plan = JobPlan("key", "key", "key", "1.2.1", "x", "1", (), (), model, "1", (Destination("", Profile.AIR),))
    assert node.repository.save_plan("1.2", 1, [plan], [], "planned")
    predict_job("key", node.repository, node.folder, node.inference(), RecordingWaker())
    state, why = reason(node)
    assert state == "PLANNED" and "nowhere is no checkpoint" in why


def test_a_plan_that_the_program_fails_at_is_tried_once_more_and_then_fails_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = node_of(tmp_path)
    complete_study(node)

    def broken() -> None:
        raise RuntimeError("a value of Doe^Jane")

    monkeypatch.setattr(node, "planner", broken)
    for state in ("COMPLETE", "FAILED", "FAILED"):
        plan_or_hold("1.2", node, RecordingWaker())
        assert reason(node)[0] == state
        assert "the program failed: RuntimeError in " in reason(node)[1] and "Doe" not in reason(node)[1]


# --- Which weights answer ---------------------------------------------------------------------------------------------


def checkpoints(folder: Path) -> tuple[Path, Path]:
    """The shipped weights twice, the second with another threshold and so another digest."""
    from inference.medseg_r.checkpoint import set_thresholds  # torch takes seconds to import

    first, second = folder / "v1", folder / "v2"
    for copy in (first, second):
        shutil.copytree(checkpoint_folder("tiny"), copy)
    set_thresholds(second, Thresholds(mask_logit=0.5), ((0.0, 0.0), (1.0, 1.0)), by={})
    return first, second


def test_a_worker_holds_each_predictor_that_a_job_was_planned_for(tmp_path: Path) -> None:
    node = node_of(tmp_path, MODEL__CHECKPOINT="tiny", PREDICTORS='[{"name": "marks", "checkpoint": "commissioning"}]')
    marks = node.configured_weights("marks")
    assert node.predictor_for(marks).description == marks
    assert node.predictor_for(marks) is node.predictor_for(marks)
    with pytest.raises(OtherWeights, match="planned for weights other 1"):
        node.predictor_for(PredictorDescription("other", "1", "0" * 64, None))


def test_a_remote_predictor_that_is_away_is_the_reason_of_a_job_that_waits(tmp_path: Path) -> None:
    node = node_of(tmp_path, MODEL__CHECKPOINT="http://127.0.0.1:1")
    complete_study(node)
    plan_or_hold("1.2", node, RecordingWaker())
    state, why = reason(node)
    assert state == "COMPLETE" and "http://127.0.0.1:1 cannot be reached" in why


@pytest.mark.slow
def test_a_link_that_moves_makes_nobodys_answers_say_anothers_name(tmp_path: Path) -> None:
    first, second = checkpoints(tmp_path)
    link = tmp_path / "current"
    link.symlink_to(first)
    node = node_of(tmp_path, MODEL__CHECKPOINT=str(link), MODEL__DEVICE="cpu", MODEL__ACCEPT_RESEARCH_USE="true")
    old, held = node.configured_weights(), node.predictor_for(node.configured_weights())
    assert held.description.digest == old.digest
    link.unlink()
    link.symlink_to(second)
    new = node.configured_weights()
    assert new.digest != old.digest
    assert node.predictor_for(old) is held, "it still holds what was planned for"
    assert node.predictor_for(new).description == new, "loaded anew, since the configuration names it by now"
    with pytest.raises(OtherWeights, match=f"planned for weights .*{old.digest[:12]}.* holds .*{new.digest[:12]}"):
        node.predictor_for(old)
