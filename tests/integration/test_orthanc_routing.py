"""Orthanc's auto-routing: each stable study reaches the node once, its own results never, and no outage loses one."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid
from pynetdicom import AE, StoragePresentationContexts, evt

from dicom_node.network.association import Peer
from dicom_node.network.storage_scu import send
from dicom_node.results.equipment import MANUFACTURER
from tests.services import Orthanc, await_true, free_port, running_orthanc
from workflows.bootstrap import Node
from workflows.settings import NodeSettings, PeerSettings, Settings
from workflows.steps.sources import wake_sources

pytestmark = [pytest.mark.service("orthanc"), pytest.mark.timeout(120)]

SCRIPT = Path("deploy") / "orthanc" / "medseg-node.lua"
FULL = 0xA700


class Receiver:
    """Stands where the node would: remembers what is sent to it. `answer`: its status for a SOP Instance UID."""

    def __init__(self) -> None:
        self.received: list[str] = []
        self.refused: list[str] = []
        self.answer: Callable[[str], int] = lambda uid: 0x0000
        self.port = free_port()
        self._lock = threading.Lock()
        self._server: Any = None

    def start(self) -> None:
        entity = AE("MEDSEG")
        entity.supported_contexts = StoragePresentationContexts
        entity.add_supported_context("1.2.840.10008.1.1")
        handlers = [(evt.EVT_C_STORE, self._keep)]
        self._server = entity.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    def _keep(self, event: Any) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        status = self.answer(uid)
        with self._lock:
            (self.refused if status else self.received).append(uid)
        return status


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.stop()


@pytest.fixture
def script(checkout: Path, tmp_path: Path) -> Callable[..., Path]:
    """`script(MODALITIES="{ 'CT' }")`: the shipped script with other values at its top; what failed is soon due."""

    def write(**values: object) -> Path:
        text = (checkout / SCRIPT).read_text()
        for name, value in {"RETRY_S": 1, **values}.items():
            text, count = re.subn(rf"^local {name} = \S.*?(?=  --|$)", f"local {name} = {value}", text, flags=re.M)
            assert count == 1, name
        path = tmp_path / "medseg-node.lua"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def start(start_orthanc: Callable[..., Orthanc], receiver: Receiver) -> Iterator[Callable[..., Orthanc]]:
    """Starts an Orthanc that sends to the receiver by these scripts."""
    started: list[Orthanc] = []

    def make(*lua: Path) -> Orthanc:
        started.append(start_orthanc(lua=lua, modalities={"medseg-node": ["MEDSEG", "127.0.0.1", receiver.port]}))
        return started[-1]

    yield make
    for archive in started:
        archive.service.kill()  # a clean end takes seconds


def instance(study: str, folder: Path, *, series: str = "", **attributes: str) -> tuple[str, bytes]:
    """SOP Instance UID and bytes of a new CT instance, of a series of its own where none is given."""
    dataset = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series or generate_uid()
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.Manufacturer = "GE"
    dataset.update(_elements(attributes))
    path = folder / "instance.dcm"
    dataset.save_as(path)
    return str(dataset.SOPInstanceUID), path.read_bytes()


def _elements(attributes: dict[str, str]) -> pydicom.Dataset:
    elements = pydicom.Dataset()
    for name, value in attributes.items():
        setattr(elements, name, value)
    return elements


def put_in(archive: Orthanc, folder: Path, count: int = 1, **attributes: str) -> list[str]:
    """A new study of so many instances in one series, put into the archive; their SOP Instance UIDs."""
    study, series = generate_uid(), generate_uid()
    made = [instance(study, folder, series=series, **attributes) for _ in range(count)]
    for _, content in made:
        archive.post("/instances", content)
    return [uid for uid, _ in made]


def stable(archive: Orthanc, times: int) -> None:
    """Wait until Orthanc has called a study stable that often."""
    await_true(
        lambda: (
            sum(one["ChangeType"] == "StableStudy" for one in archive.get("/changes?limit=1000")["Changes"]) >= times
        ),
        f"{times} times stable",
    )


def marked(archive: Orthanc, uid: str) -> bool:
    (found,) = archive.find_instances(SOPInstanceUID=uid)
    return "4810" in archive.get(f"/instances/{found}/metadata")


def await_sent(archive: Orthanc, *uids: str) -> None:
    """Wait until all are marked as sent; each look is an HTTP request, which is what wakes the script."""
    await_true(lambda: all(marked(archive, uid) for uid in uids), "the marks of what was sent")


def test_a_study_is_sent_once_its_results_never_and_late_instances_alone(
    tmp_path: Path, receiver: Receiver, script: Callable[..., Path], start: Callable[..., Orthanc]
) -> None:
    receiver.start()
    earlier = tmp_path / "earlier.lua"
    earlier.write_text("function OnStableStudy(study) print('the hospital has a script of its own') end")
    archive = start(earlier, script(RETRY_S=60))
    study = generate_uid()

    first, content = instance(study, tmp_path)
    archive.post("/instances", content)
    await_true(lambda: receiver.received, "the first instance sent")
    assert receiver.received == [first]
    await_sent(archive, first)
    assert "the hospital has a script of its own" in archive.log()

    _, result = instance(study, tmp_path, Manufacturer=MANUFACTURER)
    archive.post("/instances", result)
    stable(archive, 2)

    late, content = instance(study, tmp_path)
    archive.post("/instances", content)
    stable(archive, 3)
    await_true(lambda: late in receiver.received, "the late instance sent")
    assert receiver.received == [first, late]


@pytest.mark.parametrize("evidence", ["c-find", "qido"])
def test_a_node_that_was_away_wakes_orthanc_by_its_question_and_gets_what_waits(
    evidence: str, tmp_path: Path, receiver: Receiver, script: Callable[..., Path], start: Callable[..., Orthanc]
) -> None:
    archive = start(script())
    (lost,) = put_in(archive, tmp_path)
    await_true(lambda: "it is tried again later" in archive.log(), "the failure said")
    receiver.start()
    # Orthanc 1.10 calls no script by the clock: nothing arrives in it, and nobody else asks.
    peer = PeerSettings(
        ae_title=archive.ae_title, host=archive.host, port=archive.dicom_port, evidence=evidence,
        dicomweb_url=f"{archive.url}/dicom-web",
    )  # fmt: skip
    node = Node(Settings(node=NodeSettings(data_dir=tmp_path / "data", port=receiver.port), peers=(peer,)))

    def woken() -> bool:
        wake_sources(node.sources_that_can_be_asked())
        return lost in receiver.received

    await_true(woken, "the study sent", pause_s=0.3)
    await_sent(archive, lost)
    assert receiver.received == [lost]


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_what_waits_outlives_orthanc(
    end: str, tmp_path: Path, receiver: Receiver, script: Callable[..., Path], start: Callable[..., Orthanc]
) -> None:
    archive = start(script(PAGE=4))  # so that its log of changes has many pages
    receiver.start()
    sent = put_in(archive, tmp_path, 3)
    await_sent(archive, *sent)
    receiver.stop()
    waits = [uid for _ in range(3) for uid in put_in(archive, tmp_path, 2)]
    stable(archive, 4)
    await_true(lambda: "the node does not answer" in archive.log(), "the failure said")
    # Nobody has called this one stable yet.
    waits += put_in(archive, tmp_path, 2)
    getattr(archive.service, end)()
    receiver.start()
    archive.service.start()
    await_sent(archive, *waits)
    (last,) = put_in(archive, tmp_path)
    await_sent(archive, last)
    wanted = [*sent, *waits, last]
    assert set(receiver.received) == set(wanted)
    # Orthanc writes its jobs down every ten seconds: killed, it may take up one that had ended, here of two or three.
    assert len(receiver.received) - len(wanted) <= (3 if end == "kill" else 0)


def test_orthanc_killed_amid_sending_goes_on_where_it_was(
    tmp_path: Path, receiver: Receiver, script: Callable[..., Path], start: Callable[..., Orthanc]
) -> None:
    goes_on = threading.Event()
    receiver.answer = lambda uid: goes_on.wait(30 if len(receiver.received) >= 5 else 0) and 0
    receiver.start()
    archive = start(script(AT_ONCE=2))
    uids = put_in(archive, tmp_path, 9)
    await_true(lambda: len(receiver.received) == 5, "five of nine sent")
    await_true(lambda: sum(marked(archive, uid) for uid in uids) == 4, "the marks of two jobs")
    done = [uid for uid in uids if marked(archive, uid)]
    archive.service.kill()
    goes_on.set()
    archive.service.start()
    await_sent(archive, *uids)
    times = Counter(receiver.received)
    assert set(times) == set(uids)
    assert all(times[uid] == 1 for uid in done)
    assert sum(times.values()) <= 9 + 2 * 2, "no more than the job that was killed, which Orthanc takes up again itself"


def test_a_node_without_room_gets_all_once_it_has_room(
    tmp_path: Path, receiver: Receiver, script: Callable[..., Path], start: Callable[..., Orthanc]
) -> None:
    receiver.answer = lambda uid: FULL
    receiver.start()
    archive = start(script())
    uids = [uid for _ in range(4) for uid in put_in(archive, tmp_path, 2)]
    stable(archive, 4)
    await_true(lambda: archive.get("/system") and archive.log().count("was refused in part or whole") >= 3, "refusals")
    receiver.answer = lambda uid: 0x0000
    await_sent(archive, *uids)
    assert Counter(receiver.received) == Counter(uids)


def test_an_instance_that_is_refused_for_good_holds_nothing_else_up(
    tmp_path: Path, receiver: Receiver, script: Callable[..., Path], start: Callable[..., Orthanc]
) -> None:
    wrong: list[str] = []
    receiver.answer = lambda uid: 0x0110 if uid in wrong else 0x0000
    archive = start(script())
    uids = put_in(archive, tmp_path, 6)
    wrong.append(uids[2])
    receiver.start()
    good = [uid for uid in uids if uid not in wrong]
    await_sent(archive, *good)
    other = put_in(archive, tmp_path, 2)
    await_sent(archive, *other)
    assert set(receiver.received) == {*good, *other} and not marked(archive, wrong[0])
    receiver.answer = lambda uid: 0x0000
    await_sent(archive, *wrong)


def test_a_rule_that_was_missing_among_the_modalities_loses_nothing(
    tmp_path: Path, receiver: Receiver, script: Callable[..., Path], start_orthanc: Callable[..., Orthanc]
) -> None:
    receiver.start()
    archive = start_orthanc(lua=[script()])
    uids = put_in(archive, tmp_path, 2)
    await_true(lambda: 'is "medseg-node" among DicomModalities?' in archive.log(), "the reason said")
    body = json.dumps({"AET": "MEDSEG", "Host": "127.0.0.1", "Port": receiver.port}).encode()
    urllib.request.urlopen(
        urllib.request.Request(f"{archive.url}/modalities/medseg-node", data=body, method="PUT"), timeout=10
    ).close()
    await_sent(archive, *uids)


def test_only_what_is_wanted_is_sent_and_what_is_urgent_first(
    tmp_path: Path, receiver: Receiver, script: Callable[..., Path], start: Callable[..., Orthanc]
) -> None:
    wanted = {
        "MODALITIES": "{ 'CT', 'MR' }", "FROM": "{ 'CT1', 'CT-ER' }", "NOT_FROM": "{ 'CT9' }",
        "STUDIES": "{ 'abd', 'head' }", "NOT_STUDIES": "{ 'phantom' }", "SERIES": "{ 'ax' }",
        "NOT_SERIES": "{ 'scout', 'locali[sz]er' }", "MINIMUM": 2,
        "FIRST_FROM": "{ 'CT-ER' }", "FIRST_STUDIES": "{ '^stroke' }",
    }  # fmt: skip
    archive = start(script(**wanted))
    good = {"StudyDescription": "CT Abdomen", "SeriesDescription": "AXIAL 1 mm", "Modality": "CT"}

    def from_source(ae_title: str, count: int = 2, **attributes: str) -> list[str]:
        study, series = generate_uid(), generate_uid()
        uids = []
        for _ in range(count):
            uid, content = instance(study, tmp_path, series=series, **{**good, **attributes})
            (tmp_path / "sent.dcm").write_bytes(content)
            peer = Peer(archive.ae_title, archive.host, archive.dicom_port)
            assert all(one.ok for one in send([tmp_path / "sent.dcm"], peer, ae_title))
            uids.append(uid)
        return uids

    later = from_source("CT1", 3)
    for nothing in (
        {"Modality": "US"}, {"StudyDescription": "Knee"}, {"StudyDescription": "Abd phantom"},
        {"SeriesDescription": "ax scout"}, {"SeriesDescription": "Localizer ax"}, {"SeriesDescription": "coronal"},
    ):  # fmt: skip
        from_source("CT1", **nothing)
    from_source("CT9")
    from_source("MR7")
    from_source("CT1", 1)
    put_in(archive, tmp_path, 2, **good)  # not by DICOM
    stroke = from_source("CT1", StudyDescription="Stroke: head")
    emergency = from_source("CT-ER")
    stable(archive, 13)
    await_true(lambda: "the node does not answer" in archive.log(), "the node is away")
    receiver.start()
    await_sent(archive, *later)
    assert receiver.received[:4] == [*stroke, *emergency] and set(receiver.received[4:]) == set(later)


def test_a_pattern_that_is_none_is_named_and_other_scripts_go_on(
    tmp_path: Path, receiver: Receiver, script: Callable[..., Path], start: Callable[..., Orthanc]
) -> None:
    earlier = tmp_path / "earlier.lua"
    earlier.write_text("function OnStableStudy(study) print('the hospital has a script of its own') end")
    archive = start(earlier, script(SERIES="{ '[ax' }"))
    assert '"[ax" is no Lua pattern' in archive.log()
    put_in(archive, tmp_path)
    await_true(lambda: "a script of its own" in archive.log(), "the other script's callback")


def test_the_first_start_sends_what_has_just_come_and_not_the_archive(
    tmp_path: Path, receiver: Receiver, script: Callable[..., Path], start: Callable[..., Orthanc]
) -> None:
    receiver.start()
    lua = tmp_path / "medseg-node.lua"
    lua.write_text("")
    archive = start(lua)
    put_in(archive, tmp_path, 2)
    stable(archive, 1)
    archive.service.kill()
    script(FIRST_START_S=-1)
    archive.service.start()
    (new,) = put_in(archive, tmp_path)
    await_sent(archive, new)
    assert receiver.received == [new]


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
        check = checkout / "deploy" / "orthanc" / "healthcheck"
        for port, status in ((archive.http_port, 0), (free_port(), 1)):
            done = subprocess.run([check], env={**os.environ, "ORTHANC_PORT": str(port), "ORTHANC_PASSWORD": "x"})
            assert done.returncode == status
        archive.service.kill()
