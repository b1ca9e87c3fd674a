"""Weights files: reading, downloading and loading into a network."""
