"""Arrays of a comparison in .npy files: the labels of the test photos, and each cell's answers."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reslab import files
from reslab.errors import RunError


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Create or replace a .npy file, completely or not at all. Raise OSError if it cannot be written."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    files.write(path, buffer.getvalue())


def read_array(path: Path, do: str) -> NDArray[Any]:
    """Return the array in a .npy file.

    Args:
        path: the file.
        do: advice for the error.

    Raises:
        RunError: the file is missing or damaged.
    """
    try:
        array: NDArray[Any] = np.load(path)
    except (OSError, ValueError, EOFError) as error:
        raise RunError(f"{path} cannot be read", str(error), do) from error
    return array
