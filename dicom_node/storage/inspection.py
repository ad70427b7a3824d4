"""What an instance is, read from its data set and held against the command that brought it."""

from __future__ import annotations

from io import BytesIO
from mmap import mmap
from typing import BinaryIO, Protocol, cast

from pydicom.dataset import Dataset

from dicom_node.errors import IdentifierMismatch
from dicom_node.headers.elements import read_data_set_header
from dicom_node.headers.instance import (
    INSTANCE_KEYWORDS,
    InstanceHeader,
    InstanceIdentifiers,
    checked_identifiers,
    instance_header,
)
from dicom_node.headers.quick import quick_header

__all__ = ["Command", "inspect_beginning", "inspect_data_set"]


class Command(Protocol):
    """What a C-STORE command says of its data set (PS3.7 9.1.1)."""

    @property
    def sop_class_uid(self) -> str: ...
    @property
    def sop_instance_uid(self) -> str: ...
    @property
    def transfer_syntax_uid(self) -> str: ...


def inspect_data_set(contents: bytes | mmap, command: Command) -> tuple[InstanceIdentifiers, InstanceHeader]:
    """Which instance a data set without file meta is, and what a row keeps of it; pixels are not touched.

    Raises UnparseableInstance for bytes that are no data set, and IdentifierMismatch for UIDs that are missing,
    malformed or other than the command's (PS3.4 B.2.3).
    """
    found = quick_header(contents, command.transfer_syntax_uid)
    if found is None:
        header = _header(contents, command.transfer_syntax_uid)
        found = checked_identifiers(header), instance_header(header)
    _require_agreement(found[0], command)
    return found


def inspect_beginning(
    beginning: bytes, size: int, command: Command
) -> tuple[InstanceIdentifiers, InstanceHeader] | None:
    """The same from the first bytes of a data set of so many; None: they do not tell. Raises IdentifierMismatch."""
    found = quick_header(beginning, command.transfer_syntax_uid, size)
    if found is not None:
        _require_agreement(found[0], command)
    return found


def _header(contents: bytes | mmap, transfer_syntax_uid: str) -> Dataset:
    stream = BytesIO(contents) if isinstance(contents, bytes) else cast(BinaryIO, contents)
    return read_data_set_header(stream, transfer_syntax_uid, INSTANCE_KEYWORDS)


def _require_agreement(identifiers: InstanceIdentifiers, command: Command) -> None:
    for name, in_data_set, in_command in (
        ("SOP Instance UID", identifiers.sop_instance_uid, command.sop_instance_uid),
        ("SOP Class UID", identifiers.sop_class_uid, command.sop_class_uid),
    ):
        if in_data_set != in_command:
            raise IdentifierMismatch(f"{name} is {in_data_set} in the data set, {in_command[:64]} in the command")
