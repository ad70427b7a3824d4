"""Learned: findings that a protocol asks for and that the model in service has not learned where it asks. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dicom_node.headers.body_regions import regions_of_code
from inference.card import LearnedLabel, ModelCard, learned_modality
from inference.gate import modality_words, unlearned
from inference.suggestions import similar_name
from workflows.protocols.anatomy import every_test
from workflows.protocols.conditions import Coded, Condition
from workflows.protocols.contradictions import allowed
from workflows.protocols.examples import TriedExample
from workflows.protocols.labels import labels_of
from workflows.protocols.schema import ReadingProtocol

__all__ = ["not_learned"]


def not_learned(protocol: ReadingProtocol, tried: Sequence[TriedExample], card: ModelCard) -> Iterator[tuple[int, str]]:
    """Index of a question, and why a finding of it will not be looked for. `tried`: the protocol's own examples.

    Where the protocol does not name modality or region, its examples do.
    """
    modalities, regions = _modalities(protocol, tried), _regions(protocol, tried)
    number = -1
    for question in protocol.questions:
        if question.follows:
            continue
        number += 1
        if question.predictor:
            continue
        for finding in question.findings:
            labels = labels_of([finding])
            entries = [entry for label in (*labels, finding.label) for entry in card.learned(label)]
            if told := _why_not(finding.label, entries, card, modalities, regions):
                yield number, f"{finding.label!r} will not be looked for: {told}"


def _why_not(
    label: str,
    entries: Sequence[LearnedLabel],
    card: ModelCard,
    modalities: frozenset[str],
    regions: frozenset[str],
) -> str:
    if not entries:
        if card.open_set:
            return ""
        near = _near(label, card, modalities)
        return unlearned(label) + (f"; near labels that it has learned: {', '.join(near)}" if near else "")
    for modality in sorted(modalities):
        here = [entry for entry in entries if learned_modality(entry.modality) == learned_modality(modality)]
        if not here:
            known = sorted({modality_words(entry.modality) for entry in entries})
            return "" if card.open_set else unlearned(label, modality_words(modality), " and ".join(known))
        learned = {region.value for entry in here for region in entry.regions}
        if regions and all(entry.regions for entry in here) and not learned & regions:
            shown = f"{modality_words(modality)} of the {' and '.join(sorted(regions))}"
            return unlearned(label, shown, f"the {' and '.join(sorted(learned))}")
    return ""


def _near(label: str, card: ModelCard, modalities: frozenset[str]) -> list[str]:
    """Labels that may do instead: alike, or with a word in common, those of the protocol's modalities alone."""
    wanted = {learned_modality(one) for one in modalities}
    known = dict.fromkeys(one.label for one in card.labels if not wanted or learned_modality(one.modality) in wanted)
    words = {word for word in label.casefold().split() if len(word) > 3}
    sharing = [one for one in known if words & set(one.casefold().split())]
    alike = similar_name(label.casefold(), known)
    return list(dict.fromkeys([*sharing, *([alike] if alike else [])]))[:4]


def _modalities(protocol: ReadingProtocol, tried: Sequence[TriedExample]) -> frozenset[str]:
    named = allowed(protocol.series.where, "modality")
    shown = {example.study.series[index].modality for example in tried for index in example.asked}
    return named if named is not None else frozenset(filter(None, shown))


def _regions(protocol: ReadingProtocol, tried: Sequence[TriedExample]) -> frozenset[str]:
    """Parts of the body that it selects: those that `region` names, else those of its codes and of its examples."""
    for condition in (protocol.series.where, protocol.when):
        named = allowed(condition, "region")
        if named is not None:
            return frozenset(one.lower() for one in named)
    shown = {
        region
        for example in tried
        if example.example.matches
        for index in example.asked
        for region in example.study.series[index].regions.regions
    }
    return frozenset(shown | _of_codes(protocol.series.where) | _of_codes(protocol.when))


def _of_codes(condition: Condition) -> set[str]:
    concepts = (
        concept
        for test in every_test(condition)
        for check in test.checks
        if isinstance(check, Coded)
        for concept in check.concepts
    )
    return {region for concept in concepts for region in regions_of_code(concept)}
