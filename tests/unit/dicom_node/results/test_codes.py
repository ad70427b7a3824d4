"""Codes are those of the standard's tables, and phrases find them."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.sr._concepts_dict import concepts
from pydicom.sr.coding import Code

from dicom_node.results import codes
from dicom_node.results.codes import COMMISSIONING_CONCEPT, LABELS, PRIVATE_SCHEME, concept_for, concepts_in


def every_code() -> list[Code]:
    found = [value for value in vars(codes).values() if isinstance(value, Code)]
    found += [*codes.SPACING_METHODS.values(), *codes.PROCEDURES.values()]
    for concept in [*LABELS.values(), COMMISSIONING_CONCEPT, *codes.UNSIDED.values()]:
        found += [
            code for code in (concept.category, concept.type, concept.laterality, concept.site) if code is not None
        ]
    return found


@pytest.mark.parametrize("code", every_code(), ids=lambda code: f"{code.scheme_designator} {code.value}")
def test_a_code_means_what_the_standard_says(code: Code, checkout: Path) -> None:
    if code in (codes.QUALITATIVE_EVALUATIONS, codes.ENGLISH):
        return  # TID 1500 itself names the one, RFC 5646 the other; no context group does
    if code.scheme_designator in (PRIVATE_SCHEME, "99IHE"):
        assert f"`{code.value}`" in (checkout / "docs/codes.md").read_text(encoding="utf-8")
        return
    listed = {
        meaning.casefold()
        for entries in concepts[code.scheme_designator].values()
        for value, (meaning, _) in entries.items()
        if value == code.value
    }
    if code.scheme_designator == "UCUM":
        listed.add(code.value)  # a grammar, of which context groups list little; a unit may mean itself
    assert code.meaning.casefold() in listed, listed


@pytest.mark.parametrize(
    ("phrase", "label"),
    [
        ("Liver", "liver"),
        ("the left kidney", "kidney left"),
        ("kidney_right", "kidney right"),
        ("Adrenal gland, left".replace(",", ""), "adrenal gland left"),
        ("lungs left", "left lung"),
        ("nosogastric tube", "nasogastric tube"),
        ("ground-glass opacity", "ground glass opacities"),
        ("retinal blood vessels", "retinal blood vessel"),
        ("a breast tumor", "breast tumour"),
        ("breast tumour (malignant)", "breast tumour"),
        ("polyps", "polyp"),
        ("IVC", "inferior vena cava"),
        ("oesophagus", "esophagus"),
        ("airway", "airways"),
    ],
)
def test_phrases_find_their_concept(phrase: str, label: str) -> None:
    assert concept_for(phrase) is LABELS[label]


def test_every_label_finds_itself_and_nonsense_nothing() -> None:
    assert all(concept_for(label) is concept for label, concept in LABELS.items())
    assert concept_for("bright voxels") is COMMISSIONING_CONCEPT
    assert concept_for("unicorn") is None and concept_for("") is None
    assert concept_for("kidneys") is not None and concept_for("kidneys").laterality is None


def test_every_label_of_the_training_data_has_a_code(shared_data: Path) -> None:
    import json

    with (shared_data / "images/manifest.jsonl").open(encoding="utf-8") as manifest:
        labels = {label for line in manifest for label in _labels(json.loads(line))}
    assert len(labels) > 30
    assert [label for label in sorted(labels) if concept_for(label) is None] == []


def _labels(record: dict) -> list[str]:
    named = record.get("labels") or {}
    names = list(named.values()) if isinstance(named, dict) else list(named)
    return [str(name) for name in [*names, *(record.get("masks") or {})]]


def test_left_and_right_are_coded() -> None:
    for label, concept in LABELS.items():
        sided = {"left": "Left", "right": "Right"}
        for side, meaning in sided.items():
            if side in label.split() and "ventric" not in label:
                assert concept.laterality is not None and concept.laterality.meaning == meaning


def test_a_text_names_a_thing_word_for_word_whichever_way_its_side_stands() -> None:
    named = concepts_in("Segment the left kidney and the Liver, not the kidney right.")
    assert set(named) == {LABELS["kidney left"], LABELS["kidney right"], LABELS["liver"]}
    assert concepts_in("Are there signs of pancreatitis in what was delivered?") == ()
    assert [concept.label for concept in concepts_in("Any polyps?")] == ["polyp"]
