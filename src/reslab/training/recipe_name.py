"""Name of a recipe: the nearest preset, and the settings that differ from it"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .recipe import Recipe
from .recipe_presets import RECIPES

# length, image size and seed of a run, and settings that change how it is computed, not its idea
NO_IDEA = {"epochs", "size", "seed", "device", "precision", "workers", "cache", "checkpoint_minutes"}
AUTOMATIC_BATCH_SIZES = (16, 32, 64, 128)  # Recipe.for_photos chooses one of them


def nearest_preset(recipe: Recipe) -> tuple[str, dict[str, Any]]:
    """Return the preset with the fewest differences from a recipe, and the recipe's own values of these.

    Epochs, size, seed and settings of the machine do not count. Nor does a batch size that follows from the
    number of photos.
    """
    changed = {name: _changes(recipe, name) for name in RECIPES}
    name = min(changed, key=lambda preset: len(changed[preset]))
    return name, changed[name]


def recipe_name(preset: str, changed: Mapping[str, Any]) -> str:
    """Return one line for people, such as "fast label_smoothing=0", from what `nearest_preset` returns."""
    return " ".join([preset, *(f"{name}={_text(value)}" for name, value in changed.items())])


def _changes(recipe: Recipe, preset: str) -> dict[str, Any]:
    given = Recipe(**RECIPES[preset])
    # an optimizer brings its own learning rate, a size its own resize
    base = given.with_settings(size=recipe.size, optimizer=recipe.optimizer)
    changed: dict[str, Any] = {} if recipe.optimizer == given.optimizer else {"optimizer": recipe.optimizer}
    for name in Recipe.model_fields:
        value = getattr(recipe, name)
        is_automatic = name == "batch_size" and name not in RECIPES[preset] and value in AUTOMATIC_BATCH_SIZES
        if name not in NO_IDEA and not is_automatic and value != getattr(base, name):
            changed[name] = value
    return changed


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_text, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value).lower()
