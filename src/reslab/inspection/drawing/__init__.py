"""Drawings of networks: stages to scale with their shortcuts."""
