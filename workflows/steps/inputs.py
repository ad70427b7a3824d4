"""Inputs: the instances that a job was planned for, and whether this host can read them."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

from dicom_node.sop_classes import holds_images
from workflows.data_folder import DataFolder
from workflows.errors import FilesUnreadable
from workflows.state.records import Instance

__all__ = ["images_of", "inputs_of", "require_readable", "unreadable"]


def images_of(instances: Sequence[Instance], series_uid: str | None = None) -> list[Instance]:
    """Those of the instances that hold images, of one series if it is named."""
    return [
        instance
        for instance in instances
        if holds_images(instance.sop_class_uid) and series_uid in (None, instance.series_uid)
    ]


def inputs_of(instances: Sequence[Instance]) -> tuple[str, ...]:
    """SOP Instance UID and digest of each instance, in an order of their own: what the request key is made from."""
    return tuple(sorted(f"{instance.sop_instance_uid}:{instance.digest}" for instance in instances))


def require_readable(instances: Sequence[Instance], folder: DataFolder) -> None:
    """Raise FilesUnreadable, naming host and path, unless every file is there.

    That a file is not seen from here is no proof that it is gone: only the SCP's sweep declares an instance lost.
    """
    for instance in instances:
        path = folder.absolute(instance.path)
        if not (path.is_file() and os.access(path, os.R_OK)):
            raise FilesUnreadable(
                f"{socket.gethostname()} cannot read {path}: check that data_dir is mounted there; if the file is "
                "gone, send the study again"
            )


def unreadable(error: OSError) -> str:
    """What a disk or a network said while files were read or written, with the host."""
    return (
        f"{socket.gethostname()}: {error.strerror or type(error).__name__}: {error.filename or 'a file of this study'}"
    )
