"""Measure a checkpoint on images with known masks, through the same answers a node would give."""
