"""check(): damaged files, duplicates, leaks and class problems in a folder of photos."""
