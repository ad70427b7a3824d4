"""The tables of docs/protocols.md from the code and the starter library: python tests/unit/docs/protocols_page.py."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from dicom_node.headers.contrast_phase import PHASES
from inference.card import Region
from tests.plans import modalities_of
from workflows.protocols.fields import FIELDS, Anatomy, Field, Kind
from workflows.protocols.loader import load_directory
from workflows.protocols.schema import ImageKind, Order, ReadingProtocol

PAGE = Path(__file__).resolve().parents[3] / "docs" / "protocols.md"
_TAKES = {Kind.TEXT: "text", Kind.NUMBER: "number", Kind.CODE: "code", Kind.TIME: "time"}
_SHOWS = {Anatomy.NO: "", Anatomy.SHOWN: "yes", Anatomy.BODY_PART: "never alone"}
_ORDERS = {
    Order.ORIGINAL: "before derived, by the first value of Image Type",
    Order.AXIAL: "before coronal, sagittal and oblique",
    Order.THIN: "the thinner slice first",
    Order.THICK: "the thicker slice first",
    Order.MOST_IMAGES: "the series with more images first",
    Order.LATEST: "the later one first, by Series Date and Time, else by Series Number",
}
_KINDS = {
    ImageKind.REFORMATS: "derived images that were cut anew out of a volume: MPR, MIP, curved, rendered",
    ImageKind.CAPTURES: "pictures of a screen, scanned pages, dose reports that are pictures",
    ImageKind.LOCALIZERS: "scouts, surveys, slices that time the contrast of a CT, by Image Type or description",
    ImageKind.OWN_RESULTS: "results of this or another MedSeg Node that are images",
}


def refreshed(page: str, library: Path) -> str:
    """The page with each of its tables made anew."""
    protocols = load_directory(library)
    tables = {
        "fields": _table(("name", "takes", "shows the body part", "what it is", "attributes"), map(_field, _fields())),
        "orders": _table(("order", "which series comes first"), ((f"`{one.value}`", _ORDERS[one]) for one in Order)),
        "kinds": _table(("`include`", "what it is"), ((f"`{one.value}`", _KINDS[one]) for one in ImageKind)),
        "regions": f"{', '.join(f'`{one.value}`' for one in Region)}\n",
        "phases": f"{', '.join(f'`{one}`' for one in PHASES)}\n",
        "library": _table(("protocol", "modality", "in service", "what it asks, or why it is off"), _rows(protocols)),
    }
    for name, table in tables.items():
        marked = re.compile(rf"(<!-- {name}[^>]*-->\n).*?(<!-- end -->)", re.DOTALL)
        page = marked.sub(lambda place, table=table: f"{place[1]}{table}{place[2]}", page, count=1)  # type: ignore[misc]
    return page


def _fields() -> Iterable[Field]:
    """Those of the study first."""
    return sorted(FIELDS.values(), key=lambda one: one.of_series)


def _field(field: Field) -> tuple[str, ...]:
    level = "" if field.of_series else " (study)"
    return f"`{field.name}`{level}", _TAKES[field.kind], _SHOWS[field.anatomy], field.help, field.attributes


def _rows(protocols: Iterable[ReadingProtocol]) -> Iterable[tuple[str, ...]]:
    return map(_row, protocols)


def _row(protocol: ReadingProtocol) -> tuple[str, ...]:
    name = f"[{protocol.name}](../deploy/protocols/{protocol.name}.yaml)"
    off = protocol.off_because.partition(". ")[0].replace("\n", " ")
    modality = ", ".join(modalities_of(protocol.series.where))
    return name, modality, "off" if off else "**yes**", off or protocol.title


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines)


if __name__ == "__main__":
    library = PAGE.parents[1] / "deploy" / "protocols"
    PAGE.write_text(refreshed(PAGE.read_text(encoding="utf-8"), library), encoding="utf-8")
