"""DataFolder: where instances and results lie, and the marker that says whose folder it is.

    DATA_DIR/node.json     the node's identity, which its database knows too
    DATA_DIR/intake/       what was acknowledged and has no row yet (`dicom_node.storage.Journal`)
    DATA_DIR/instances/    what was received (`dicom_node.storage.InstanceStore`)
    DATA_DIR/quarantine/   what cannot be indexed (`workflows/quarantine.py`)
    DATA_DIR/results/      what was made of it
    DATA_DIR/reviews/      masks that reviewers drew, a folder a study (`workflows/steps/corrections.py`)
    DATA_DIR/headers/      a header of each series whose images were removed
    DATA_DIR/run/          which roles run, when each last proved that it works, whether there is room; may be lost

Paths in the database are relative to this folder, so that it can be moved with its database.
"""

from __future__ import annotations

import json
import os
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from workflows.errors import SettingsError

__all__ = ["DataFolder", "new_node_uid"]

_MARKER = "node.json"


def new_node_uid() -> str:
    """An identity for a node that has none yet."""
    return uuid.uuid4().hex


@dataclass(frozen=True)
class DataFolder:
    """A node's folder; `root` is absolute."""

    root: Path

    @property
    def instances(self) -> Path:
        """Root of the instance store."""
        return self.root / "instances"

    @property
    def intake(self) -> Path:
        """Folder of the journal."""
        return self.root / "intake"

    @property
    def quarantine(self) -> Path:
        """Folder of the instances that cannot be indexed."""
        return self.root / "quarantine"

    @property
    def results(self) -> Path:
        """Folder of the saved result objects."""
        return self.root / "results"

    @property
    def reviews(self) -> Path:
        """Folder of the corrected masks."""
        return self.root / "reviews"

    @property
    def headers(self) -> Path:
        """Folder of the headers that stay of removed images."""
        return self.root / "headers"

    @property
    def run(self) -> Path:
        """Folder of what is only true while roles run."""
        return self.root / "run"

    @property
    def marker(self) -> Path:
        """The file that says whose folder this is."""
        return self.root / _MARKER

    def absolute(self, path: Path) -> Path:
        """Where a path of the database lies."""
        return self.root / path

    def relative(self, path: Path) -> Path:
        """The path as the database keeps it."""
        return path.relative_to(self.root)

    def node_uid(self) -> str | None:
        """The identity that the folder carries; None where it has no marker.

        Raises SettingsError for a marker that cannot be read.
        """
        try:
            uid = json.loads(self.marker.read_text(encoding="utf-8"))["node"]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SettingsError(f"{self.marker} cannot be read ({error}): restore it from a backup") from error
        if not isinstance(uid, str) or not uid:
            raise SettingsError(f"{self.marker} names no node: restore it from a backup")
        return uid

    def claim(self, node_uid: str) -> str:
        """Mark the folder with an identity, and return the one that it has: another process may have been quicker.

        Raises SettingsError where nothing can be written.
        """
        found = self.node_uid()
        if found is not None:
            return found
        written = self.root / f".{_MARKER}.{uuid.uuid4().hex}"
        about = "the identity of this node, which its database knows too: keep it with the folder"
        try:
            with written.open("x", encoding="utf-8") as file:
                file.write(json.dumps({"node": node_uid, "about": about}) + "\n")
            with suppress(FileExistsError):
                os.link(written, self.marker)
        except OSError as error:
            raise SettingsError(f"[node] data_dir {self.root} cannot be written to: {error.strerror}") from error
        finally:
            written.unlink(missing_ok=True)
        return self.node_uid() or node_uid

    def has_instances(self) -> bool:
        """Whether the instance store holds anything."""
        try:
            return any(not entry.name.startswith(".") for entry in self.instances.iterdir())
        except FileNotFoundError:
            return False
