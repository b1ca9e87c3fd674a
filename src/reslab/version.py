"""The version of reslab."""

VERSION = "0.1.0"
