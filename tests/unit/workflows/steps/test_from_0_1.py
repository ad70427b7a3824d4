"""A database and a data folder of version 0.1 open, keep their studies, and what was waiting to be sent goes out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import text

from dicom_node.commissioning.marker import Marker
from workflows.data_folder import DataFolder
from workflows.ownership import require_own_folder
from workflows.state.engine import open_engine, upgrade_schema
from workflows.state.repository import Repository
from workflows.steps.plan import commissioning_protocol
from workflows.steps.publish import publish_job

if TYPE_CHECKING:
    from .conftest import Archive, Steps

Marked = tuple[list[Path], Marker]
NOW = "2026-01-02 03:04:05"


def folder_of_0_1(steps: Steps, files: list[Path], root: Path) -> tuple[DataFolder, str, str]:
    """What 0.1 leaves that was stopped while its archive was down: its folder, the study and the job's key."""
    steps.receive(*files)
    study_uid = steps.to_plan()
    (key,) = steps.keys(study_uid)
    steps.predict(key)
    (job,) = steps.jobs(study_uid)
    results = root / "results" / study_uid / key[:16]
    shutil.copytree(steps.folder.instances, root / "instances")
    shutil.copytree(steps.saved(key)[0].parent, results)
    engine = open_engine(f"sqlite:///{root / 'medseg-node.db'}")
    upgrade_schema(engine, "0002")
    instances = [
        {
            "study": study_uid, "series": one.series_uid, "uid": one.sop_instance_uid, "class": one.sop_class_uid,
            "path": str(one.path.relative_to("instances")), "digest": one.digest, "now": NOW,
        }
        for one in steps.held()
    ]  # fmt: skip
    with engine.begin() as connection:
        study = "INSERT INTO studies VALUES (:study, 1, 'DELIVERING', '', 'A1', 'CT1', '[]', :now, :now, :now, :now)"
        connection.execute(text(study), {"study": study_uid, "now": NOW})
        series = "INSERT INTO series VALUES (:study, :series, 'CT', '')"
        connection.execute(text(series), {"study": study_uid, "series": job.series_uid})
        connection.execute(
            text(
                "INSERT INTO instances VALUES "
                "(:study, :series, :uid, :class, 't', :path, 1, :digest, 'CT1', 1, :now, NULL)"
            ),
            instances,
        )
        connection.execute(
            text(
                "INSERT INTO jobs VALUES (:key, :study, :series, 1, 'commissioning', '1', :questions, :inputs, :model, "
                "'air', 'DELIVERING', '', 1, NULL, NULL, :answers, NULL, :now, :now, :now)"
            ),
            {
                "key": key, "study": study_uid, "series": job.series_uid, "now": NOW,
                "questions": json.dumps([question.as_json() for question in job.questions]),
                "inputs": json.dumps(job.inputs), "model": json.dumps(vars(job.model)),
                "answers": json.dumps([{"question": job.questions[0].text, "answer": "x", "findings": []}]),
            },
        )  # fmt: skip
        for ordinal, result in enumerate(steps.repository.objects(key)):
            connection.execute(
                text(
                    "INSERT INTO deliveries VALUES (:uid, :key, :n, :kind, :class, :path, :digest, 'pacs', 'PENDING', "
                    "'', 3, NULL)"
                ),
                {
                    "uid": result.sop_instance_uid, "key": key, "n": ordinal, "kind": result.kind.value,
                    "class": result.sop_class_uid, "path": str(results / result.path.name), "digest": result.digest,
                },
            )  # fmt: skip
    engine.dispose()
    return DataFolder(root), study_uid, key


def test_a_folder_of_0_1_is_taken_over_and_moved_and_its_results_go_out(
    steps: Steps, archive: Archive, marked: Marked, tmp_path: Path
) -> None:
    old, study_uid, key = folder_of_0_1(steps, marked[0], tmp_path / "old")
    folder = DataFolder(Path(shutil.move(old.root, tmp_path / "moved")))
    engine = open_engine(f"sqlite:///{folder.root / 'medseg-node.db'}")
    upgrade_schema(engine)
    repository = Repository(engine)
    uid = require_own_folder(folder, repository)
    assert folder.node_uid() == uid
    instances = repository.instances(study_uid)
    assert len(instances) == len(marked[0]) and all(folder.absolute(one.path).is_file() for one in instances)
    assert repository.take_due().deliveries == [(key, "pacs")]
    publish_job(key, "pacs", repository, folder, steps.sender)
    assert archive.kinds() == ["SEG", "SR"]
    study = repository.study(study_uid)
    assert study is not None and (study.state.value, study.accession_number) == ("DELIVERED", "A1")
    engine.dispose()


def test_a_job_of_0_1_is_not_read_again_when_another_series_comes(
    steps: Steps, archive: Archive, marked: Marked, tmp_path: Path
) -> None:
    folder, study_uid, _key = folder_of_0_1(steps, marked[0], tmp_path / "old")
    engine = open_engine(f"sqlite:///{folder.root / 'medseg-node.db'}")
    upgrade_schema(engine)
    repository = Repository(engine)
    (view,) = repository.study_views()
    (series,) = {instance.series_uid for instance in repository.instances(study_uid)}
    inputs = tuple(sorted(f"{one.sop_instance_uid}:{one.digest}" for one in repository.instances(study_uid)))
    (found,) = view.jobs
    plan = steps.planner.job(study_uid, series, inputs, commissioning_protocol())
    assert (plan.request_key, plan.answer_key) == (found.job.request_key, found.job.answer_key)
    engine.dispose()
