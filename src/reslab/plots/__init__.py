"""Training curves: the log, and figures in notebooks, terminals and files."""
