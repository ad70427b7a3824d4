"""Models of others behind `inference.interface.Model`, each in an environment of its own: their packages are not ours.

They run under `medseg-r serve --checkpoint inference.adapters.MODULE:CLASS` (docs/researcher.md).
"""
