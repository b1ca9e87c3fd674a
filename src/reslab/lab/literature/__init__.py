"""Ideas and experiments of the literature, measured by comparisons."""
