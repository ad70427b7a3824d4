"""Plain questions and answers about what an image shows, made from its labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from inference.training.labels import LABELS

__all__ = ["MODALITIES", "all_texts", "answer_text", "question_text"]

MODALITIES = {
    "CT": "CT",
    "MR": "MR image",
    "US": "ultrasound",
    "DX": "radiograph",
    "ES": "endoscopy",
    "OP": "fundus photograph",
}

_SYNONYMS: dict[str, tuple[str, ...]] = {
    "right ventricle cavity": ("right ventricle", "right ventricular cavity", "rv", "rv cavity"),
    "left ventricle cavity": ("left ventricle", "left ventricular cavity", "lv", "lv cavity", "lv blood pool"),
    "left ventricular myocardium": ("myocardium", "heart muscle", "lv myocardium", "left ventricular wall"),
    "kidney right": ("right kidney",),
    "kidney left": ("left kidney",),
    "adrenal gland right": ("right adrenal gland", "right adrenal"),
    "adrenal gland left": ("left adrenal gland", "left adrenal"),
    "gallbladder": ("gall bladder",),
    "esophagus": ("oesophagus", "gullet"),
    "aorta": ("abdominal aorta",),
    "inferior vena cava": ("ivc", "vena cava", "postcava"),
    "portal vein and splenic vein": ("portal vein", "splenic vein", "portal and splenic veins"),
    "breast tumour": ("breast tumor", "breast lesion", "breast mass", "tumour", "tumor", "mass", "lesion", "nodule"),
    "retinal blood vessel": ("retinal vessels", "blood vessels", "vessels", "retinal vasculature"),
    "airways": ("trachea", "trachea and bronchi", "airway"),
    "cardiomediastinum": ("heart", "cardiac silhouette", "heart and mediastinum", "mediastinum"),
    "ground glass opacities": ("ground glass opacity", "ground-glass opacities", "ground glass", "hazy opacities"),
    "consolidation": ("consolidations", "airspace consolidation", "pneumonia"),
    "central venous line": ("central venous catheter", "central line", "cvc"),
    "endotracheal tube": ("ett", "breathing tube", "intubation tube"),
    "monitoring probes": ("ecg leads", "monitoring leads", "electrodes"),
    "nosogastric tube": ("nasogastric tube", "ng tube", "feeding tube"),
    "tubings": ("tubing", "tubes", "external tubing"),
    "anterior hippocampus": ("hippocampal head", "head of the hippocampus"),
    "posterior hippocampus": ("hippocampal body and tail", "tail of the hippocampus"),
    "polyp": ("polyps", "colorectal polyp", "colon polyp", "adenoma"),
}

_IMPLICIT: dict[str, tuple[str, ...]] = {
    "right ventricle cavity": (
        "which chamber pumps blood to the lungs?",
        "show the chamber that feeds the pulmonary artery",
    ),
    "left ventricle cavity": (
        "which chamber pumps blood into the aorta?",
        "what is used to measure the ejection fraction?",
    ),
    "left ventricular myocardium": (
        "which muscle thickens in hypertrophic cardiomyopathy?",
        "where would an infarct scar lie?",
    ),
    "spleen": ("which organ filters old red blood cells?", "what may rupture after a blow to the left upper abdomen?"),
    "kidney right": ("which organ makes urine on the right side?",),
    "kidney left": ("which organ makes urine on the left side?",),
    "gallbladder": ("where would gallstones be found?", "which organ stores bile?"),
    "esophagus": ("what carries food to the stomach?",),
    "liver": ("which organ makes bile?", "which organ is affected by cirrhosis?", "where does hepatitis do its harm?"),
    "stomach": ("where is food digested by acid?", "which organ could have a gastric ulcer?"),
    "aorta": ("which artery could have an aneurysm?", "what is the largest artery?"),
    "inferior vena cava": (
        "which vein returns blood from the legs to the heart?",
        "where would a clot filter be placed?",
    ),
    "portal vein and splenic vein": ("which vessel brings blood from the gut to the liver?",),
    "pancreas": ("which organ makes insulin?", "which organ is inflamed when lipase is high?"),
    "adrenal gland right": ("which gland above the right kidney makes cortisol?",),
    "adrenal gland left": ("which gland above the left kidney makes cortisol?",),
    "breast tumour": ("what could explain the lump the patient feels in her breast?", "is there anything to biopsy?"),
    "retinal blood vessel": ("what would leak in diabetic retinopathy?",),
    "airways": ("through which structure does air reach the lungs?",),
    "cardiomediastinum": ("what would be enlarged in heart failure?", "is the heart enlarged?"),
    "left lung": ("which lung is on the patient's left?",),
    "right lung": ("which lung is on the patient's right?",),
    "ground glass opacities": ("what suggests covid-19?", "what could explain this patient's shortness of breath?"),
    "consolidation": ("where is the lung filled with fluid or pus?",),
    "central venous line": ("which line reaches the superior vena cava?",),
    "endotracheal tube": ("what shows that the patient is ventilated?",),
    "nosogastric tube": ("which tube is used to feed the patient?",),
    "anterior hippocampus": ("which part of the hippocampus is its head?",),
    "posterior hippocampus": ("which part of the hippocampus is its tail?",),
    "polyp": ("what should be removed during this colonoscopy?", "what could turn into colorectal cancer?"),
}

_TEMPLATES = (
    "where is the {x}?",
    "where are the {x}?",
    "segment the {x}.",
    "please segment {x} in this {m}.",
    "show me the {x}.",
    "is there a {x}?",
    "is there any {x} in this image?",
    "can you see the {x}?",
    "outline the {x} in this {m}.",
    "mark the {x}",
    "{x}?",
    "find the {x}.",
    "does this {m} show {x}?",
    "please identify and segment the {x}.",
    "can you point out the {x} in the {m}?",
    "delineate the {x}",
    "highlight {x} for me.",
    "what part of the image is the {x}?",
    "do you see {x} here?",
    "locate the {x} and give its mask.",
)


def question_text(labels: Sequence[str], modality: str, random: np.random.Generator) -> str:
    """Ask about one to three labels, by name, by another name, or (one label only) by what it implies."""
    if len(labels) == 1 and labels[0] in _IMPLICIT and random.random() < 0.25:
        return str(random.choice(_IMPLICIT[labels[0]]))
    names = [_named(label, random) for label in labels]
    joined = (
        names[0] if len(names) == 1 else ", ".join(names[:-1]) + str(random.choice([" and ", " and the "])) + names[-1]
    )
    template = str(random.choice(_TEMPLATES))
    return template.format(x=joined, m=MODALITIES[modality] if random.random() < 0.7 else "image")


def _named(label: str, random: np.random.Generator) -> str:
    others = _SYNONYMS.get(label, ())
    return str(random.choice(others)) if others and random.random() < 0.5 else label


def answer_text(present: Sequence[str], absent: Sequence[str], modality: str) -> str:
    """Name what is seen, each with its mask, and what is not seen."""
    sentences = []
    if present:
        named = [f"<p> {label} </p> [SEG]" for label in present]
        joined = named[0] if len(named) == 1 else ", ".join(named[:-1]) + " and " + named[-1]
        sentences.append(f"The {MODALITIES[modality]} shows {joined}.")
    if absent:
        joined = absent[0] if len(absent) == 1 else ", ".join(absent[:-1]) + " or " + absent[-1]
        sentences.append(f"No {joined} is seen.")
    return " ".join(sentences)


def all_texts() -> list[str]:
    """Return every text the templates can make, for the tokenizer to learn from."""
    random = np.random.default_rng(0)
    texts = []
    for label in LABELS:
        texts += [*_SYNONYMS.get(label, ()), *_IMPLICIT.get(label, ()), label]
        for modality in MODALITIES:
            texts += [question_text([label], modality, random) for _ in range(12)]
            texts += [answer_text([label], [], modality), answer_text([], [label], modality)]
    return texts
