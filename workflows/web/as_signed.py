"""What a written review has made of findings, as the study page shows it: names, sizes, what was taken out."""

from __future__ import annotations

from typing import Any

from dicom_node.results.colours import hex_of
from workflows.state.answers import AnswerRecord
from workflows.state.reviewing import FindingPlace, FindingVerdict, Review, ReviewState, VerdictKind
from workflows.web.study_words import value_of

__all__ = ["as_signed", "signed_label", "written"]

_SIGNED = (ReviewState.SIGNED, ReviewState.WRITTEN)


def written(review: Review | None) -> Review | None:
    """A review that is written and not being amended."""
    return review if review is not None and review.state is ReviewState.WRITTEN else None


def signed_label(review: Review | None, place: FindingPlace, label: str) -> str | None:
    """What a finding is called as it was signed; None: it is not there, or not where it was marked."""
    verdict = None if review is None or review.state not in _SIGNED else review.verdict_on(place)
    if verdict is None:
        return label
    return (verdict.label or label) if _stands(verdict, label) else None


def as_signed(findings: list[dict[str, Any]], answer: AnswerRecord | None, review: Review) -> None:
    """Have findings of one answer say what was signed. `answer`: as its reviewer has it; None: all was right."""
    standing = iter(() if answer is None else answer.findings)
    for finding in findings:
        place = FindingPlace.parse(finding["place"])
        verdict = review.verdict_on(place)
        if verdict is None:
            continue
        if not _stands(verdict, finding["label"]):
            finding |= {
                "taken_out": True,
                "value": "",
                "changes": [],
                "details": [],
                "slices": [],
                "largest_slice": None,
            }
        elif (record := next(standing, None)) is not None:
            value, rest = value_of(record)
            finding["details"] = [*rest, *(one for one in finding["details"] if " slice" in one)]
            told = {"label": record.label, "colour": hex_of(record.label), "value": value, "at_least": record.at_least}
            finding |= told if value or record.low_confidence else {**told, "value": finding["value"]}


def _stands(verdict: FindingVerdict, label: str) -> bool:
    if verdict.kind is VerdictKind.ACCEPT or verdict.correction is not None:
        return True
    return verdict.kind is VerdictKind.NAME and verdict.label not in (None, label)
