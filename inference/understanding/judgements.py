"""What a question asks of a thing that no mask tells: "are the lungs clear?", "is the lump benign?"."""

from __future__ import annotations

from collections.abc import Sequence

from inference.understanding.implicit import content_words
from inference.understanding.intents import phrases_in
from inference.understanding.mentions import Mention, Text
from inference.understanding.table import load_words

__all__ = ["judged_words"]

_COPULAS = frozenset({
    "is", "are", "was", "were", "does", "do", "has", "have", "ist", "sind", "sieht", "liegt", "liegen", "sitzt",
    "wirkt", "hat",
})  # fmt: skip


def judged_words(text: Text, found: Sequence[Mention]) -> tuple[str, ...]:
    """Return the words by which a text asks how a thing is, not whether it is there; of names never learned none."""
    unlearned = [one for one in found if not one.entry.all_labels and not one.entry.learned]
    foreign = {place for one in unlearned for place in range(one.start, one.end)}
    foreign |= {len(text.words) - 1} if _is_tag(text) else set()
    kept = [word.word for place, word in enumerate(text.words) if place not in foreign]
    judged = phrases_in("judgements", f" {' '.join(kept)} ")
    first = text.plain.split()[:2]
    if judged or not first or first[0] not in _COPULAS or "there" in first or "es" in first:
        return judged
    return content_words(text, found)


def _is_tag(text: Text) -> bool:
    """Whether the last word only asks for agreement: "there is no spleen, correct?"."""
    return bool(text.words) and text.words[-1].comma and text.words[-1].word in load_words().sets["tags"]
