"""Training of MedSeg-R in stages: what is seen first, then what is said about it."""
