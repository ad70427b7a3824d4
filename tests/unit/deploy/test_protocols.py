"""The starter library: whole, true to its examples, and asking of the shipped weights what they have learned."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference.card import read_card
from tests.plans import GOLDEN, modalities_of, rows_of, with_table
from workflows.protocols.checking import CheckedRules, check_rules

MODALITIES = {"CT", "MR", "CR", "DX", "US", "MG", "PT", "NM", "ES", "OP"}


@pytest.fixture(scope="module")
def library(checkout: Path) -> CheckedRules:
    """Its examples are run and its findings compared with the card of the weights, as `protocols check` does."""
    card = read_card(checkout / "inference" / "weights" / "tiny")
    return check_rules(checkout / "deploy" / "protocols", predictors=(), archives=(), card=card)


def test_the_library_is_whole_without_a_mistake_or_a_warning(library: CheckedRules) -> None:
    assert [str(one) for one in (*library.mistakes, *library.warnings)] == []
    assert len(library.protocols) >= 20
    assert {modality for one in library.protocols for modality in modalities_of(one.series.where)} >= MODALITIES


def test_each_protocol_has_examples_of_both_kinds(library: CheckedRules) -> None:
    for protocol in library.protocols:
        kinds = [example.matches for example in protocol.examples]
        assert kinds.count(True) >= 1 and kinds.count(False) >= 2, protocol.name


def test_a_protocol_is_off_with_what_is_not_learned_and_what_to_do(library: CheckedRules) -> None:
    for protocol in library.protocols:
        said = protocol.off_because
        assert not said or ("the shipped weights" in said and "remove this line" in said), protocol.name


def test_each_file_is_named_as_its_protocol_and_names_the_schema(checkout: Path, library: CheckedRules) -> None:
    files = sorted((checkout / "deploy" / "protocols").glob("*.yaml"))
    assert [file.stem for file in files] == [protocol.name for protocol in library.protocols]
    for file in files:
        assert file.read_text(encoding="utf-8").startswith("# yaml-language-server: $schema=protocol.schema.json\n")


def test_the_demo_asks_its_images_and_no_others(checkout: Path) -> None:
    demo = check_rules(checkout / "deploy" / "demo")
    assert demo.mistakes == () and all(protocol.examples for protocol in demo.protocols)


@pytest.mark.slow
def test_the_plan_of_every_real_study_is_the_one_that_was_read(shared_data: Path) -> None:
    page = GOLDEN.read_text(encoding="utf-8")
    again = with_table(page, rows_of(shared_data.parent))
    assert page.splitlines() == again.splitlines(), "python -m tests.plans writes it anew; read every line that changes"
