"""Decode photo files of any format safely into sRGB images."""
