"""The scenes of the crash matrix: what is done to a node while a study is on its way, and what must come of it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dicom_node.fault_points import FaultPoint
from tests.crash.node import PATIENCE_S, NodeUnderAttack
from tests.crash.promises import Counts, Ledger, kept_promises
from tests.crash.senders import Acknowledged, Sent, make_study, sending
from tests.services import Orthanc, Postgres, RabbitMQ, await_true, free_port, running_orthanc

__all__ = ["Hospital", "hospital", "killed_at"]


@dataclass
class Hospital:
    """A node under attack, the archive that it sends to, and the services that it needs."""

    node: NodeUnderAttack
    archive: Orthanc
    ledger: Ledger
    broker: RabbitMQ | None = None
    database: Postgres | None = None
    sent: dict[str, Sent] | None = None

    def deliver(self, name: str, attack: Callable[[Acknowledged], None], *, instances: int = 3, size: int = 64) -> None:
        """Send a study, attack meanwhile, and wait until all that was ever sent is answered and delivered."""
        study = make_study(self.node.folder / "sent" / name, name, instances, size=size)
        self.sent = {**(self.sent or {}), **{one.sop_instance_uid: one for one in study}}
        with sending([study], self.node.port) as (acknowledged, done):
            attack(acknowledged)
            self.await_acknowledged(acknowledged, study, done)
        self.await_delivered()

    def await_acknowledged(self, acknowledged: Acknowledged, sent: list[Sent], done: Callable[[], bool]) -> None:
        """Wait until the senders have ended, and see that each instance was acknowledged."""
        try:
            await_true(done, "all of it is acknowledged", PATIENCE_S)
            missing = {one.sop_instance_uid for one in sent} - acknowledged.instances.keys()
            assert not missing, f"the senders gave up, {len(missing)} instances were never acknowledged"
        except AssertionError as error:
            raise AssertionError(f"{error}\n{acknowledged.refused}\n{self.node.log[-4000:]}") from error

    def await_delivered(self, timeout_s: float = PATIENCE_S) -> None:
        """Wait until every instance that was sent has its row, and every study is DELIVERED."""
        sent = self.sent or {}
        wanted = len({one.study_uid for one in sent.values()})
        told = f"{len(sent)} instances indexed, {wanted} studies delivered"
        try:
            await_true(lambda: self.ledger.all_delivered(wanted, sent), told, timeout_s, 0.2)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.ledger.why()}\n{self.node.log[-4000:]}") from error

    def counts(self) -> Counts:
        """What is there in the end; raises AssertionError for a broken promise."""
        return kept_promises(self.sent or {}, self.ledger, self.node.data, self.archive)


@contextmanager
def hospital(*, broker: RabbitMQ | None = None, database: Postgres | None = None, **node: object) -> Iterator[Hospital]:
    """Everything running, in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="medseg-crash-", ignore_cleanup_errors=True) as name:
        folder, port = Path(name), free_port()
        modalities = {"node": ["MEDSEG", "127.0.0.1", port]}
        with running_orthanc(modalities=modalities) as archive:
            url = database.fresh_url() if database else f"sqlite:///{folder / 'data' / 'medseg-node.db'}"
            sections = f"""[[archives]]
name = "orthanc"
ae_title = "{archive.ae_title}"
host = "127.0.0.1"
port = {archive.dicom_port}
commitment = true
[database]
url = "{url if database else ""}"
[broker]
url = "{broker.fresh_url() if broker else ""}"
"""
            under_attack = NodeUnderAttack(folder, port, sections, **node)  # type: ignore[arg-type]
            if under_attack.data_dir is not None and not database:
                url = f"sqlite:///{under_attack.data_dir / 'medseg-node.db'}"
            with under_attack.running():
                yield Hospital(under_attack, archive, Ledger(url), broker, database)


def killed_at(scene: Hospital, point: FaultPoint, *, whole_node: bool) -> None:
    """Whoever passes the point is killed there; with `whole_node` all the rest too, and it is started again."""

    def attack(_: Acknowledged) -> None:
        await_true(lambda: not armed.exists(), f"{point.value} is passed", PATIENCE_S, 0.01)
        if whole_node:
            scene.node.kill()
            scene.node.start()

    armed = scene.node.arm(point)
    scene.deliver(f"{point.value}{'-all' if whole_node else ''}", attack)
