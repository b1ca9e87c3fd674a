"""Checks of a block before anything is trained, one idea per file; preflight.py runs them in order."""
