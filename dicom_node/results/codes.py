"""Every coded concept that we write, but for the units that a volume's values have (`volumes.rescale`).

SCT codes are those of PS3.16's context groups, as pydicom lists them (tests compare every one). Where no code there
says what is meant, the private scheme 99MEDSEG names it: docs/codes.md.
"""

from __future__ import annotations

import re

from pydicom.sr.codedict import codes as concepts
from pydicom.sr.coding import Code

from dicom_node.results.concept import SegmentedConcept
from dicom_node.volumes.projection import SpacingBasis

__all__ = [
    "COMMISSIONING_CONCEPT", "LABELS", "NOT_ASSESSED", "NOT_SEEN", "PRESENCE", "PRIVATE_SCHEME", "UNSIDED",
    "concept_for", "concepts_in", "modality", "says",
]  # fmt: skip

PRIVATE_SCHEME = "99MEDSEG"


def _sct(value: str, meaning: str) -> Code:
    return Code(value, "SCT", meaning)


def _dcm(value: str, meaning: str) -> Code:
    return Code(value, "DCM", meaning)


def _private(value: str, meaning: str) -> Code:
    return Code(value, PRIVATE_SCHEME, meaning)


ANATOMY = _sct("91723000", "Anatomical Structure")
ABNORMAL = _sct("49755003", "Morphologically Abnormal Structure")
OBJECT = _sct("260787004", "Physical object")
LEFT, RIGHT = _sct("7771000", "Left"), _sct("24028007", "Right")
LUNG, BREAST, HEART = _sct("39607008", "Lung"), _sct("76752008", "Breast"), _sct("80891009", "Heart")
PLEURA = _sct("3120008", "Pleura")
HIPPOCAMPUS = _sct("5366008", "Hippocampus")

PRESENCE = _private("presence", "Presence of finding")
NOT_SEEN = _private("not-seen", "Looked for and not seen")
NOT_ASSESSED = _private("not-assessed", "Not assessed")
SEEN = _private("seen", "Seen")
SEEN_LOW_CONFIDENCE = _private("seen-low-confidence", "Seen, low confidence")
NOTHING_MARKED = _private("nothing-marked", "Nothing marked")
QUESTION = _private("question", "Clinical question")
ANSWER = _private("answer", "Answer")
COMPARISON = _private("comparison", "Compared with an earlier result")
CONFIDENCE = _private("confidence", "Confidence of mask")
TERMS = _private("terms", "Terms of use")
READING_PROTOCOL = _private("reading-protocol", "Reading protocol")
SITE_NOT_STATED = _private("site-not-stated", "Site not stated")
COMMENT = _dcm("121106", "Comment")
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")
OF_INTEREST = _dcm("113000", "Of Interest")
REJECTED_FOR_QUALITY = _dcm("113001", "Rejected for Quality Reasons")
REJECTED_FOR_PATIENT_SAFETY = _dcm("113037", "Rejected for Patient Safety Reasons")
INCORRECT_WORKLIST_ENTRY = _dcm("113038", "Incorrect Modality Worklist Entry")
KEY_OBJECT_DESCRIPTION = _dcm("113012", "Key Object Description")
PROCESSED_SOURCE = _dcm("121322", "Source Image for Image Processing Operation")
IMAGE_LIBRARY = _dcm("111028", "Image Library")
SOURCE_IMAGE = _dcm("121112", "Source of Measurement")
IMAGING_MEASUREMENT_REPORT = _dcm("126000", "Imaging Measurement Report")
AI_RESULT_REPORT = _private("ai-result-report", "AI result report")
IMAGING_PROCEDURE = _sct("363679005", "Imaging procedure")
_RADIOGRAPHY = Code("43468-8", "LN", "XR unspecified body region")
PROCEDURES = {
    "CR": _RADIOGRAPHY,
    "CT": Code("25045-6", "LN", "CT unspecified body region"),
    "DX": _RADIOGRAPHY,
    "MG": _sct("71651007", "Mammography"),
    "MR": Code("25056-3", "LN", "MRI unspecified body region"),
    "NM": Code("49118-3", "LN", "NM unspecified body region"),
    "PT": Code("44136-0", "LN", "PET unspecified body region"),
    "US": _sct("16310003", "Diagnostic ultrasonography"),
    "XA": _sct("77343006", "Angiography"),
}
"""By modality, what a report says was done where its source does not (PS3.16 CID 100)."""
ARTIFICIAL_INTELLIGENCE = _dcm("123110", "Artificial Intelligence")
DEVICE = _dcm("121007", "Device")
OBSERVER_TYPE = _dcm("121005", "Observer Type")
PERSON = _dcm("121006", "Person")
PERSON_OBSERVER_NAME = _dcm("121008", "Person Observer Name")
PERSON_OBSERVER_ORGANISATION = _dcm("121009", "Person Observer's Organization Name")
PROCESSING_EQUIPMENT = _dcm("109102", "Processing Equipment")
PROCESSING_ALGORITHM = Code("Newcode1", "99IHE", "Processing Algorithm")
ENGLISH = Code("en-US", "RFC5646", "English (United States)")

