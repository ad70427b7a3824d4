"""What doctor says of an archive: a peer that takes some classes and offers some services."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from pydicom import uid
from pynetdicom import AE, _config, evt

from dicom_node.network import association
from dicom_node.network.contexts import STORAGE_COMMITMENT
from dicom_node.results.profiles import SOP_CLASSES, ResultKind
from tests.services import free_port
from workflows.commands.archive_checks import check_archive
from workflows.commands.checks import Check, Outcome
from workflows.settings import Settings

FIND = "1.2.840.10008.5.1.4.1.2.2.1"
KEY_OBJECTS = uid.KeyObjectSelectionDocumentStorage
SEGMENTED = (uid.SegmentationStorage, uid.Comprehensive3DSRStorage, KEY_OBJECTS)


@pytest.fixture(autouse=True)
def _strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """The peer runs in this process, where the node's own SCP takes classes that it was not told of."""
    monkeypatch.setattr(association, "configure_pynetdicom", lambda: None)
    monkeypatch.setattr(_config, "UNRESTRICTED_STORAGE_SERVICE", False)


@contextmanager
def peer(classes: Sequence[str]) -> Iterator[int]:
    """An application entity that takes these abstract syntaxes and C-ECHO, and answers queries with nothing."""
    entity = AE("PACS")
    for one in (*classes, "1.2.840.10008.1.1"):
        entity.add_supported_context(one)
    handlers = [(evt.EVT_C_FIND, lambda _: iter([(0x0000, None)])), (evt.EVT_C_ECHO, lambda _: 0x0000)]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


def checks_of(port: int, **archive: Any) -> dict[str, Check]:
    entry = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": port} | archive
    settings = Settings.model_validate({"archives": [entry]})
    return {one.name: one for one in check_archive(settings.archives[0], settings)}


def test_an_archive_that_takes_and_gives_everything_is_all_right() -> None:
    with peer([*SEGMENTED, FIND, STORAGE_COMMITMENT]) as port:
        checks = checks_of(port, profile="slicer", commitment=True)
    assert {name: one.outcome for name, one in checks.items()} == dict.fromkeys(
        ("archive pacs", "archive pacs classes", "archive pacs query", "archive pacs commitment"), Outcome.OK
    )
    assert checks["archive pacs classes"].detail == "3 SOP classes of profile slicer are taken"


def test_a_class_that_is_refused_is_named_with_the_remedy() -> None:
    with peer([uid.SegmentationStorage, FIND]) as port:
        check = checks_of(port, profile="slicer")["archive pacs classes"]
    assert check.outcome is Outcome.FAILED
    report, note = check.detail.split("; ")
    assert note == (
        "Comprehensive 3D SR Storage (1.2.840.10008.5.1.4.1.1.88.34) is refused: allow it there, or "
        'set profile = "plain-pacs"'
    )
    assert report.startswith("Key Object Selection Document Storage") and 'supersede = "delete" or "none"' in report


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"also": ["pdf"]}, "Encapsulated PDF Storage (1.2.840.10008.5.1.4.1.1.104.1) is refused"),
        ({"profile": "plain-pacs"}, 'set captures = "single-frame"'),
        ({"profile": "plain-pacs", "captures": "single-frame"}, "Secondary Capture Image Storage (1.2.840"),
    ],
)
def test_what_an_archive_is_to_have_beside_its_profile_is_looked_at_too(settings: dict[str, Any], told: str) -> None:
    with peer([*SEGMENTED, FIND]) as port:
        check = checks_of(port, **settings)["archive pacs classes"]
    assert check.outcome is Outcome.FAILED and told in check.detail and check.detail.count("refused") == 1


def test_without_rejection_notes_their_class_is_not_asked_for() -> None:
    with peer([*SEGMENTED[:2], FIND]) as port:
        assert checks_of(port, supersede="none")["archive pacs classes"].outcome is Outcome.OK


def test_query_and_commitment_that_are_not_offered_are_told() -> None:
    with peer(SEGMENTED) as port:
        checks = checks_of(port, commitment=True)
    assert checks["archive pacs query"].outcome is Outcome.FAILED
    commitment = checks["archive pacs commitment"]
    assert commitment.outcome is Outcome.FAILED and "set commitment = false" in commitment.detail


def test_air_is_a_warning_and_the_others_are_none() -> None:
    port = free_port()
    warned = checks_of(port, profile="air")["archive pacs profile"]
    assert warned.outcome is Outcome.WARNING and 'set profile = "ohif"' in warned.detail
    assert "archive pacs profile" not in checks_of(port, profile="ohif")


def test_an_archive_that_is_not_there_is_asked_nothing_more() -> None:
    checks = checks_of(free_port(), profile="ohif", commitment=True)
    assert list(checks) == ["archive pacs"] and checks["archive pacs"].outcome is Outcome.FAILED
    assert "check [[archives]] ae_title, host and port" in checks["archive pacs"].detail


def test_what_goes_by_stow_needs_no_association() -> None:
    port = free_port()
    web = f"http://127.0.0.1:{free_port()}"
    checks = checks_of(port, profile="ohif", delivery="stow-rs", dicomweb_url=f"{web}/dicom-web", orthanc_url=web)
    assert checks["archive pacs"].outcome is Outcome.WARNING and "STOW-RS" in checks["archive pacs"].detail
    assert checks["archive pacs DICOMweb"].outcome is Outcome.FAILED
    assert checks["archive pacs Orthanc"].outcome is Outcome.FAILED


def test_every_kind_of_object_has_its_classes() -> None:
    assert set(SOP_CLASSES) == set(ResultKind) and all(SOP_CLASSES.values())
