"""What a model is checked for. A row passes, fails, or could not be decided on these images; each says why."""

from __future__ import annotations

import itertools
import math
import resource
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.card import ModelCard
from inference.conformance.phantom import TURNS, Sample, turned
from inference.errors import InputRefused
from inference.interface import Model, Predictor, PredictorDescription, Question, SeenTarget, SliceStack

__all__ = ["ROWS", "Checked", "Outcome", "Seen", "Verdict"]

_SAME = 0.5  # Dice from which a mask is taken for the thing that was meant
_ANY_ORDER = ("slices",)
_REPEATS, _MOST_GROWTH_MB = 4, 64.0


class Outcome(StrEnum):
    """How a row came out."""

    PASS = "pass"
    FAIL = "fail"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Verdict:
    """How a row came out, and why."""

    outcome: Outcome
    why: str


Seen = dict[str, SeenTarget | None]
"""What was seen of each label that was asked for."""


@dataclass(frozen=True)
class Checked:
    """A model with the way to ask it.

    `described`: tells anew who it is, without asking the model that is open. `look`: asks for labels.
    """

    model: Model | Predictor
    described: Callable[[], PredictorDescription]
    sample: Sample

    def look(self, stack: SliceStack, labels: Sequence[str]) -> Seen:
        """Look for labels, by the way that the model has."""
        model = self.model
        if hasattr(model, "locate"):
            return dict(zip(labels, model.locate(stack, labels), strict=True))
        questions = [Question(f"Where is the {label}?", labels=(label,)) for label in labels]
        answers = model.answer(stack, questions)
        named = [{target.phrase.casefold(): target for target in answer.targets} for answer in answers]
        return {label: seen.get(label.casefold()) for label, seen in zip(labels, named, strict=True)}

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the sample that the model has learned; all of them where it has no card."""
        card = getattr(self.model, "card", None)
        labels = tuple(self.sample.truth)
        if not isinstance(card, ModelCard) or card.open_set:
            return labels
        return tuple(label for label in labels if card.learned(label, self.sample.stack.modality))


def describes_itself(checked: Checked) -> Verdict:
    """Name, version and digest, the same each time."""
    first = checked.model.description
    lacking = [name for name in ("name", "version", "digest") if not getattr(first, name)]
    if lacking:
        return Verdict(Outcome.FAIL, f"its description has no {', '.join(lacking)}")
    if checked.described() != first or checked.model.description != first:
        return Verdict(Outcome.FAIL, "asked again it describes itself otherwise: jobs would never find their weights")
    return Verdict(Outcome.PASS, f"{first.name} {first.version}, {first.digest[:12]}")


def has_a_card(checked: Checked) -> Verdict:
    """A card with labels, without which no gate can keep questions from it that it never learned."""
    card = getattr(checked.model, "card", None)
    if not isinstance(card, ModelCard):
        return Verdict(Outcome.FAIL, "no card: nothing keeps it from answering what it never learned")
    if not card.labels and not card.open_set:
        return Verdict(Outcome.FAIL, "its card has no labels: everything would be not assessed")
    labels = {entry.label for entry in card.labels}
    if unknown := sorted(set(card.codes) - labels):
        return Verdict(Outcome.FAIL, f"its card has codes of labels that it does not name: {', '.join(unknown[:3])}")
    return Verdict(Outcome.PASS, f"{len(labels)} labels, {len(card.codes)} codes")


def draws_on_the_grid(checked: Checked) -> Verdict:
    """Masks are bool on the stack's grid and mark something; confidence is from 0 to 1."""
    sample = checked.sample
    seen = checked.look(sample.stack, checked.labels)
    for label, target in seen.items():
        if target is None:
            continue
        mask, wanted = target.mask, sample.stack.values.shape[:3]
        if mask.dtype != np.bool_ or mask.shape != wanted:
            return Verdict(Outcome.FAIL, f"the mask of {label} is {mask.dtype} {mask.shape}, not bool {wanted}")
        if not mask.any():
            return Verdict(Outcome.FAIL, f"{label} is said to be seen, and nothing is marked")
        if not (math.isfinite(target.confidence) and 0 <= target.confidence <= 1):
            return Verdict(Outcome.FAIL, f"the confidence of {label} is {target.confidence}")
    return _of_seen(seen, "bool masks on the grid")


