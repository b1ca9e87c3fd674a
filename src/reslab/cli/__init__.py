"""The command line: one verb or a few related ones per file, found by main.py."""
