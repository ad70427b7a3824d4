"""Orthanc's auto-routing: each stable study reaches the node once, its own results never, a failure later."""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid
from pynetdicom import AE, StoragePresentationContexts, evt

from dicom_node.results.equipment import MANUFACTURER
from tests.services import Orthanc, await_true, free_port, running_orthanc

SCRIPT = Path("deploy") / "orthanc" / "medseg-node.lua"


class Receiver:
    """Stands where the node would: remembers what is sent to it."""

    def __init__(self) -> None:
        self.received: list[str] = []
        self.port = free_port()
        self._lock = threading.Lock()
        self._server: Any = None

    def start(self) -> None:
        entity = AE("MEDSEG")
        entity.supported_contexts = StoragePresentationContexts
        handlers = [(evt.EVT_C_STORE, self._keep)]
        self._server = entity.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()

    def _keep(self, event: Any) -> int:
        with self._lock:
            self.received.append(str(event.request.AffectedSOPInstanceUID))
        return 0x0000


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.stop()


def instance(study: str, folder: Path, *, manufacturer: str = "GE") -> tuple[str, bytes]:
    """SOP Instance UID and bytes of a new CT instance of a series of its own."""
    dataset = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, generate_uid()
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.Manufacturer = manufacturer
    path = folder / "instance.dcm"
    dataset.save_as(path)
    return str(dataset.SOPInstanceUID), path.read_bytes()


def stable(archive: Orthanc, times: int) -> None:
    """Wait until Orthanc has called a study stable that often."""
    await_true(
        lambda: sum(change["ChangeType"] == "StableStudy" for change in archive.get("/changes")["Changes"]) >= times,
        f"{times} times stable",
    )


def marked(archive: Orthanc, uid: str) -> bool:
    (found,) = archive.find_instances(SOPInstanceUID=uid)
    return "4810" in archive.get(f"/instances/{found}/metadata")


def test_a_study_is_sent_once_its_results_never_and_late_instances_alone(
    checkout: Path, tmp_path: Path, receiver: Receiver, start_orthanc: Callable[..., Orthanc]
) -> None:
    receiver.start()
    earlier = tmp_path / "earlier.lua"
    earlier.write_text("function OnStableStudy(study) print('the hospital has a script of its own') end")
    modalities = {"medseg-node": ["MEDSEG", "127.0.0.1", receiver.port]}
    archive = start_orthanc(lua=[earlier, checkout / SCRIPT], modalities=modalities)
    study = generate_uid()

    first, content = instance(study, tmp_path)
    archive.post("/instances", content)
    await_true(lambda: receiver.received, "the first instance sent")
    assert receiver.received == [first]
    await_true(lambda: marked(archive, first), "the mark of what was sent")
    assert "the hospital has a script of its own" in archive.log()

    _, result = instance(study, tmp_path, manufacturer=MANUFACTURER)
    archive.post("/instances", result)
    stable(archive, 2)

    late, content = instance(study, tmp_path)
    archive.post("/instances", content)
    stable(archive, 3)
    await_true(lambda: late in receiver.received, "the late instance sent")
    assert receiver.received == [first, late]


def test_what_the_node_did_not_take_is_sent_when_it_is_back(
    checkout: Path, tmp_path: Path, receiver: Receiver, start_orthanc: Callable[..., Orthanc]
) -> None:
    script = tmp_path / "medseg-node.lua"
    script.write_text((checkout / SCRIPT).read_text().replace("local RETRY_S = 60", "local RETRY_S = 0"))
    archive = start_orthanc(lua=[script], modalities={"medseg-node": ["MEDSEG", "127.0.0.1", receiver.port]})
    lost, content = instance(generate_uid(), tmp_path)
    archive.post("/instances", content)
    await_true(lambda: "it is tried again later" in archive.log(), "the failure said")
    assert not marked(archive, lost)

    receiver.start()
    other, content = instance(generate_uid(), tmp_path)
    archive.post("/instances", content)
    await_true(lambda: {lost, other} <= set(receiver.received), "both studies sent")
    await_true(lambda: marked(archive, lost) and marked(archive, other), "the marks of what was sent")


def test_the_shipped_configuration_starts_orthanc_with_the_script(checkout: Path, tmp_path: Path) -> None:
    text = (checkout / "deploy" / "orthanc" / "orthanc.json").read_text()
    configuration = json.loads(re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE))
    assert configuration["DicomModalities"]["medseg-node"] == ["MEDSEG", "${MEDSEG_NODE_HOST}", 11112]
    # What is bound to this machine makes room for the test; everything else is taken as shipped.
    for key in ("StorageDirectory", "IndexDirectory", "Plugins", "DicomPort", "HttpPort", "RegisteredUsers"):
        del configuration[key]
    shutil.copy(checkout / SCRIPT, tmp_path)
    configuration["LuaScripts"] = [str(tmp_path / SCRIPT.name)]
    configuration["AuthenticationEnabled"] = False
    environment = {**os.environ, "MEDSEG_NODE_HOST": "node.test"}
    with running_orthanc(extra=configuration, environment=environment) as archive:
        assert archive.get("/modalities?expand")["medseg-node"]["Host"] == "node.test"
