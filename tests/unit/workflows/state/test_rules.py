"""Protocols in service: taken whole, refused with their mistakes, every version kept byte for byte."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from tests.unit.workflows.state.conftest import World
from workflows.errors import ProtocolMistake
from workflows.state.rules import ProtocolVersion

MISTAKES = (ProtocolMistake(Path("rules/ct.yaml"), 3, "series: nobody knows 'modalty'"),)


def version(name: str, number: str, contents: bytes) -> ProtocolVersion:
    digest = hashlib.sha256(contents).hexdigest()
    return ProtocolVersion(digest, name, number, name.upper(), f"{name}.yaml", contents)


CT, DX = version("ct", "1", b"name: ct\r\n# \x07\xc3\xa4"), version("dx", "1", b"name: dx")


def test_every_version_that_was_in_service_is_kept_as_it_was(world: World) -> None:
    repository = world.repository
    assert repository.protocols_in_service() is None
    assert repository.take_protocols("first", [CT, DX])
    assert not repository.take_protocols("first", [CT, DX]), "another process was quicker: it is told once"
    world.tick(60)
    second = replace(version("ct", "1", b"name: ct # edited"), title="New")
    assert repository.take_protocols("second", [second, DX])
    stored = repository.protocols_in_service()
    assert stored is not None
    assert (stored.digest, stored.taken_at) == ("second", world.clock[0])
    assert [(one.file, one.contents) for one in stored.versions] == [
        ("ct.yaml", second.contents),
        ("dx.yaml", DX.contents),
    ]
    assert [one.digest for one in repository.protocol_versions("ct")] == [second.digest, CT.digest]
    assert [one.name for one in repository.protocol_versions()] == ["ct", "ct", "dx"]
    before = repository.protocol_version(CT.digest)
    assert before is not None and before.contents == CT.contents
    assert before.first_used_at is not None and before.first_used_at < world.clock[0]
    assert repository.protocol_version("0" * 64) is None


def test_an_edit_is_refused_once_and_what_is_in_service_stays(world: World) -> None:
    repository = world.repository
    repository.take_protocols("first", [CT])
    assert repository.refuse_protocols("broken", MISTAKES)
    assert not repository.refuse_protocols("broken", MISTAKES), "it is told once"
    refused, stored = repository.refused_edit(), repository.protocols_in_service()
    assert refused is not None and refused.mistakes == MISTAKES
    assert stored is not None and stored.digest == "first"
    repository.forget_refused_edit()
    assert repository.refused_edit() is None
    assert repository.refuse_protocols("broken", MISTAKES), "made again after it was undone"
    assert repository.take_protocols("second", [DX])
    assert repository.refused_edit() is None


def test_a_job_keeps_the_digest_that_it_was_planned_with(world: World) -> None:
    world.receive()
    world.make_complete()
    first = replace(world.job_plan("a1"), protocol_digest=CT.digest)
    assert world.repository.save_plan("1.2.3", 1, [first], [], "planned") == ["a1"]
    world.reopen()
    edited = replace(first, protocol_digest=DX.digest)
    assert world.repository.save_plan("1.2.3", 2, [edited], [], "planned") == ["a1"], "an edited title changes no key"
    assert world.repository.job("a1").protocol_digest == CT.digest
