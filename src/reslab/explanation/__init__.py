"""Explanations: heat maps and their worth, nearest training photos, labels to look at."""
