"""Coded findings: labels of our table, or mappings that bring their own codes -> SegmentedConcepts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field, ValidationError

from dicom_node.results.codes import LABELS, concept_for
from dicom_node.results.finding import Code, SegmentedConcept
from inference.suggestions import similar_name
from workflows.protocols.nodes import kind_of
from workflows.protocols.values import ENOUGH, Part, Reads, again, archived, fault, wrong

__all__ = ["FINDINGS", "FINDING_LABELS", "FindingDocument", "Findings"]

FINDING_LABELS = (*LABELS, *(re.sub(r"^(.*) (left|right)$", r"\2 \1", label) for label in LABELS))
"""The labels as they stand in the table, and as people say them."""


class CodeDocument(Part):
    """A coded concept (PS3.3 8.8)."""

    to_write: ClassVar[Mapping[str, str]] = {
        "value": "value: '367643001'", "scheme": "scheme: SCT", "meaning": "meaning: Cyst",
    }  # fmt: skip

    value: Annotated[str, archived(16)]
    scheme: Annotated[str, archived(16)]
    meaning: Annotated[str, archived(64)]

    def code(self) -> Code:
        """The code itself."""
        return Code(self.value, self.scheme, self.meaning)


class FindingDocument(Part):
    """A finding with its own codes (PS3.3 C.8.20.4)."""

    to_write: ClassVar[Mapping[str, str]] = {
        "label": "label: renal cyst",
        "category": "category: {value: '49755003', scheme: SCT, meaning: Morphologically Abnormal Structure}",
        "type": "type: {value: '367643001', scheme: SCT, meaning: Cyst}",
    }
    called: ClassVar[str] = "a finding with its own codes"

    label: Annotated[str, archived(64), Field(description="name of the segment")]
    category: CodeDocument
    type: CodeDocument
    laterality: CodeDocument | None = None
    site: Annotated[CodeDocument | None, Field(description="where in the body it lies")] = None

    def concept(self) -> SegmentedConcept:
        """What it is coded as."""
        laterality, site = (None if one is None else one.code() for one in (self.laterality, self.site))
        return SegmentedConcept(self.label, self.category.code(), self.type.code(), laterality, site)


def _findings(value: Any) -> tuple[SegmentedConcept, ...]:
    """The findings of a question. An empty list is meant: an answer in words, and nothing is marked."""
    if kind_of(value) == "empty":
        raise wrong("{what} is empty; name what may be marked, or write [] for an answer in words only")
    faults: list[Any] = []
    found: dict[str, SegmentedConcept] = {}
    for index, entry in enumerate(value if isinstance(value, list) else [value]):
        if len(faults) >= ENOUGH:
            break
        loc = (index,) if isinstance(value, list) else ()
        try:
            concept = _concept(entry)
        except ValidationError as error:
            faults += [again(detail, loc) for detail in error.errors(include_url=False)]
            continue
        if isinstance(concept, str):
            faults.append(fault(loc, concept))
        elif concept.label in found:
            faults.append(fault(loc, f"finding {concept.label!r} stands twice in a question; remove one"))
        else:
            found[concept.label] = concept
    if faults:
        raise ValidationError.from_exception_data("findings", faults)
    return tuple(found.values())


def _concept(entry: Any) -> SegmentedConcept | str:
    """A label of the coded table, or a mapping that gives the codes itself; or what is wrong with it."""
    if not isinstance(entry, str):
        return FindingDocument.model_validate(entry).concept()
    concept = concept_for(entry)
    if concept is not None:
        return concept
    near = similar_name(entry.casefold(), FINDING_LABELS)
    hint = f"did you mean {near!r}? If not, write" if near else "write"
    return f"no code is known for {kind_of(entry)}; {hint} a mapping with label, category and type"


FINDINGS: dict[str, Any] = {"description": "findings of a question"}
"""Stands in pydantic's schema where `document_schema.py` puts what findings are."""
Findings = Annotated[tuple[SegmentedConcept, ...], Reads(_findings, FINDINGS)]
