"""Drawings of one block from the inside: its layers, shortcut, gates and shapes."""
