"""Inputs that mean harm: what each claims, and what has to come of it."""

from __future__ import annotations

from tests.unit.dicom_node.hostile.codestream_cases import codestream_cases
from tests.unit.dicom_node.hostile.header_cases import structure_cases, table_cases, value_cases
from tests.unit.dicom_node.hostile.making import Hostile
from tests.unit.dicom_node.hostile.peer_cases import peer_cases, protocol_cases
from tests.unit.dicom_node.hostile.size_cases import deflate_cases, fragment_cases, size_cases

__all__ = ["CASES", "Hostile"]

CASES = (
    *codestream_cases(), *size_cases(), *fragment_cases(), *deflate_cases(), *structure_cases(), *value_cases(),
    *table_cases(), *peer_cases(), *protocol_cases(),
)  # fmt: skip
