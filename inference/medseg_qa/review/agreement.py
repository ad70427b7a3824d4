"""Agreement of two readers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

__all__ = ["cohens_kappa"]


def cohens_kappa(pairs: Sequence[tuple[str, str]]) -> float | None:
    """Cohen's kappa of (first reader, second reader) categories (Cohen 1960).

    None without any pair, or where chance alone would make both always agree.
    """
    if not pairs:
        return None
    total = len(pairs)
    observed = sum(first == second for first, second in pairs) / total
    firsts, seconds = Counter(first for first, _ in pairs), Counter(second for _, second in pairs)
    expected = sum(firsts[category] * seconds[category] for category in firsts) / total**2
    return None if expected == 1 else (observed - expected) / (1 - expected)
