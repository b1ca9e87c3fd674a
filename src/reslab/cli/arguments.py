"""Kinds of arguments that the verbs share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter, Token

from ..errors import UsageError

Flag = Annotated[bool, Parameter(negative="", show_default=False)]  # without a --no-json


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
