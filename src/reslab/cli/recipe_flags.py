"""Flags of the verbs that train: one for every field of Recipe."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

from cyclopts import Parameter

from reslab.training.recipe import Recipe

from .arguments import whole_number


def recipe_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Change the signature of `command` in place and return it: a keyword for every field of Recipe.

    These replace its **settings, which then get every field: None for a flag that the user did not give.
    cyclopts makes the flags and their help from the signature.
    """
    signature = inspect.signature(command, eval_str=True)
    own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    flags = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[
                field.annotation | None,  # type: ignore[operator]
                Parameter(
                    help=_help(name),
                    consume_multiple=True,
                    show_default=False,
                    converter=whole_number if field.annotation in (int, int | None) else None,
                ),
            ],
        )
        for name, field in Recipe.model_fields.items()
    ]
    command.__signature__ = signature.replace(parameters=[*own, *flags])  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in [*own, *flags]}
    return command


def _help(name: str) -> str:
    field = Recipe.model_fields[name]
    default = field.default
    return f"{field.description}" + ("" if default is None or default == () else f" [{default}]")