VOLUME, AREA = _sct("118565006", "Volume"), _sct("42798000", "Area")
LONG_AXIS, SHORT_AXIS = _sct("103339001", "Long Axis"), _sct("103340004", "Short Axis")
MEAN_ATTENUATION = _dcm("112181", "Mean Attenuation Coefficient")
STANDARD_DEVIATION_OF_ATTENUATION = _dcm("112183", "Standard Deviation of Attenuation Coefficient")
ACTIVITY, SUV = _dcm("110821", "Nuclear Medicine Tomographic Activity"), _dcm("126401", "SUVbw")
PARTS = _private("parts", "Number of parts, axes are of the largest")
BOUND, AT_LEAST = _private("bound", "Bound of value"), _private("at-least", "At least: it may go on beyond the images")
MEAN, STANDARD_DEVIATION = _sct("373098007", "Mean"), _sct("386136009", "Standard Deviation")
MILLILITRE, MILLIMETRE = Code("ml", "UCUM", "ml"), Code("mm", "UCUM", "mm")
SQUARE_MILLIMETRE = Code("mm2", "UCUM", "mm2")
RATIO = Code("1", "UCUM", "no units")
SPACING_METHODS = {
    SpacingBasis.CALIBRATED: _private("spacing-calibrated", "Pixel Spacing, corrected for magnification"),
    SpacingBasis.ESTIMATED: _private("spacing-estimated", "Detector spacing divided by estimated magnification"),
    SpacingBasis.DETECTOR: _private("spacing-detector", "Detector plane, not corrected for magnification"),
    SpacingBasis.UNSTATED: _private("spacing-unstated", "Pixel Spacing, correction for magnification not stated"),
}
"""Measurement methods (TID 300) of lengths and areas on images without patient geometry."""


def modality(value: str) -> Code | None:
    """The coded modality (PS3.16 CID 29), whose code values are those of Modality; None for any other value."""
    known = (code for code in concepts.cid29.concepts.values() if code.value == value)
    return next(known, None)


