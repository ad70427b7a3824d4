"""Whatever bytes come over a connection: it is answered or closed, and the next sender is served."""

from __future__ import annotations

import random

import pytest
from structlog.testing import capture_logs

from dicom_node.network.storage_scp import StorageSCP, StorageSCPSettings
from tests.unit.dicom_node.network.upper_layer.raw_peer import (
    ABORT,
    RELEASE_RQ,
    KeepingSink,
    RawPeer,
    associate_request,
    command,
    p_data,
    pdu,
    pdv,
    store,
)

ROUNDS = 400
PIECES = [
    associate_request(),
    store(b"data" * 100),
    p_data(pdv(3, 3, command(0x0030, data_set=False))),
    p_data(pdv(1, 3, command(0x0001))),
    p_data(pdv(1, 0, b"half")),
    pdu(9, b"unknown"),
    RELEASE_RQ,
    ABORT,
]


def conversation(dice: random.Random) -> bytes:
    """Mostly what a peer may send, in some order, with some bytes changed, cut off somewhere."""
    parts = [associate_request()] if dice.random() < 0.8 else []
    parts += dice.choices(PIECES, k=dice.randrange(5))
    sent = bytearray(b"".join(parts))
    for _ in range(dice.choice([0, 0, 1, 3, 20])):
        if sent:
            sent[dice.randrange(len(sent))] = dice.randrange(256)
    return bytes(sent[: dice.randrange(len(sent) + 1)] if dice.random() < 0.3 else sent)


@pytest.mark.service("loopback")
@pytest.mark.timeout(300)
def test_no_conversation_stops_the_port() -> None:
    dice = random.Random(16)
    sink = KeepingSink()
    settings = StorageSCPSettings(port=0, acse_timeout_s=0.5, pdu_s=0.5, dimse_timeout_s=0.5, network_timeout_s=0.5)
    with capture_logs() as logs, StorageSCP(settings, sink) as scp:
        for _ in range(ROUNDS):
            with RawPeer(scp.port) as peer:
                try:
                    peer.send(conversation(dice))
                    if dice.random() < 0.05:
                        while peer.receive()[0] in (2, 4):  # until it has ended, for us or for good
                            pass
                except ConnectionError:
                    pass  # it hung up on us, as it may
        with RawPeer(scp.port) as good:
            good.associate()
            good.send(store(b"the last"))
            assert good.response().status == 0x0000
            good.release()
    assert sink.kept[-1].data_set == b"the last"
    assert all(kept.committed or kept.abandoned for kept in sink.kept)
    defects = {line["event"] for line in logs} & {"connection_failed", "association_failed", "instance_receive_failed"}
    assert not defects
