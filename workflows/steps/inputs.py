"""Inputs: the instances that a job was planned for, whether this host can read them, and as they were received."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Sequence

from dicom_node.errors import UnparseableInstance
from dicom_node.sop_classes import holds_images
from dicom_node.storage.part10 import data_set_offset
from workflows.data_folder import DataFolder
from workflows.errors import FilesUnreadable
from workflows.state.records import Instance

__all__ = ["damaged_among", "images_of", "inputs_of", "is_intact", "require_intact", "require_readable", "unreadable"]


def images_of(instances: Sequence[Instance], series_uid: str | None = None) -> list[Instance]:
    """Those of the instances that hold images, of one series if it is named."""
    return [
        instance
        for instance in instances
        if holds_images(instance.sop_class_uid) and series_uid in (None, instance.series_uid)
    ]


def inputs_of(instances: Sequence[Instance]) -> tuple[str, ...]:
    """SOP Instance UID and digest of each instance, in an order of their own: what the request key is made from."""
    return tuple(sorted(f"{instance.sop_instance_uid}:{instance.input_digest}" for instance in instances))


def require_readable(instances: Sequence[Instance], folder: DataFolder) -> None:
    """Raise FilesUnreadable, naming host and path, unless every file is there.

    That a file is not seen from here is no proof that it is gone: `steps/integrity` and the SCP's sweep find that out.
    """
    for instance in instances:
        path = folder.absolute(instance.path)
        if not (path.is_file() and os.access(path, os.R_OK)):
            raise FilesUnreadable(
                f"{socket.gethostname()} cannot read {path}: check that data_dir is mounted there; if the file is "
                "gone, send the study again"
            )


def is_intact(instance: Instance, folder: DataFolder) -> bool:
    """Whether a file has the data set that was received, by its sha256; OSError where it cannot be read."""
    with folder.absolute(instance.path).open("rb") as file:
        try:
            file.seek(data_set_offset(file))
        except UnparseableInstance:
            return False
        return hashlib.file_digest(file, "sha256").hexdigest() == instance.digest


def damaged_among(instances: Sequence[Instance], folder: DataFolder) -> list[Instance]:
    """Those of the instances whose files have other bytes than were received; about 1.5 GB a second are looked at."""
    return [instance for instance in instances if not is_intact(instance, folder)]


def require_intact(instances: Sequence[Instance], folder: DataFolder) -> None:
    """Raise FilesUnreadable, naming host and path, where a file is not what was received: it must not be read."""
    for instance in damaged_among(instances, folder):
        raise FilesUnreadable(
            f"{socket.gethostname()} reads other bytes in {folder.absolute(instance.path)} than were received: it is "
            "set aside and asked for again"
        )


def unreadable(error: OSError) -> str:
    """What a disk or a network said while files were read or written, with the host."""
    return (
        f"{socket.gethostname()}: {error.strerror or type(error).__name__}: {error.filename or 'a file of this study'}"
    )
