"""What several processes do to one study at once ends in peace: everybody locks the study first."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from workflows.state.states import DeliveryState

if TYPE_CHECKING:
    from .conftest import World

STUDY = "1.2.3"
ROUNDS = 15


@pytest.mark.slow
def test_answers_queries_and_retractions_of_one_study_at_once(world: World) -> None:
    repository = world.repository
    world.planned("a1")
    world.answer("a1")
    world.deliver("a1")
    uids = [one.result.sop_instance_uid for one in repository.claim_confirmations("a1", "pacs", 60)]
    for number in range(ROUNDS):
        repository.record_commitment_request(f"1.9.{number}", "a1", "pacs")

    def answer(number: int) -> object:
        return repository.record_commitment(f"1.9.{number}", set(), dict.fromkeys(uids, "gone"), set(uids), 60)

    def look(_number: int) -> object:
        return repository.postpone_confirmation("a1", "pacs", uids[::-1], "away", 60, answered=False)

    def send(_number: int) -> object:
        for one in repository.claim_deliveries("a1", "pacs", "io", 60):
            repository.record_delivery(one.result.sop_instance_uid, "pacs", "io", DeliveryState.DELIVERED)
        return repository.release_deliveries("a1", "pacs", "io", "", 1)

    def take_back(_number: int) -> object:
        return [repository.claim_retractions(STUDY, "pacs", 1), repository.take_due()]

    with ThreadPoolExecutor(8) as threads:
        done = [threads.submit(work, number) for number in range(ROUNDS) for work in (answer, look, send, take_back)]
        for one in done:
            one.result()
    send(0)
    assert world.state() == "DELIVERED"
