"""Data sets to train on: public ones to download, and drawn cats and dogs."""
