"""The things the shipped checkpoint is trained to find, per data set."""

from __future__ import annotations

__all__ = ["DATASETS", "LABELS", "MIRRORED", "canonical"]

DATASETS: dict[str, tuple[str, ...]] = {
    "acdc": ("right ventricle cavity", "left ventricular myocardium", "left ventricle cavity"),
    "btcv": (
        "spleen",
        "kidney right",
        "kidney left",
        "gallbladder",
        "esophagus",
        "liver",
        "stomach",
        "aorta",
        "inferior vena cava",
        "portal vein and splenic vein",
        "pancreas",
        "adrenal gland right",
        "adrenal gland left",
    ),
    "busi": ("breast tumour",),
    "chasedb1": ("retinal blood vessel",),
    "cxr_covid": (
        "airways",
        "cardiomediastinum",
        "left lung",
        "right lung",
        "ground glass opacities",
        "consolidation",
        "central venous line",
        "endotracheal tube",
        "monitoring probes",
        "nosogastric tube",
        "tubings",
    ),
    "hippocampus": ("anterior hippocampus", "posterior hippocampus"),
    "kvasir_seg": ("polyp",),
}
"""Labels of each set; those with fewer than three training images (pleural effusion, pneumothorax) are left out."""

LABELS: tuple[str, ...] = tuple(label for labels in DATASETS.values() for label in labels)

MIRRORED = frozenset({"busi", "kvasir_seg", "chasedb1"})
"""Sets whose labels have no side, so that a mirrored image is still a true one."""


def canonical(label: str) -> str:
    """Return the trained name of a manifest label: breast tumours are one, benign or malignant is for the text."""
    return "breast tumour" if label.startswith("breast tumour") else label
