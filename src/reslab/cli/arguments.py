"""Kinds of arguments that the verbs share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter, Token

from reslab.errors import UsageError

Flag = Annotated[bool, Parameter(negative="", show_default=False)]  # without a --no-json
MOST = 10_000_000  # pixels of a side, channels, classes; a mark for each of them still fits into memory


def check_size(name: str, text: str, *numbers: int) -> None:
    """Raises UsageError for numbers that are beyond any picture and any network."""
    if max(numbers) > MOST:
        raise UsageError(
            f"{name} {text} is too much",
            "no picture and no network comes near it",
            f"sizes, channels and classes go up to {MOST:,}",
        )


def whole_number(_: Any, tokens: Sequence[Token]) -> int:
    """The number of the word; cyclopts itself would round 1.5 to 2 without a word."""
    (token,) = tokens
    try:
        return int(token.value)
    except ValueError:
        raise UsageError(
            f"{token.keyword or 'the number'} {token.value}: this is no whole number",
            "it counts things, or names one by its number",
            "give one without a point, such as 3",
        ) from None


Whole = Annotated[int, Parameter(converter=whole_number)]
