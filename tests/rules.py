"""Selectors of reading protocols, as short as tests want them."""

from __future__ import annotations

from workflows.protocols.conditions import AllOf, Equals, Pattern, Test
from workflows.protocols.schema import SeriesSelector

__all__ = ["of_modality"]


def of_modality(*modalities: str, described_as: str = "") -> SeriesSelector:
    """Every series of these modalities; `described_as`: a pattern that its descriptions must match."""
    described = (Test("description", (Pattern(described_as),)),) if described_as else ()
    return SeriesSelector(AllOf((Test("modality", (Equals(modalities),)), *described)))
