"""Question language: whether a question is written in a language that is understood; English and German are."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["not_understood"]

# Words that hold a sentence together, by language. What English and German have, too, is left out.
_WORDS = {
    "French": "où ou est sont le la les du des dans quel quelle quels quelles combien une y il elle avec foie taille",
    "Spanish": "dónde donde está esta están el los las del hay cuál cual cuánto una qué que es en con hígado",
    "Italian": "dove dov è sono il lo gli della del dei nel c'è ce quale quanto una che fegato si vede",
    "Portuguese": "onde está estão o os da do dos há qual quanto uma que fígado no na",
    "Dutch": "waar zijn het een hoe groot welke wat van de er zit ligt lever is",
    "Polish": "gdzie jest są czy jak duży duża który która wątroba na w",
    "Czech": "kde je jsou jak velký velká která který játra v",
    "Danish, Norwegian or Swedish": "hvor er den det stor leveren hvilken var är finns någon hur stor levern vilken",
    "Turkish": "nerede var mı mi ne kadar hangi büyük karaciğer",
}
_BY_LANGUAGE = {language: frozenset(words.split()) for language, words in _WORDS.items()}
_ENGLISH = """where what which is are how the a an of this any there does do has have can you see show find mark large
big patient and or if could explain why who name describe"""
_GERMAN = """wo was welche welcher welches ist sind wie der die das den dem des ein eine einen gibt es zeige hat man
sieht gross groß patient und oder erklären warum markiere"""
_UNDERSTOOD = frozenset((_ENGLISH + " " + _GERMAN).split())
_LEAST = 2


def not_understood(text: str) -> str:
    """The language that a question seems to be in, where it is none that is understood; "" for any other."""
    letters = [letter for letter in text if letter.isalpha()]
    latin = [letter for letter in letters if "LATIN" in unicodedata.name(letter, "")]
    if letters and len(latin) * 2 < len(letters):
        return "one of other letters"
    words = re.findall(r"[^\W\d_]+", text.casefold())
    understood = sum(word in _UNDERSTOOD for word in words)
    counted = {language: sum(word in known for word in words) for language, known in _BY_LANGUAGE.items()}
    language = max(counted, key=lambda one: counted[one])
    return language if counted[language] >= _LEAST and counted[language] > understood else ""
