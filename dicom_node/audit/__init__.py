"""Audit messages (PS3.15 A.5) and how they reach an audit record repository (PS3.15 A.6)."""
