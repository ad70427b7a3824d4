"""What peers send, and a protocol file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    KeyObjectSelectionDocumentStorage,
)

from tests.unit.dicom_node.hostile.encoding import (
    element,
    image,
    item,
    named,
    nested,
    save,
)
from tests.unit.dicom_node.hostile.making import (
    MILLION,
    Hostile,
)
from tests.unit.dicom_node.hostile.outcome import Way


def _reference(number: int) -> bytes:
    return item(named("ReferencedSOPInstanceUID", f"1.2.{number}")[1])


def _code(keyword: str, value: str, scheme: str, meaning: str) -> tuple[int, bytes]:
    concept = (
        named("CodeValue", value)[1] + named("CodingSchemeDesignator", scheme)[1] + named("CodeMeaning", meaning)[1]
    )
    return named(keyword, item(concept))


def _note(folder: Path) -> None:
    """A rejection note with a million references."""
    series = named("ReferencedSOPSequence", _reference(1) * MILLION)[1] + named("SeriesInstanceUID", "1.2.1")[1]
    study = named("ReferencedSeriesSequence", item(series))[1] + named("StudyInstanceUID", "1.2")[1]
    elements = image(SOPClassUID=str(KeyObjectSelectionDocumentStorage), Modality="KO")
    elements |= dict([_code("ConceptNameCodeSequence", "113001", "DCM", "Rejected for Quality Reasons")])
    elements |= dict([named("CurrentRequestedProcedureEvidenceSequence", item(study))])
    save(folder / "a.dcm", elements)


def _report(content: bytes, syntax: str = "1.2.840.10008.1.2.1") -> Callable[[Path], object]:
    elements = image(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.88.34", Modality="SR", Manufacturer="MedSeg Node", StudyDate="20260101"
    )
    elements[0x0040A730] = content
    return lambda folder: save(folder / "a.dcm", elements, syntax)


def peer_cases() -> Iterator[Hostile]:
    yield Hostile("a rejection note with a million references", Way.INTAKE, r"holds more than 100,000 items", _note)
    text = item(named("ValueType", "TEXT")[1])
    yield Hostile(
        "a report of 700,000 content items", Way.REPORT, r"holds more than 100,000 items",
        _report(element(0x0040A730, "SQ", text * 700_000)),
    )  # fmt: skip
    yield Hostile(
        "a report that inflates to 300 MB", Way.REPORT, r"inflates to more than 32 MiB",
        _report(element(0x0040A730, "SQ", item(element(0x0040A160, "UT", bytes(300 << 20)))),
                DeflatedExplicitVRLittleEndian),
    )  # fmt: skip
    yield Hostile(
        "a report nested 1,000 deep", Way.REPORT, r"broken|question|nests",
        _report(nested(0x0040A730, 1000, defined=True)),
    )  # fmt: skip
    yield Hostile(
        "an answer to storage commitment with a million references", Way.COMMITMENT, r"status 0x0115",
        lambda folder: (folder / "a.dcm").write_bytes(
            named("TransactionUID", "1.2.3")[1] + named("ReferencedSOPSequence", _reference(1) * MILLION)[1]
        ),
    )  # fmt: skip


def protocol_cases() -> Iterator[Hostile]:
    laughs = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{name}: &{name} [{', '.join(['*' + before] * 10)}]\n"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    yield Hostile(
        "a protocol of a billion laughs", Way.PROTOCOL, r"more than 50,000",
        lambda folder: (folder / "a.yaml").write_text(laughs),
    )  # fmt: skip
    yield Hostile(
        "a protocol nested 10,000 deep", Way.PROTOCOL, r"nested too deep",
        lambda folder: (folder / "a.yaml").write_text("questions: " + "[" * 10_000),
    )  # fmt: skip
