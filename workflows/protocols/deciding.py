"""Deciding: what a protocol says of a study and each series, before preferences; for `match` and `grounds`. Pure."""

from __future__ import annotations

from dicom_node.headers.study import StudyHeader
from workflows.protocols.evaluating import Evaluation
from workflows.protocols.hygiene import Unasked, unasked
from workflows.protocols.judging import anatomy_flags
from workflows.protocols.outcome import ABOUT_ANATOMY, BY_BODY_PART, SHOWN, Outcome
from workflows.protocols.schema import ImageKind, ReadingProtocol
from workflows.protocols.telling import named
from workflows.protocols.truth import Truth

__all__ = ["Deciding"]


class Deciding:
    """About one study. `evaluation`: of its conditions."""

    def __init__(self, study: StudyHeader) -> None:
        self.evaluation = Evaluation(study)
        self.series = self.evaluation.series
        self._unasked = tuple(map(unasked, self.series))
        self._left_out: dict[frozenset[ImageKind], list[Outcome | None]] = {}

    def of_study(self, protocol: ReadingProtocol) -> Outcome:
        """Whether the study is one for the protocol."""
        return self.evaluation.of_study(protocol.when)

    def hygiene(self, protocol: ReadingProtocol, index: int) -> Outcome:
        """Whether a series is of no kind of images that is left out because the protocol does not include it."""
        return self._left_out_by(protocol)[index] or _ORDINARY

    def of_series(self, protocol: ReadingProtocol, of_study: Outcome) -> list[Outcome]:
        """Whether each series of such a study is one for the protocol."""
        outcomes = list(self._left_out_by(protocol))
        left = [index for index, outcome in enumerate(outcomes) if outcome is None]
        found = self.evaluation.of_series(protocol.series.where)(left)
        for index, outcome in zip(left, found, strict=True):
            said = (outcome.marks | of_study.marks) & _SAID if outcome.truth is Truth.YES else 0
            outcomes[index] = (said and self._doubt(index, said)) or outcome
        return [outcome or _ORDINARY for outcome in outcomes]

    def _doubt(self, index: int, said: int) -> Outcome | None:
        """Why a series is not known to show what is wanted though its conditions hold: a code of the whole study does
        not decide of a series that says it shows something else."""
        if said == BY_BODY_PART:
            return self._by_body_part_alone(index)
        if self.series[index].regions.contradicted:
            return Outcome(Truth.UNKNOWN, anatomy_flags(self.series[index])[0], (), ABOUT_ANATOMY)
        return None

    def _by_body_part_alone(self, index: int) -> Outcome:
        part = named(self.series[index].body_part_examined)
        return Outcome(Truth.UNKNOWN, f"Body Part Examined {part} alone does not decide", (), ABOUT_ANATOMY)

    def _left_out_by(self, protocol: ReadingProtocol) -> list[Outcome | None]:
        """For each series why it is not asked whatever the protocol's conditions say."""
        included = protocol.series.include
        left_out = self._left_out.get(included)
        if left_out is None:
            left_out = self._left_out[included] = [_why_left_out(kinds, included) for kinds in self._unasked]
        return left_out


_SAID = SHOWN | BY_BODY_PART
_ORDINARY = Outcome(Truth.YES, "images as any others")


def _why_left_out(kinds: tuple[Unasked, ...], included: frozenset[ImageKind]) -> Outcome | None:
    reason = next((reason for kind, reason in kinds if kind is None or kind not in included), None)
    return None if reason is None else Outcome(Truth.NO, reason)
