"""Measures on arrays: distances, intervals, edits, units, signals."""
