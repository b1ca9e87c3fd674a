"""Figures of a comparison: forest plot, validation curves, and accuracy against step time."""
