"""LOOK: get."""

from __future__ import annotations

from pathlib import Path


def get(name: str, folder: Path, /, *, source: Path | None = None) -> None:
    """A public data set as a photo folder, with train/ and test/ and one folder per class.

    Example: reslab get fashion-mnist data/fashion-mnist

    Parameters
    ----------
    name
        fashion-mnist, oxford-pets, oxford-pets-cats-dogs, cifar10, imagenette, flowers102
    folder
        where it goes; must not exist yet
    source
        a folder that holds the data set's own archives, where there is no network
    """
    from reslab.datasets import fetch as download
    from reslab.text import printable

    made = download.get(name, folder, source=source)
    print(download.describe(name))
    print(f"photos: {printable(str(made))}\nnext:   {printable(download.next_command(name, made))}")
