"""Version of reslab."""

__version__ = "0.1.0"
