"""Showing: single slices of a series as pictures, in display orientation, without reading the series whole."""