def finds_what_is_there(checked: Checked) -> Verdict:
    """What is there is marked where it is, and not where it would be in a mirror."""
    sample, wrong, right = checked.sample, list[str](), list[str]()
    seen = checked.look(sample.stack, checked.labels)
    for label, target in _seen(seen):
        here, best, axes = _fits(target.mask, sample.truth[label])
        if best >= _SAME and best > here + 0.1:
            wrong.append(f"{label} fits the truth reversed along {_axes(axes)} ({best:.2f}; as it is {here:.2f})")
        elif here >= _SAME:
            right.append(f"{label} {here:.2f}")
    if wrong:
        return Verdict(Outcome.FAIL, "; ".join(wrong))
    if not right:
        return Verdict(Outcome.UNDECIDED, "none of these organs was marked well enough; give --image of what it knows")
    return Verdict(Outcome.PASS, "Dice with the truth: " + ", ".join(right))


def tells_left_from_right(checked: Checked) -> Verdict:
    """Of a pair each is marked on its own side of the patient."""
    sample = checked.sample
    pairs = [label for label in checked.labels if label.endswith((" left", " right"))]
    seen = checked.look(sample.stack, pairs) if pairs else {}
    decided = list[str]()
    for label, target in _seen(seen):
        name, _, side = label.rpartition(" ")
        other = sample.truth.get(f"{name} {'left' if side == 'right' else 'right'}")
        own, opposite = _overlap(target.mask, sample.truth[label]), 0 if other is None else _overlap(target.mask, other)
        if opposite > own:
            return Verdict(Outcome.FAIL, f"{label} is marked on the other side")
        if own:
            decided.append(label)
    if not decided:
        return Verdict(Outcome.UNDECIDED, "none of a pair was seen")
    return Verdict(Outcome.PASS, f"{', '.join(decided)} on the side of their own")


def turns_with_the_image(checked: Checked) -> Verdict:
    """An image that is turned, its affine and letters with it, gives masks that are turned.

    Slices may come in either order. Rows and columns come in display orientation: a model that draws the liver where
    livers are shown, whatever the letters say, is told so and does not fail.
    """
    first = {label: target.mask for label, target in _seen(checked.look(checked.sample.stack, checked.labels))}
    if not first:
        return Verdict(Outcome.UNDECIDED, "nothing was seen")
    same, told = list[str](), list[str]()
    for name, axes in TURNS.items():
        again = checked.look(turned(checked.sample, axes).stack, list(first))
        fits = [(label, *_fits(np.flip(target.mask, axes), first[label])) for label, target in _seen(again)]
        wrong = [fit for fit in fits if fit[2] >= _SAME and fit[2] > fit[1] + 0.2]
        if wrong:
            label, here, best, other = wrong[0]
            fit = f"{label} fits {best:.2f} reversed along {_axes(other)}, {here:.2f} as it is"
            if name in _ANY_ORDER:
                return Verdict(Outcome.FAIL, f"with {name} reversed {fit}")
            told.append(f"with {name} reversed {fit}: it needs display orientation")
        elif fits:
            same.append(name)
        else:
            told.append(f"nothing seen with {name} reversed")
    return Verdict(Outcome.PASS if same else Outcome.UNDECIDED, "; ".join([f"turned with {', '.join(same)}", *told]))


def does_not_see_what_is_not_there(checked: Checked) -> Verdict:
    """What is not there is not marked, nor anything on a blank image."""
    sample = checked.sample
    card = getattr(checked.model, "card", None)
    asked = [
        label for label in sample.absent if not isinstance(card, ModelCard) or card.open_set or card.learned(label)
    ]
    claimed = [label for label, _ in _seen(checked.look(sample.stack, asked))] if asked else []
    blank = replace(sample.stack, values=np.zeros_like(sample.stack.values))
    claimed += [f"{label} on a blank image" for label, _ in _seen(checked.look(blank, checked.labels))]
    if claimed:
        return Verdict(Outcome.FAIL, f"marked: {', '.join(claimed)}")
    return Verdict(Outcome.PASS, f"not marked: {', '.join([*asked, 'a blank image'])}")


