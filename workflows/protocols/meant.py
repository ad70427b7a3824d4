"""Meant: the value of a field that a person may have meant by one that it never has. Pure."""

from __future__ import annotations

from dicom_node.headers.body_regions import regions_in

__all__ = ["choice_meant"]

_WORDS = {
    "sex": {"female": "F", "weiblich": "F", "w": "F", "woman": "F", "frau": "F", "male": "M", "männlich": "M",
            "man": "M", "mann": "M", "divers": "O", "other": "O"},
    "plane": {"transversal": "axial", "transverse": "axial", "tra": "axial", "axiale": "axial", "kor": "coronal",
              "koronar": "coronal", "sag": "sagittal", "schräg": "oblique"},
    "phase": {"nativ": "native", "unenhanced": "native", "plain": "native", "portalvenös": "portal",
              "portal venous": "portal", "arteriell": "arterial", "venös": "venous", "spät": "delayed",
              "late": "delayed"},
}  # fmt: skip


def choice_meant(field: str, said: str) -> str:
    """The value, `Oberbauch` for region: abdomen; "" where none is known, or several are."""
    if field == "region":
        regions = regions_in(said)
        return next(iter(regions)) if len(regions) == 1 else ""
    return _WORDS.get(field, {}).get(said.casefold(), "")
