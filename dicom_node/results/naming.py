"""What findings are called for readers who see a code's meaning and nothing beside it, such as OHIF's.

The side, which the code says in an item of its own, then stands in the meaning.
"""

from __future__ import annotations

from dicom_node.results import codes
from dicom_node.results.concept import Code, SegmentedConcept

__all__ = ["contour_site", "sided_site", "sided_type"]


def sided_type(concept: SegmentedConcept) -> Code:
    """The type, such as "Left kidney"."""
    return _sided(concept.type, concept.laterality)


def sided_site(concept: SegmentedConcept) -> Code | None:
    """The finding site, such as "Left lung"; an organ is its own site; None where nothing says where it is."""
    site = concept.site or (concept.type if concept.category == codes.ANATOMY else None)
    return None if site is None else _sided(site, concept.laterality)


def contour_site(concept: SegmentedConcept) -> Code:
    """The site of a contour, whose meaning says what it is around: "Consolidation, left lung", "Left kidney".

    OHIF names a contour by its site alone. What has no site gets a private code that says so.
    """
    site = sided_site(concept)
    if site is None:
        return codes.SITE_NOT_STATED._replace(meaning=concept.type.meaning)
    if concept.category == codes.ANATOMY and concept.site is None:
        return site
    words = [word for word in concept.label.split() if word not in ("left", "right")]
    what = " ".join(words) or concept.type.meaning
    return site._replace(meaning=f"{what[:1].upper()}{what[1:]}, {_lower(site.meaning)}")


def _sided(code: Code, side: Code | None) -> Code:
    if side is None or side.meaning.casefold() in code.meaning.casefold().split():
        return code
    return code._replace(meaning=f"{side.meaning} {_lower(code.meaning)}")


def _lower(meaning: str) -> str:
    """As it stands inside a phrase; an abbreviation stays as it is."""
    return meaning if meaning[1:2].isupper() else f"{meaning[:1].lower()}{meaning[1:]}"
