"""Result of a comparison as a value, with its tables, sentences, figures and report."""
