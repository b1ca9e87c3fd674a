"""Classifiers: prediction, evaluation with intervals, and model files."""
