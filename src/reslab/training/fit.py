"""network + photos + recipe -> the loop, with a progress bar; yields Epoch."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from torch import nn

from reslab.photos.folder.photos import Photos

from .loop import Epoch, training_loop
from .optimizer import as_free_as_before
from .progress import with_bars
from .recipe import Recipe
from .setup import prepare
from .time_budget import estimate_epoch_seconds, start_time_budget


def fit(
    network: nn.Module,
    photos: Photos | Path | str,
    recipe: Recipe | Path | str = "fast",
    *,
    progress: bool = True,
) -> Iterator[Epoch]:
    """Trains `network` in place on the train split and yields an Epoch after every pass.

    Photos that cannot be read are left out with a warning. Nothing is written but the cache; for checkpoints
    and a model file see `train`. With weight_averaging the network has the averaged weights when the loop
    ends, as they were validated; what was frozen is free again. Raises PhotosError, RecipeError, NetworkError
    if they do not fit together, TrainingError if the loss is not finite.
    """
    began = time.monotonic()
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)
    photos = Photos(photos, val_fraction=recipe.val_fraction, seed=recipe.seed)
    with as_free_as_before(network):
        prepared = prepare(network, photos, recipe, progress=progress)
        if recipe.time is not None:
            name = type(network).__name__
            start_time_budget(prepared, estimate_epoch_seconds(prepared, name, 0.0), None, began)
        stream = training_loop(prepared.state, prepared.train, prepared.validate(progress))
        try:
            for event in with_bars(stream, progress):
                if isinstance(event, Epoch):
                    yield event
        finally:
            if prepared.state.average is not None:
                network.load_state_dict(prepared.state.validated.state_dict())
