"""Texts of the worklist: names as people read them, and what a search compares. Pure."""

from __future__ import annotations

import unicodedata

from dicom_node.headers.plain import plain

__all__ = ["LONGEST_SHOWN", "contains_pattern", "folded", "search_words", "searched", "shown_name", "shown_text"]

LONGEST_SHOWN = 200
"""Characters of a text from outside that a row shows."""
_LONGEST_SEARCHED = 1000
_MOST_WORDS = 8
_PLAIN = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "æ": "ae", "œ": "oe", "ı": "i", "þ": "th"})
_APART = str.maketrans(dict.fromkeys("^=|\\,;\t\n\r\u2028\u2029", " "))


def folded(text: str) -> str:
    """A text as searches compare it: no case, no accents, no controls, one space between words.

    Both what is searched for and what is searched in go through it, so every script is compared as it is.
    """
    plain = unicodedata.normalize("NFKD", text.translate(_APART)).casefold()
    kept = (letter for letter in plain if unicodedata.category(letter) not in ("Mn", "Cc", "Cf", "Cs", "Co", "Cn"))
    return " ".join("".join(kept).translate(_PLAIN).split())


def searched(*texts: str) -> str:
    """The texts of a study in one, folded; of each no more than anybody types."""
    return "|".join(folded(text[:_LONGEST_SEARCHED]) for text in texts)


def search_words(query: str) -> list[str]:
    """The words of a search; a row matches that holds each of them somewhere."""
    return folded(query[:_LONGEST_SEARCHED]).split()[:_MOST_WORDS]


def contains_pattern(word: str) -> str:
    r"""The LIKE pattern of whatever holds `word`; the escape character is `\`."""
    escaped = word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def shown_text(text: str) -> str:
    """A text from outside on one line, not too long, without controls or what turns the direction of writing round."""
    line = plain(text, 2 * LONGEST_SHOWN)
    line = " ".join("".join(letter for letter in line if unicodedata.category(letter) != "Cf").split())
    return line if len(line) <= LONGEST_SHOWN else line[: LONGEST_SHOWN - 1].rstrip() + "…"


def shown_name(name: str) -> str:
    """A person's name (VR PN, PS3.5 6.2.1) as people read it: `Family^Given^Middle` is "Family, Given Middle".

    The first of its representations (alphabetic, ideographic, phonetic) that says anything.
    """
    group = next((one for one in name.split("=") if one.strip("^ ")), "")
    family, *others = (part.strip() for part in group.split("^"))
    given = " ".join(filter(None, others[:2]))
    return shown_text(", ".join(filter(None, (family, given))))
