"""Backends that run the cells of a comparison: on this machine's cores, or on a Ray cluster."""
