"""Drawings of cats and dogs, a data set that needs no download."""