def _table() -> dict[str, SegmentedConcept]:
    kidney, adrenal = _sct("64033007", "Kidney"), _sct("23451007", "Adrenal gland")
    table: dict[str, SegmentedConcept] = {}

    def add(label: str, category: Code, type_: Code, laterality: Code | None = None, site: Code | None = None) -> None:
        table[label] = SegmentedConcept(label, category, type_, laterality, site)

    for label, code in (
        ("liver", _sct("10200004", "Liver")),
        ("spleen", _sct("78961009", "Spleen")),
        ("gallbladder", _sct("28231008", "Gallbladder")),
        ("esophagus", _sct("32849002", "Esophagus")),
        ("stomach", _sct("69695003", "Stomach")),
        ("aorta", _sct("15825003", "Aorta")),
        ("inferior vena cava", _sct("64131007", "Inferior vena cava")),
        ("portal vein and splenic vein", _private("portal-and-splenic-vein", "Portal vein and splenic vein")),
        ("pancreas", _sct("15776009", "Pancreas")),
        ("left ventricle cavity", _sct("87878005", "Left ventricle")),
        ("left ventricular myocardium", _sct("49848007", "Left Ventricle Myocardium")),
        ("right ventricle cavity", _sct("53085002", "Right ventricle")),
        ("airways", _sct("89187006", "Airway structure")),
        ("cardiomediastinum", _private("cardiomediastinum", "Heart and mediastinum")),
    ):
        add(label, ANATOMY, code)
    for side, code in (("left", LEFT), ("right", RIGHT)):
        add(f"kidney {side}", ANATOMY, kidney, code)
        add(f"adrenal gland {side}", ANATOMY, adrenal, code)
        add(f"{side} lung", ANATOMY, LUNG, code)
    add("retinal blood vessel", ANATOMY, _sct("59820001", "Blood Vessel"), site=_sct("5665001", "Retina"))
    for part in ("anterior", "posterior"):
        add(f"{part} hippocampus", ANATOMY, _private(f"{part}-hippocampus", f"{part.title()} part of hippocampus"),
            site=HIPPOCAMPUS)  # fmt: skip
    add("breast tumour", ABNORMAL, _sct("108369006", "Neoplasm"), site=BREAST)
    add("polyp", ABNORMAL, _sct("68496003", "Polyp of colon"), site=_sct("71854001", "Colon"))
    add("consolidation", ABNORMAL, _private("consolidation", "Consolidation of lung"), site=LUNG)
    add("ground glass opacities", ABNORMAL, _dcm("112120", "Ground glass opacity"), site=LUNG)
    add("pleural effusion", ABNORMAL, _sct("60046008", "Pleural effusion"), site=PLEURA)
    add("pneumothorax", ABNORMAL, _sct("36118008", "Pneumothorax"), site=PLEURA)
    add("central venous line", OBJECT, _sct("52124006", "Central venous catheter"))
    add("endotracheal tube", OBJECT, _sct("26412008", "Endotracheal tube"))
    add("nasogastric tube", OBJECT, _private("nasogastric-tube", "Nasogastric tube"))
    add("monitoring probes", OBJECT, _private("monitoring-probe", "Monitoring probe"))
    add("tubings", OBJECT, _private("tubing", "Tubing"))
    return table


LABELS: dict[str, SegmentedConcept] = _table()

UNSIDED = {
    "kidney": SegmentedConcept("kidney", ANATOMY, _sct("64033007", "Kidney")),
    "adrenal gland": SegmentedConcept("adrenal gland", ANATOMY, _sct("23451007", "Adrenal gland")),
    "lung": SegmentedConcept("lung", ANATOMY, LUNG),
    "hippocampus": SegmentedConcept("hippocampus", ANATOMY, HIPPOCAMPUS),
    "heart": SegmentedConcept("heart", ANATOMY, HEART),
}
"""What a phrase may name without a side or part. Not labels of the shipped model."""

COMMISSIONING_CONCEPT = SegmentedConcept(
    "bright voxels", OBJECT, _private("bright-voxels", "Voxels above 90 % of the range of values")
)

