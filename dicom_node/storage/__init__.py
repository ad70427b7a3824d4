"""Instances on disk and the header attributes that reading protocols may ask for."""
