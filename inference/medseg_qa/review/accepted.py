"""Export of what the review accepted."""

from __future__ import annotations

from pathlib import Path

from inference.medseg_qa.errors import ReviewError
from inference.medseg_qa.export import ExportFormat, export
from inference.medseg_qa.records import Conversation, read_records
from inference.medseg_qa.review.store import ReviewStore

__all__ = ["export_accepted"]


def export_accepted(directory: Path, database: Path, out: Path, layout: ExportFormat) -> int:
    """Export accepted conversations only, with the readers' edits; returns the number of records.

    Raises ReviewError if there is no database or nothing was accepted.
    """
    if not database.is_file():
        raise ReviewError(f"{database} does not exist; start one with 'medseg-qa review'")
    accepted = ReviewStore(database).accepted()
    kept: dict[str, Conversation] = {}
    for record in read_records(directory):
        for conversation in record.conversations:
            if conversation.id in accepted:
                turns = accepted[conversation.id] or conversation.turns
                kept[conversation.id] = Conversation(conversation.id, conversation.annotator, turns)
    if not kept:
        raise ReviewError("no item is accepted by all of its readers yet")
    return export(directory, out, layout, kept)