def answers_the_same_again(checked: Checked) -> Verdict:
    """The same stack gives the same bytes."""
    first, second = (checked.look(checked.sample.stack, checked.labels) for _ in range(2))
    for label in checked.labels:
        one, other = first[label], second[label]
        if (one is None) != (other is None):
            return Verdict(Outcome.FAIL, f"{label} was seen once of twice")
        if one is not None and other is not None:
            if not np.array_equal(one.mask, other.mask):
                return Verdict(
                    Outcome.FAIL, f"the mask of {label} differs in {int((one.mask ^ other.mask).sum())} voxels"
                )
            if one.confidence != other.confidence:
                return Verdict(Outcome.FAIL, f"the confidence of {label} differs")
    return _of_seen(first, "the same masks and confidences twice")


def refuses_what_is_no_picture(checked: Checked) -> Verdict:
    """Values that are no numbers are refused with `InputRefused`, and the next stack is answered."""
    stack = checked.sample.stack
    if stack.values.dtype != np.float32:
        return Verdict(Outcome.UNDECIDED, "a colour image has no values that are no numbers")
    broken = stack.values.copy()
    broken[0, 0, 0] = np.nan
    try:
        checked.look(replace(stack, values=broken), checked.labels[:1])
    except InputRefused:
        checked.look(stack, checked.labels[:1])
        return Verdict(Outcome.PASS, "NaN is refused, and the next stack is answered")
    return Verdict(Outcome.FAIL, "a stack with NaN was answered; raise InputRefused")


def keeps_its_memory(checked: Checked) -> Verdict:
    """Asked again and again it takes no more memory."""
    checked.look(checked.sample.stack, checked.labels)
    before = _resident_mb()
    for _ in range(_REPEATS):
        checked.look(checked.sample.stack, checked.labels)
    grown = _resident_mb() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    told = f"{grown:+.0f} MB after {_REPEATS} more answers, {peak:.0f} MB at most, of this process"
    return Verdict(Outcome.FAIL if grown > _MOST_GROWTH_MB else Outcome.PASS, told)


ROWS: dict[str, Callable[[Checked], Verdict]] = {
    "description": describes_itself,
    "card": has_a_card,
    "shapes": draws_on_the_grid,
    "place": finds_what_is_there,
    "left and right": tells_left_from_right,
    "orientation": turns_with_the_image,
    "absent": does_not_see_what_is_not_there,
    "determinism": answers_the_same_again,
    "bad input": refuses_what_is_no_picture,
    "memory": keeps_its_memory,
}
"""What is checked, by name, in order."""


def _of_seen(seen: Seen, why: str) -> Verdict:
    count = sum(1 for _ in _seen(seen))
    if not count:
        return Verdict(Outcome.UNDECIDED, "nothing was seen on these images; give --image of what it knows")
    return Verdict(Outcome.PASS, f"{why}, {count} of {len(seen)} seen")


def _seen(seen: Seen) -> Iterator[tuple[str, SeenTarget]]:
    return ((label, target) for label, target in seen.items() if target is not None)


def _overlap(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> int:
    return int((mask & truth).sum())


def _dice(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    both = int(mask.sum()) + int(truth.sum())
    return 2 * _overlap(mask, truth) / both if both else 0.0


def _fits(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> tuple[float, float, tuple[int, ...]]:
    """Dice as it is, the best with axes reversed, and which these are."""
    turns = [axes for count in (1, 2, 3) for axes in itertools.combinations(range(3), count)]
    best = max(turns, key=lambda axes: _dice(np.flip(mask, axes), truth))
    return _dice(mask, truth), _dice(np.flip(mask, best), truth), best


def _axes(axes: tuple[int, ...]) -> str:
    return " and ".join(("slices", "rows", "columns")[axis] for axis in axes)


def _resident_mb() -> float:
    """Of this process, in MB."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return pages * resource.getpagesize() / 1024**2
