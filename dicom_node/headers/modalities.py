"""Modalities: the values that Modality (0008,0060) has by PS3.3 C.7.3.1.1.1, and what people write for them. Pure."""

from __future__ import annotations

from difflib import get_close_matches

__all__ = ["MODALITIES", "is_modality", "modalities_meant"]

_TERMS = """
ANN AR ASMT AU BDUS BI BMD CFM CR CT CTPROTOCOL DG DMS DOC DX ECG EEG EMG EOG EPS ES FID GM HC HD IO IOL IVOCT IVUS
KER KO LEN LS M3D MG MR NM OAM OCT OP OPM OPT OPTBSV OPTENF OPV OSS OT PA PLAN POS PR PT PX REG RESP RF RG RTDOSE
RTIMAGE RTINTENT RTPLAN RTRAD RTRECORD RTSEGANN RTSTRUCT RWV SEG SM SMR SR SRF STAIN TEXTUREMAP TG US VA XA XAPROTOCOL
XC
"""
_RETIRED_TERMS = "AS CD CF CP CS DD DF DM DS EC FA FS LP MA MS OPR ST VF"
MODALITIES = frozenset(_TERMS.split())
"""Defined terms (PS3.3 C.7.3.1.1.1)."""
_RETIRED = frozenset(_RETIRED_TERMS.split())
"""Terms of earlier editions, which old archives hold."""
_SAID_FOR = {
    "MRT": "MR", "MRI": "MR", "NMR": "MR", "KST": "MR", "CTX": "CT", "CAT": "CT", "PET": "PT", "RX": "CR DX",
    "XR": "CR DX", "DR": "CR DX", "XRAY": "CR DX", "X-RAY": "CR DX", "ROENTGEN": "CR DX", "RÖNTGEN": "CR DX",
    "RÖ": "CR DX", "CXR": "CR DX", "MAMMO": "MG", "MAMMOGRAPHY": "MG", "SONO": "US", "USG": "US", "ECHO": "US",
    "ULTRASOUND": "US", "NUC": "NM", "SPECT": "NM", "DSA": "XA", "ANGIO": "XA", "FLUORO": "RF", "ENDO": "ES",
    "ENDOSCOPY": "ES", "FUNDUS": "OP", "EKG": "ECG", "DEXA": "BMD", "DXA": "BMD",
}  # fmt: skip


def is_modality(said: str) -> bool:
    """Whether a header may hold this; terms that are retired too."""
    term = said.strip().upper()
    return term in MODALITIES or term in _RETIRED


def modalities_meant(said: str) -> tuple[str, ...]:
    """The terms that may be meant by one that is none, `MRT`: MR; () where none is near."""
    term = said.strip().upper()
    if term in _SAID_FOR:
        return tuple(_SAID_FOR[term].split())
    return tuple(get_close_matches(term, sorted(MODALITIES), n=1, cutoff=0.7))
