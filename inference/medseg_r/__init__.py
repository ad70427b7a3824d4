"""MedSeg-R: global context understanding and pixel-level grounding, composed."""