_SYNONYMS = {
    "oesophagus": "esophagus",
    "ivc": "inferior vena cava",
    "portal and splenic veins": "portal vein and splenic vein",
    "left kidney": "kidney left",
    "right kidney": "kidney right",
    "left adrenal gland": "adrenal gland left",
    "right adrenal gland": "adrenal gland right",
    "left ventricle": "left ventricle cavity",
    "right ventricle": "right ventricle cavity",
    "myocardium": "left ventricular myocardium",
    "left lungs": "left lung",
    "heart and mediastinum": "cardiomediastinum",
    "breast tumour (benign)": "breast tumour",
    "breast tumour (malignant)": "breast tumour",
    "breast mass": "breast tumour",
    "breast cancer": "breast tumour",
    "benign breast tumour": "breast tumour",
    "malignant breast tumour": "breast tumour",
    "postcava": "inferior vena cava",
    "suprarenal gland left": "adrenal gland left",
    "suprarenal gland right": "adrenal gland right",
    "left ventricular cavity": "left ventricle cavity",
    "right ventricular cavity": "right ventricle cavity",
    "left ventricle myocardium": "left ventricular myocardium",
    "left ventricular wall": "left ventricular myocardium",
    "colorectal polyp": "polyp",
    "retinal blood vessels": "retinal blood vessel",
    "ggo": "ground glass opacities",
    "ground glass": "ground glass opacities",
    "lung consolidation": "consolidation",
    "central venous catheter": "central venous line",
    "central line": "central venous line",
    "cvc": "central venous line",
    "breathing tube": "endotracheal tube",
    "feeding tube": "nasogastric tube",
    "ng tube": "nasogastric tube",
    "electrode": "monitoring probes",
    "hippocampus anterior": "anterior hippocampus",
    "hippocampus posterior": "posterior hippocampus",
    "hippocampal head": "anterior hippocampus",
    "mediastinum": "cardiomediastinum",
    "breast lesion": "breast tumour",
    "colon polyp": "polyp",
    "retinal vessel": "retinal blood vessel",
    "ground glass opacity": "ground glass opacities",
    "nosogastric tube": "nasogastric tube",
    "tubing": "tubings",
    "monitoring probe": "monitoring probes",
    "airway": "airways",
}


def concept_for(phrase: str) -> SegmentedConcept | None:
    """The concept that a label or phrase names; case, an article, hyphens and a plural do not matter."""
    text = re.sub(r"[\s_-]+", " ", phrase.strip(" \t\n.,;:").casefold())
    text = re.sub(r"^(the|a|an|both|patient's) ", "", text).replace("tumor", "tumour")
    if text == COMMISSIONING_CONCEPT.label:
        return COMMISSIONING_CONCEPT
    for candidate in _forms(text):
        candidate = _SYNONYMS.get(candidate, candidate)
        concept = LABELS.get(candidate) or UNSIDED.get(candidate)
        if concept is not None:
            return concept
    return None


def concepts_in(text: str) -> tuple[SegmentedConcept, ...]:
    """The concepts whose labels a text holds, word for word; case, number and where the side stands do not matter."""
    folded = text.casefold()
    if COMMISSIONING_CONCEPT.label in folded:
        return (COMMISSIONING_CONCEPT,)
    return tuple(
        concept
        for label, concept in LABELS.items()
        if re.search(rf"\b(?:{'|'.join(map(re.escape, _forms(label)))})\b", folded)
    )


def says(text: str, phrase: str) -> bool:
    """Whether a text names what a phrase names, word for word; case, number and where the side stands do not matter."""
    folded = re.sub(r"[\s_-]+", " ", text.casefold())
    wanted = re.sub(r"[\s_-]+", " ", phrase.strip().casefold())
    forms = "|".join(map(re.escape, filter(None, _forms(wanted))))
    return bool(forms) and re.search(rf"\b(?:{forms})\b", folded) is not None


def _forms(text: str) -> list[str]:
    """The phrase as it is, singular, plural, and with a side said first or last."""
    forms = [text, text.removesuffix("s"), f"{text}s"]
    if text.endswith("ies"):
        forms.append(f"{text.removesuffix('ies')}y")
    if text.endswith("y"):
        forms.append(f"{text.removesuffix('y')}ies")
    for side in ("left", "right"):
        rest = text.removeprefix(f"{side} ").removesuffix(f" {side}")
        if rest != text:
            forms += [f"{rest} {side}", f"{side} {rest}", f"{rest.removesuffix('s')} {side}"]
    return forms
