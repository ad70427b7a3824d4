"""Unmatched: why no protocol asks a study, those that came nearest first, those that are off counted. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from workflows.protocols.verdicts import Verdict

__all__ = ["told_unmatched"]

_NAMED = 5
_REASONS = 3
_OTHER_MODALITY = "modality "
"""How the reason of a series begins whose modality is not the one that is wanted."""


def told_unmatched(verdicts: Sequence[Verdict]) -> str:
    """What the protocols that are on say, each reason once. First those whose `when` held and whose modality is right,
    then those of another modality, then those whose `when` did not hold; among these as they are tried."""
    said: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        said.setdefault(verdict.protocol, []).append(verdict)
    off = [name for name, some in said.items() if all(one.is_off for one in some)]
    on = sorted((name for name in said if name not in off), key=lambda name: min(map(_far, said[name])))
    told = [f"{name}: {_reasons(said[name])}" for name in on[:_NAMED]]
    if len(on) > _NAMED:
        more = len(on) - _NAMED
        told.append(f"and {more} protocol{'' if more == 1 else 's'} more: `medseg-node explain`")
    if off:
        told.append(f"{len(off)} {'is' if len(off) == 1 else 'are'} off" if on else f"all {len(off)} protocols are off")
    return "; ".join(told) or "no reading protocols"


def _far(verdict: Verdict) -> int:
    """How far a protocol is from asking."""
    if verdict.series_uid is None:
        return 2
    return int(verdict.reason.startswith(_OTHER_MODALITY))


def _reasons(verdicts: Sequence[Verdict]) -> str:
    """The nearest ones first."""
    every = list(dict.fromkeys(verdict.reason for verdict in sorted(verdicts, key=_far)))
    more = [f"and {len(every) - _REASONS} reasons more"] if len(every) > _REASONS + 1 else []
    return " / ".join(every[: _REASONS if more else None] + more)
