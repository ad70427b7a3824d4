"""Status and explain: what matched, what was seen and not seen, where the results are, and how far a study is."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dicom_node.commissioning.marker import Marker
from dicom_node.network.storage_scu import Peer
from dicom_node.results.codes import COMMISSIONING_CONCEPT, LABELS
from tests.rules import of_modality
from workflows.commands.reporting import explain_study, status_of_all
from workflows.commands.telling import explained
from workflows.protocols import conditions
from workflows.protocols.schema import ProtocolQuestion, ReadingProtocol, SeriesSelector

if TYPE_CHECKING:
    from .conftest import Steps

Marked = tuple[list[Path], Marker]

BRIGHT = ProtocolQuestion("bright", "What is bright?", (COMMISSIONING_CONCEPT, LABELS["spleen"]))
BODIES = ReadingProtocol(
    "bodies", "2", "Bodies", (BRIGHT,), series=of_modality("CT", described_as="body"), digest="ab" * 32
)
CHESTS = ReadingProtocol("chests", "1", "Chests", (BRIGHT,), series=of_modality("DX"))


@pytest.fixture
def asking(steps: Steps) -> Steps:
    """A node whose protocols ask a CT for what the predictor marks and for something that it never sees."""
    steps.planner = replace(steps.planner, protocols=(BODIES, CHESTS), commissioning=False)
    return steps


def explain(steps: Steps, study_uid: str) -> dict[str, Any]:
    found = explain_study(steps.repository, steps.folder, study_uid)
    assert found is not None
    return found


NONE = {"failed": 0, "cancelled": 0}


def test_progress_counts_the_jobs_that_ended(asking: Steps, marked: Marked) -> None:
    asking.receive(*marked[0])
    (study,) = status_of_all(asking.repository, asking.folder)
    assert (study["state"], study["progress"]) == ("RECEIVING", {"done": 0, "of": 0, **NONE})
    (key,) = asking.keys(asking.to_plan())
    assert status_of_all(asking.repository, asking.folder)[0]["progress"] == {"done": 0, "of": 1, **NONE}
    asking.predict(key)
    assert status_of_all(asking.repository, asking.folder)[0]["progress"] == {"done": 0, "of": 1, **NONE}
    asking.publish(key)
    assert status_of_all(asking.repository, asking.folder)[0]["progress"] == {"done": 1, "of": 1, **NONE}


def test_status_keeps_its_keys(asking: Steps, marked: Marked) -> None:
    asking.through(*marked[0])
    (study,) = status_of_all(asking.repository, asking.folder)
    assert {"study_uid", "generation", "state", "reason", "accession_number", "protocol", "jobs"} <= set(study)
    (job,) = study["jobs"]
    assert {"question", "state", "reason", "answer", "findings", "results"} <= set(job)
    assert {"phrase", "label", "confidence", "voxels", "volume_ml", "area_mm2"} <= set(job["findings"][0])
    assert all({"kind", "sop_instance_uid", "path"} <= set(result) for result in job["results"])


def test_explain_has_the_evidence_the_measurements_and_where_the_results_went(asking: Steps, marked: Marked) -> None:
    found = explain(asking, asking.through(*marked[0]))
    (asked,), (not_asked,) = found["asked"], found["not_asked"]
    assert asked["protocol"] == "bodies 2"
    assert asked["reason"] == "/body/ in series description 'CT Body 3.0'"
    assert set(asked) == set(not_asked) == {"protocol", "version", "series_uid", "reason", "missing", "flags"}
    assert (not_asked["protocol"], not_asked["reason"]) == ("chests", "modality CT is not DX")
    (job,) = found["jobs"]
    assert [finding["label"] for finding in job["findings"]] == [COMMISSIONING_CONCEPT.label]
    assert job["not_seen"] == [], "the commissioning model looks for nothing but what is bright"
    assert [(one["label"], one["why"]) for one in job["not_assessed"]] == [("spleen", "not-addressed")]
    delivered = {result["kind"]: result["delivered_at"] for result in job["results"]}
    assert delivered == dict.fromkeys(("SEG", "SR"), asking.now.isoformat())
    text = "\n".join(explained(found))
    for expected in (
        "1 of 1 jobs done",
        "  asked by bodies 2 (sha256 abababababab): /body/ in series description 'CT Body 3.0'",
        "    asked: What is bright?",
        "      asked for and not seen: nothing",
        "  not asked by chests 1: modality CT is not DX",
    ):
        assert expected in text.splitlines()
    assert "      not assessed: spleen: the answer says nothing of it" in text
    assert re.search(r"seen: bright voxels: [\d.]+ ml, \d+ voxels, confidence 1.00", text)
    for result in job["results"]:
        assert f"    {result['kind']} DELIVERED to pacs at {asking.now.isoformat()}: {result['path']}" in text


def test_explain_says_what_the_headers_do_not_and_what_to_look_at(steps: Steps, marked: Marked) -> None:
    protocol = replace(CHESTS, series=SeriesSelector(conditions.Test("view_position", (conditions.Equals(("AP",)),))))
    steps.planner = replace(steps.planner, protocols=(protocol,), commissioning=False)
    found = explain(steps, steps.through(*marked[0]))
    (refused,) = found["not_asked"]
    assert refused["missing"] == ["View Position (0018,5101)"]
    assert "    not in the headers: View Position (0018,5101)" in list(explained(found))
    refused["flags"] = ["Body Part Examined says CHEST"]
    assert "    look at: Body Part Examined says CHEST" in list(explained(found))


def test_explain_says_where_another_version_is_in_service_than_the_one_that_decided(
    asking: Steps, marked: Marked
) -> None:
    found = explain(asking, asking.through(*marked[0]))
    assert found["in_service"] == {}  # no folder was taken: nothing to compare with
    found["in_service"] = {"bodies": "3", "chests": "1"}
    found["jobs"][0]["protocol"] = "bodies@organs 2"
    told = "\n".join(explained(found))
    assert "  asked by bodies@organs 2 (sha256 abababababab) (in service now: 3): /body/" in told
    assert "  not asked by chests 1: modality" in told
    found["in_service"] = {"bodies": "2"}
    told = "\n".join(explained(found))
    assert "asked by bodies@organs 2 (sha256 abababababab): " in told
    assert "  not asked by chests 1 (not in service any more): modality" in told


def test_explain_says_why_a_study_waits_for_its_archive(asking: Steps, marked: Marked) -> None:
    asking.receive(*marked[0])
    study_uid = asking.to_plan()
    (key,) = asking.keys(study_uid)
    found = explain(asking, study_uid)
    assert found["jobs"][0]["not_seen"] is None, "nothing is known of it before there is an answer"
    asking.predict(key)
    asking.publish(key, routes={"pacs": asking.way_to(Peer("PACS", "127.0.0.1", 1))})
    text = "\n".join(explained(explain(asking, study_uid)))
    assert "0 of 1 jobs done" in text and re.search(r"SEG PENDING to pacs \(PACS@127.0.0.1:1: .*\): /", text)


def test_a_commissioning_node_says_that_it_asks_every_image_series(steps: Steps, marked: Marked) -> None:
    found = explain(steps, steps.through(*marked[0]))
    (asked,) = found["asked"]
    assert asked["reason"] == "a commissioning node asks every image series"


def test_explain_names_what_an_earlier_reading_left_in_the_archive(asking: Steps, marked: Marked) -> None:
    study_uid = asking.through(*marked[0])
    (first,) = asking.keys(study_uid)
    asking.planner = replace(asking.planner, software="0.3")
    asking.repository.reopen(study_uid, "a person")
    asking.plan(study_uid)
    (second,) = asking.keys(study_uid)
    asking.predict(second)
    asking.publish(second)
    known = explain(asking, study_uid)
    (earlier,) = known["earlier"]
    uids = [result.sop_instance_uid for result in asking.repository.objects(first)]
    assert [result["sop_instance_uid"] for result in earlier["results"]] == uids
    text = "\n".join(explained(known))
    assert "earlier, bodies 2 of series " in text and text.count("SR DELIVERED to pacs at ") == 2
