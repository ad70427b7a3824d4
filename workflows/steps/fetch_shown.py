"""Images that retention removed, fetched from an archive to be looked at: they stay out of the store and of any plan.

They lie in DATA_DIR/results/STUDY/shown, which a purge of the study removes, and are dropped again after a while.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import structlog

from dicom_node.errors import DicomNodeError
from dicom_node.headers.elements import read_file_header, text
from dicom_node.headers.instance import IDENTIFIER_KEYWORDS
from dicom_node.network.archive import Archive
from workflows.data_folder import DataFolder
from workflows.errors import NotShown
from workflows.state.records import Instance

__all__ = ["ArchiveToAsk", "FetchedImages"]

log = structlog.get_logger()

_KEPT_S = 24 * 3600.0
_AGAIN_S = 60.0
"""How long after an archive did not give them it is asked again."""


class ArchiveToAsk(Protocol):
    """Who may have images: `name` for sentences, `archive` opens it."""

    @property
    def name(self) -> str: ...

    @property
    def archive(self) -> Callable[[], Archive]: ...


@dataclass
class FetchedImages:
    """Fetches in the background, one series at a time each; pages ask again until it has come.

    `sources`: who may have what came from an AE title. `start`: runs a fetch; a thread of its own.
    """

    folder: DataFolder
    sources: Callable[[str], Sequence[ArchiveToAsk]]
    start: Callable[[Callable[[], None]], None] = field(
        default=lambda work: threading.Thread(target=work, name="fetch shown", daemon=True).start()
    )
    monotonic: Callable[[], float] = time.monotonic
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _fetching: set[str] = field(default_factory=set, init=False)
    _failed: dict[str, tuple[float, str]] = field(default_factory=dict, init=False)

    def paths_of(self, wanted: Sequence[Instance]) -> dict[str, Path]:
        """Where each of some removed images of one series lies, by SOP Instance UID.

        Raises NotShown while they are fetched ("fetching"), and where nobody gives them ("gone").
        """
        first = wanted[0]
        place = self._place(first)
        paths: dict[str, Path] = {one.sop_instance_uid: place / f"{one.sop_instance_uid}.dcm" for one in wanted}
        missing = [one for one in wanted if not paths[one.sop_instance_uid].is_file()]
        if not missing:
            with suppress(OSError):
                place.touch()  # looked at: kept for another while
            return paths
        self._want(first.series_uid, missing)
        raise NotShown(
            "fetching",
            f"These {len(wanted)} images are no longer kept here. They are being fetched from the archive, to be "
            "looked at; this page shows them as soon as they come.",
        )

    def _place(self, one: Instance) -> Path:
        return self.folder.results / one.study_uid / "shown" / one.series_uid

    def _want(self, key: str, missing: Sequence[Instance]) -> None:
        with self._lock:
            if key in self._fetching:
                return
            failed_at, why = self._failed.get(key, (float("-inf"), ""))
            if self.monotonic() - failed_at < _AGAIN_S:
                raise NotShown("gone", why)
            self._fetching.add(key)

        def work() -> None:
            try:
                why = self._fetch(missing)
            except Exception as error:
                log.exception("shown_not_fetched", study_uid=missing[0].study_uid)
                why = f"Fetching the images failed ({type(error).__name__}); see the node's log."
            with self._lock:
                self._fetching.discard(key)
                self._failed.pop(key, None)
                if why:
                    self._failed[key] = (self.monotonic(), why)

        self.start(work)

    def _fetch(self, missing: Sequence[Instance]) -> str:
        """Have them copied from whoever has them; why not all could be, or ""."""
        self._drop_old()
        place = self._place(missing[0])
        left: set[str] = {one.sop_instance_uid for one in missing}
        told: list[str] = []
        for source in self.sources(missing[0].calling_ae_title):
            folder = place.with_name(f".{place.name}.fetching")
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            place.mkdir(exist_ok=True, mode=0o700)
            try:
                one = missing[0]
                uids = sorted(left)
                source.archive().retrieve(one.study_uid, folder, series_uid=one.series_uid, sop_instance_uids=uids)
                told.append(f"{source.name} has not all of them")
            except (DicomNodeError, OSError) as error:
                told.append(f"{source.name} does not answer: {error}")
            left -= _taken(folder, place, left)
            shutil.rmtree(folder, ignore_errors=True)
            if not left:
                log.info("shown_fetched", study_uid=missing[0].study_uid, images=len(missing))
                return ""
        if not told:
            return (
                f"These images are no longer here: retention removed them, and no archive is configured to fetch "
                f"{_count(len(missing))} from. Send the study again to see it."
            )
        return (
            f"{_count(len(left))} of this series are no longer here, and could not be fetched: {'; '.join(told)}. "
            "Try again in a minute, or send the study again."
        )

    def _drop_old(self) -> None:
        for place in self.folder.results.glob("*/shown/*"):
            with suppress(OSError):
                if time.time() - place.stat().st_mtime > _KEPT_S:
                    shutil.rmtree(place, ignore_errors=True)


def _taken(folder: Path, place: Path, wanted: set[str]) -> set[str]:
    """What of the files in a folder was wanted, now in its place under its UID."""
    taken = set()
    for path in sorted(folder.rglob("*.dcm")):
        try:
            _, header = read_file_header(path, IDENTIFIER_KEYWORDS)
        except (DicomNodeError, OSError):
            continue
        uid = text(header, "SOPInstanceUID")
        if uid in wanted:
            path.replace(place / f"{uid}.dcm")
            taken.add(uid)
    return taken


def _count(images: int) -> str:
    return f"{images} image{'' if images == 1 else 's'}"
