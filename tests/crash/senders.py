"""Senders that never forget: each instance is sent until it is acknowledged; what was acknowledged is remembered."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pydicom
from pydicom.data import get_testdata_file
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association

from dicom_node.identifiers import derived_uid

__all__ = ["Acknowledged", "Sent", "make_study", "send_until_acknowledged", "sending"]

_PAUSE_S = 0.2


@dataclass(frozen=True)
class Sent:
    """One instance that is sent: its UIDs and the sha256 of its data set as it is encoded."""

    path: Path
    patient_id: str
    study_uid: str
    sop_instance_uid: str
    digest: str


@dataclass
class Acknowledged:
    """What was acknowledged with 0x0000, and how often something was sent; shared by all senders."""

    instances: dict[str, Sent] = field(default_factory=dict)
    sendings: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


def make_study(folder: Path, name: str, count: int, *, size: int = 64) -> list[Sent]:
    """A CT series of `count` slices of `size` x `size`, with marks that the commissioning predictor sees."""
    data_set = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    for group in [element.tag for element in data_set if element.tag.is_private]:
        del data_set[group]
    noise = np.random.default_rng(int(hashlib.sha256(name.encode()).hexdigest()[:8], 16))
    data_set.Rows = data_set.Columns = size
    data_set.StudyInstanceUID = derived_uid("crash", "study", name)
    data_set.SeriesInstanceUID = derived_uid("crash", "series", name)
    data_set.FrameOfReferenceUID = derived_uid("crash", "frame", name)
    data_set.PatientID, data_set.PatientName = f"CRASH-{name}", f"Crash^{name}"
    data_set.AccessionNumber = name[:16]
    data_set.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    folder.mkdir(parents=True, exist_ok=True)
    sent = []
    for number in range(count):
        uid = derived_uid("crash", "instance", name, str(number))
        data_set.SOPInstanceUID = data_set.file_meta.MediaStorageSOPInstanceUID = uid
        data_set.InstanceNumber = number + 1
        data_set.ImagePositionPatient = [-100.0, -100.0, 5.0 * number]
        pixels = noise.integers(0, 1000, (size, size), dtype=np.int16)
        pixels[size // 4 : size // 2, size // 4 : size // 2] = 32767
        data_set.PixelData = pixels.tobytes()
        path = folder / f"{number:04}.dcm"
        data_set.save_as(path, enforce_file_format=True)
        sent.append(Sent(path, f"CRASH-{name}", str(data_set.StudyInstanceUID), str(uid), _digest(path)))
    return sent


def _digest(path: Path) -> str:
    content = path.read_bytes()
    length = int.from_bytes(content[140:144], "little")
    return hashlib.sha256(content[144 + length :]).hexdigest()


def send_until_acknowledged(
    instances: Sequence[Sent], port: int, acknowledged: Acknowledged, stop: threading.Event, title: str = "CT1"
) -> None:
    """Send all, over as many associations as it takes; what is refused or cut off is sent again."""
    left = list(instances)
    while left and not stop.is_set():
        with _association(port, title) as association:
            if association is None:
                time.sleep(_PAUSE_S)
                continue
            left = _send_all(association, left, acknowledged)
        if left:
            time.sleep(_PAUSE_S)


@contextmanager
def _association(port: int, title: str) -> Iterator[Association | None]:
    entity = AE(title)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 30
    entity.connection_timeout = 5
    entity.add_requested_context("1.2.840.10008.5.1.4.1.1.2", ExplicitVRLittleEndian)
    association = entity.associate("127.0.0.1", port, ae_title="MEDSEG")
    try:
        yield association if association.is_established else None
    finally:
        if association.is_established:
            association.release()


def _send_all(association: Association, instances: Sequence[Sent], acknowledged: Acknowledged) -> list[Sent]:
    """Send all over one association, until it is cut off; what was not acknowledged."""
    refused: list[Sent] = []
    for number, one in enumerate(instances):
        status = _send(association, one, acknowledged)
        if status is None:  # pynetdicom may still take it for established, and would wait for an answer in vain
            return [*refused, *instances[number:]]
        if status != 0x0000:
            refused.append(one)
    return refused


def _send(association: Association, one: Sent, acknowledged: Acknowledged) -> int | None:
    """The status that was answered; None: no answer came."""
    with acknowledged.lock:
        acknowledged.sendings += 1
    status: int | None = None
    with suppress(RuntimeError, ValueError):
        status = association.send_c_store(one.path).get("Status")
    with acknowledged.lock:
        if status == 0x0000:
            acknowledged.instances[one.sop_instance_uid] = one
        else:
            told = "no answer" if status is None else f"0x{status:04X}"
            acknowledged.refused[told] = acknowledged.refused.get(told, 0) + 1
    return status


@contextmanager
def sending(
    studies: Iterable[Sequence[Sent]], port: int, *, senders: int = 1, seed: int = 0
) -> Iterator[tuple[Acknowledged, Callable[[], bool]]]:
    """Several senders at once, each with studies of its own; yields what was acknowledged and whether all is."""
    acknowledged, stop = Acknowledged(), threading.Event()
    shares: list[list[Sequence[Sent]]] = [[] for _ in range(senders)]
    for number, study in enumerate(studies):
        shares[number % senders].append(study)
    order = random.Random(seed)

    def run(number: int) -> None:
        for study in shares[number]:
            shuffled = list(study)
            order.shuffle(shuffled)
            send_until_acknowledged(shuffled, port, acknowledged, stop, f"CT{number + 1}")

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(senders)]
    for thread in threads:
        thread.start()
    try:
        yield acknowledged, lambda: not any(thread.is_alive() for thread in threads)
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
