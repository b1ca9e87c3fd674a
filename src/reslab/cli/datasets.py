"""The verb `get`: download a public data set."""

from __future__ import annotations

from pathlib import Path


def get(name: str, folder: Path, /, *, source: Path | None = None) -> None:
    """Download a public data set as a photo folder: train/ and test/ with one folder per class.

    Example: reslab get fashion-mnist data/fashion-mnist

    Args:
        name: fashion-mnist, oxford-pets, oxford-pets-cats-dogs, cifar10, imagenette, flowers102
        folder: a new folder for the photos
        source: read the data set's archives from this folder instead of downloading them
    """
    from reslab.datasets import fetch
    from reslab.text import printable

    photos = fetch.get(name, folder, source=source)
    print(fetch.describe(name))
    print(f"photos: {printable(str(photos))}\nnext:   {printable(fetch.next_command(name, photos))}")
