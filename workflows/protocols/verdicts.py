"""Verdict: what one reading protocol says of one series or study; Ground: why, condition by condition. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workflows.protocols.truth import Truth

__all__ = ["Ground", "Verdict", "off"]

_OFF = "off: "


@dataclass(frozen=True, init=False)
class Verdict:
    """Whether a protocol asks a series, and the reason, in one clause.

    `series_uid`: None where the verdict speaks of the whole study. `missing`: attributes that a header does not have
    and that the verdict turned on, such as `Slice Thickness (0018,0050)`. `flags`: what a person should look at though
    the verdict stands, such as a Body Part Examined that the procedure code contradicts.
    """

    asked: bool
    protocol: str
    series_uid: str | None
    reason: str
    version: str = ""
    missing: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()

    def __init__(
        self,
        asked: bool,
        protocol: str,
        series_uid: str | None,
        reason: str,
        version: str = "",
        missing: tuple[str, ...] = (),
        flags: tuple[str, ...] = (),
    ) -> None:
        # What a frozen dataclass does for itself takes three times as long, and a study can have thousands.
        self.__dict__.update(
            asked=asked, protocol=protocol, series_uid=series_uid, reason=reason, version=version, missing=missing,
            flags=flags,
        )  # fmt: skip

    @property
    def named(self) -> str:
        """Name and version of the protocol."""
        return f"{self.protocol} {self.version}".strip()

    @property
    def is_off(self) -> bool:
        """Whether the protocol is off, so that it says nothing of the study."""
        return not self.asked and self.series_uid is None and self.reason.startswith(_OFF)

    def as_json(self) -> dict[str, Any]:
        """As the database and `--json` have it."""
        return {
            "asked": self.asked,
            "protocol": self.protocol,
            "series_uid": self.series_uid,
            "reason": self.reason,
            "version": self.version,
            "missing": list(self.missing),
            "flags": list(self.flags),
        }

    @staticmethod
    def from_json(entry: dict[str, Any]) -> Verdict:
        """The inverse of `as_json`; entries of 0.1 have name and version in one."""
        return Verdict(**{**entry, "missing": tuple(entry.get("missing", ())), "flags": tuple(entry.get("flags", ()))})


def off(protocol: str, version: str, because: str) -> Verdict:
    """Of a protocol that is off."""
    return Verdict(False, protocol, None, f"{_OFF}{because}", version)


@dataclass(frozen=True)
class Ground:
    """One condition of a protocol, asked of one study or series: a leaf is a test, others say what they are made of.

    `where`: its place in the file, `when.all[2].sex`. `told`: one clause with what was wanted and what stands there.
    """

    where: str
    truth: Truth
    told: str
    missing: tuple[str, ...] = ()
    beneath: tuple[Ground, ...] = ()
