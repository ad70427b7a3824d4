"""The embedded queue: kombu's queue of folders, where a wake-up that waits already is not kept twice.

Every message says the same, "look", so one file for each queue is enough, and a reader lists a folder of a few files.
The folder is the only thing that is kept: kombu's own would write down its exchanges too, in files that can break.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path
from queue import Empty
from typing import Any

import structlog
from kombu.transport import TRANSPORT_ALIASES, filesystem
from kombu.utils.json import dumps, loads

__all__ = ["BROKEN", "SCHEME", "Channel", "Transport", "register"]

SCHEME = "folder"
BROKEN = "broken"
POLLED_EVERY_S = 0.03

log = structlog.get_logger()


class Channel(filesystem.Channel):  # type: ignore[misc]  # kombu has no types
    """Messages as files; written whole or not at all, and set aside where they cannot be read."""

    def get_table(self, exchange: str) -> list[filesystem.exchange_queue_t]:
        """Each exchange has the one queue of its name."""
        return [filesystem.exchange_queue_t(exchange, "", exchange)]

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        """Nothing to write down: see `get_table`."""

    def _put(self, queue: str, payload: Any, **_: Any) -> None:
        folder = Path(self.data_folder_out)
        draft = folder / f".{uuid.uuid4().hex}"
        try:
            draft.write_bytes(dumps(payload).encode())
            draft.replace(folder / f"wake-up.{queue}.msg")
        except OSError as error:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
            raise filesystem.ChannelError(f"{folder} takes no message: {error.strerror}") from error

    def _get(self, queue: str) -> Any:
        folder = Path(self.data_folder_in)
        for name in sorted(os.listdir(folder)):
            if not name.endswith(f".{queue}.msg"):
                continue
            if (payload := self._take(folder / name)) is not None:
                return payload
        raise Empty

    def _take(self, file: Path) -> Any:
        """A message, gone from its folder; None for one that somebody else took, or that is none."""
        try:
            written = file.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:  # such as a folder of that name
            self._set_aside(file, str(error.strerror))
            return None
        try:
            payload = loads(written.decode())
            payload["properties"]["delivery_tag"] = uuid.uuid4().hex
            self.message_to_python(payload)
        except Exception as error:  # whatever it is, it is no message
            self._set_aside(file, type(error).__name__)
            return None
        try:
            # What is written under this name meanwhile goes too: it says the same, and who is woken looks after this.
            file.unlink()
        except FileNotFoundError:
            return None
        return payload

    def _set_aside(self, file: Path, why: str) -> None:
        broken = Path(self.data_folder_in).parent / BROKEN
        log.warning("message_set_aside", file=file.name, folder=str(broken), reason=why)
        try:
            broken.mkdir(mode=0o700, exist_ok=True)
            file.replace(broken / f"{uuid.uuid4().hex[:8]}-{file.name}")
        except FileNotFoundError:
            return
        except OSError:
            with contextlib.suppress(OSError):
                file.unlink()

    def _size(self, queue: str) -> int:
        return sum(name.endswith(f".{queue}.msg") for name in os.listdir(self.data_folder_in))


class Transport(filesystem.Transport):  # type: ignore[misc]  # kombu has no types
    """kombu's transport with our channel."""

    Channel = Channel
    polling_interval = POLLED_EVERY_S


def register() -> None:
    """Make `folder://` a scheme of kombu's."""
    TRANSPORT_ALIASES.setdefault(SCHEME, f"{__name__}:Transport")
