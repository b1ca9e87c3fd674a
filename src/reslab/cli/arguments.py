"""Types of arguments that the verbs share: flags without a negative, and whole numbers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter, Token

from reslab.errors import UsageError

Flag = Annotated[bool, Parameter(negative="", show_default=False)]  # without a --no-json
MAX_SIZE = 10_000_000  # pixels of a side, channels or classes; one mark for each still fits into memory


def check_size(name: str, text: str, *numbers: int) -> None:
    """Raise UsageError if one of `numbers` is larger than MAX_SIZE.

    Args:
        name: flag or argument, for the message.
        text: its value as the user wrote it, for the message.
        numbers: the numbers in `text`, at least one.
    """
    if max(numbers) > MAX_SIZE:
        raise UsageError(
            f"{name} {text} is too large",
            f"sizes, channels and classes go up to {MAX_SIZE:,}",
            "give a smaller number",
        )


def check_photo_names(verb: str, photos: Sequence[str], *allowed: str) -> None:
    """Check photos of a verb that takes names with a leading hyphen, and mistyped flags with them.

    Args:
        verb: for the message.
        photos: files, folders and globs, as the user gave them.
        allowed: words with a hyphen that are no file.

    Raises:
        UsageError: a name is empty, or begins with a hyphen and there is no such file.
    """
    for name in photos:
        if name.startswith("-") and name not in allowed and not os.path.lexists(name):
            raise UsageError(f"there is no flag and no photo {name}", "", f"see reslab {verb} --help")
    if "" in photos:
        raise UsageError(
            "an empty name among the photos", "it would mean this whole folder", "give . for this folder"
        )


def whole_number(_: Any, tokens: Sequence[Token]) -> int:
    """Convert the only word in `tokens` to an integer, for cyclopts, which itself would round 1.5 to 2.

    Raises:
        UsageError: the word is not a whole number.
    """
    (token,) = tokens
    try:
        return int(token.value)
    except ValueError:
        raise UsageError(
            f"{token.keyword or 'the number'} {token.value} is not a whole number", "", "give one such as 3"
        ) from None


Whole = Annotated[int, Parameter(converter=whole_number)]
