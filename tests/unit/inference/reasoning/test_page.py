"""The page about reasoning shows the reference values that are used."""

from __future__ import annotations

from pathlib import Path

from inference.reasoning.references import references

PAGE = Path(__file__).parents[4] / "docs" / "reasoning.md"


def test_the_page_has_every_reference_value_with_its_source_and_no_other() -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    start = next(number for number, row in enumerate(rows) if row.startswith("| label | measured"))
    shown = [row for row in rows[start + 1 :] if not row.startswith("|---")]
    sexes = {"M": "men", "F": "women", "": "adults"}
    assert shown == [
        f"| {entry.label} | {entry.measure} | "
        f"{sexes[entry.sex]}{', ' + ' or '.join(sorted(entry.level)) if entry.level else ''} | {entry.text} | "
        f"{entry.citation} | {entry.basis} |"
        for entry in references()
    ]
