"""Instances on disk: Part 10 files that survive a crash."""
