"""How near answers come to the set's own: BLEU-4 (sacrebleu), ROUGE-L (rouge-score), METEOR (nltk).

METEOR here matches exact words and stems only, no synonyms, since WordNet is not on every machine: its name says so.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import sacrebleu
from nltk.stem.porter import PorterStemmer
from nltk.translate.meteor_score import single_meteor_score
from rouge_score.rouge_scorer import RougeScorer

__all__ = ["text_scores"]

_WORD = re.compile(r"\w+")


class _NoSynonyms:
    """Stands where nltk expects WordNet: no word has any."""

    def synsets(self, _word: str) -> list[Any]:
        return []


def text_scores(answers: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """Return `bleu4`, `rouge_l` and `meteor_exact_stem`, 0 to 1, of answers against one reference each.

    Raises ValueError where there is not one reference for each answer.
    """
    if len(answers) != len(references) or not answers:
        raise ValueError(f"{len(answers)} answers, {len(references)} references")
    rouge = RougeScorer(["rougeL"], use_stemmer=True)
    pairs = list(zip(references, answers, strict=True))
    stemmer, none = PorterStemmer(), _NoSynonyms()
    return {
        "bleu4": round(sacrebleu.corpus_bleu(list(answers), [list(references)]).score / 100, 4),
        "rouge_l": round(float(np.mean([rouge.score(one, other)["rougeL"].fmeasure for one, other in pairs])), 4),
        "meteor_exact_stem": round(
            float(
                np.mean(
                    [
                        single_meteor_score(_words(one), _words(other), stemmer=stemmer, wordnet=none)
                        for one, other in pairs
                    ]
                )
            ),
            4,
        ),
    }


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())
