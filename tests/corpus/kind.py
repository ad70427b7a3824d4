"""A kind of input: how its phantom is made and what has to come of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset

from tests.corpus.outcomes import Outcome, OutcomeKind
from tests.corpus.phantom import Block, save_all

__all__ = ["Kind", "Made", "Sample", "answered", "described", "refused", "register"]


@dataclass(frozen=True)
class Made:
    """Instances of one series and what has to come of them.

    `parts`: the bright block of each part, in any order; none of a refusal. `reason`: of a refusal, a `VolumeRefusal`'s
    value; `says`: what its sentence holds, the remedy among it. `left_out`: why each instance is that is not read.
    """

    headers: Sequence[Dataset]
    parts: Sequence[Block] = ()
    reason: str = ""
    says: Sequence[str] = ()
    left_out: Sequence[str] = ()
    copies: Sequence[Dataset] = ()
    """Instances that are written once more under another name."""


@dataclass(frozen=True)
class Sample:
    """A phantom on the disk."""

    files: Sequence[Path]
    parts: Sequence[Block]
    reason: str
    says: Sequence[str]
    left_out: Sequence[str]


@dataclass(frozen=True)
class Kind:
    """A row of the table in CONFORMANCE.md.

    `make`: the phantom; None for what only real files show. `real`: a file or folder of one series, from
    ../shared/data/dicom, where there is one.
    """

    name: str
    make: Callable[[], Made] | None
    real: str | None = None

    def write(self, folder: Path) -> Sample:
        """Make the phantom's files in `folder`."""
        assert self.make is not None
        made = self.make()
        files = save_all(made.headers, folder)
        if made.copies:
            (folder / "copies").mkdir()
            files += save_all(made.copies, folder / "copies")
        return Sample(files, made.parts, made.reason, made.says, made.left_out)

    def real_files(self, data: Path) -> list[Path]:
        """The real example's files; `data`: ../shared/data."""
        assert self.real is not None
        path = data / "dicom" / self.real
        return [path] if path.is_file() else sorted(file for file in path.iterdir() if file.is_file())


Maker = Callable[[], Made]


def register(kinds: list[Kind], name: str, real: str | None = None) -> Callable[[Maker], Maker]:
    """Add the decorated maker to `kinds`."""

    def add(make: Maker) -> Maker:
        kinds.append(Kind(name, make, real))
        return make

    return add


def answered(
    headers: Sequence[Dataset], *parts: Block, left_out: Sequence[str] = (), copies: Sequence[Dataset] = ()
) -> Made:
    """What is read, part by part."""
    return Made(headers, parts, left_out=left_out, copies=copies)


def refused(headers: Sequence[Dataset], reason: str, *says: str) -> Made:
    """What is refused by name, in a sentence that holds `says`."""
    return Made(headers, reason=reason, says=says)


def described(outcome: Outcome) -> tuple[str, str]:
    """The cells `outcome` and `reason` of a row."""
    if outcome.kind is OutcomeKind.REFUSED:
        return "refused", outcome.reason
    parts = len(outcome.marked)
    text = outcome.kind.value if parts == 1 else f"{outcome.kind.value}, {parts} parts"
    if outcome.left_out:
        text = f"{text}, {len(outcome.left_out)} left out"
    return text, outcome.reason
