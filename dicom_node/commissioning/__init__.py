"""Commissioning: a marker of known patient coordinates, burnt into real images."""
