"""Instances in quarantine: which a person means, and handing one back to be indexed."""

from __future__ import annotations

from collections.abc import Sequence

from dicom_node.errors import InstanceRefused, StorageFull
from dicom_node.storage.sink import InstanceSink
from workflows.quarantine import Quarantine, QuarantinedInstance
from workflows.state.repository import Repository
from workflows.steps.setting_aside import give_back

__all__ = ["chosen_from", "discard_from", "release_from"]


def chosen_from(quarantine: Quarantine, identifiers: Sequence[str]) -> list[QuarantinedInstance]:
    """The instances with these IDs. Raises LookupError naming those that are not there."""
    chosen = {identifier: quarantine.find(identifier) for identifier in identifiers}
    unknown = [identifier[:64] for identifier, one in chosen.items() if one is None]
    if unknown:
        raise LookupError(f"nothing in quarantine has the ID {', '.join(unknown)}; look at the list again")
    return [one for one in chosen.values() if one is not None]


def release_from(
    quarantine: Quarantine, one: QuarantinedInstance, sink: InstanceSink, repository: Repository, by: str
) -> str:
    """Hand an instance back to be indexed; what came of it, in a sentence. What still cannot be indexed comes back."""
    try:
        give_back(one, quarantine, sink)
    except (InstanceRefused, StorageFull, OSError) as error:
        return f"cannot be released: {error}"
    repository.record_audit(by, "quarantine-release", one.sop_instance_uid or one.identifier)
    return "handed back to be indexed; if that still cannot be, it is here again with the reason"


def discard_from(quarantine: Quarantine, one: QuarantinedInstance, repository: Repository, by: str) -> str:
    """Delete an instance for good. The audit has its line first: an instance that is gone was always accounted for."""
    repository.record_audit(by, "quarantine-discard", one.sop_instance_uid or one.identifier)
    quarantine.discard(one)
    return "deleted"
