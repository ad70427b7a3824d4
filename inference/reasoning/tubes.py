"""Things that run through the body as tubes do: how far their mask reaches says nothing of how wide they are."""

from __future__ import annotations

import re
from functools import cache

from inference.reasoning.names import knowledge_of

__all__ = ["is_round_tube", "is_tube"]

_TUBES = re.compile(
    r"aort|vena cava|\bvein|\bveno|arter|vessel|vascul|brachiocephalic|subclavian|carotid|jugular|oesophag|esophag|"
    r"airway|trachea|bronch|\bureter|urethra|\bduct|bowel|colon|rectum|duoden|intestin|jejunum|ileum|spinal cord|"
    r"\btub(?:e|es|ing|ings)\b|catheter|\blines?\b|\bleads?\b|\bstent"
)
_FINDINGS = re.compile(r"tumou?r|lesion|cyst|polyp|aneurysm|stone|mass\b|thromb|embol|metasta|cancer")
"""Of a tube, and none themselves."""
_ROUND = frozenset({"aorta", "inferior vena cava", "superior vena cava", "esophagus", "trachea"})
"""They run along the body, so that an axial slice cuts across them."""


@cache
def is_tube(phrase: str) -> bool:
    """Whether a thing is a vessel, an airway, a bowel, a tube: its extents run aslant and are never its width."""
    names = [phrase.casefold().replace("_", " "), *(known.label.casefold() for known in knowledge_of(phrase))]
    return any(_TUBES.search(name) and not _FINDINGS.search(name) for name in names)


@cache
def is_round_tube(phrase: str) -> bool:
    """Whether its narrowest width in an axial slice is its diameter."""
    names = {phrase.casefold().replace("_", " "), *(known.label for known in knowledge_of(phrase))}
    return not _ROUND.isdisjoint(names)
