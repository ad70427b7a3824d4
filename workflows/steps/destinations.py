"""Destinations: where the results of a protocol go, in which profile, and how long they are of use. Pure.

A protocol may name archives and a profile of its own; what it does not name is as the settings have it. An archive that
the settings do not have any more stays its destination: results are made, go nowhere else, and wait with a reason until
it is configured again (`no_route`). `protocols check` warns of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from dicom_node.results.profiles import Profile, Wishes
from workflows.protocols.schema import Limits, Results
from workflows.state.records import Destination

__all__ = ["destinations_of", "useful_for_s"]


def destinations_of(
    results: Results, by_settings: Sequence[Destination], archives: Mapping[str, Destination]
) -> tuple[Destination, ...]:
    """Where a protocol's results go, each archive once.

    `by_settings`: where those of a protocol go that names no archive. `archives`: every configured archive by its name,
    with its profile and its wishes. Raises ValueError for a profile that is none.
    """
    profile = Profile(results.profile) if results.profile else None
    missing = Destination("", profile or (by_settings[0].profile if by_settings else Profile.OHIF), Wishes())
    named = [archives.get(name, replace(missing, archive=name)) for name in dict.fromkeys(results.archives)]
    chosen = named or list(by_settings)
    return tuple(chosen if profile is None else (replace(one, profile=profile) for one in chosen))


def useful_for_s(limits: Limits) -> float | None:
    """Seconds after a study's last instance in which an answer is of use; None: at any time."""
    return None if limits.useful_for_minutes is None else 60 * limits.useful_for_minutes
