"""Run folders: train, resume, and everything that a run writes."""
