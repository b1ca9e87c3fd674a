"""fit(): train a network on photos, with a progress bar and without writing files."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from torch import nn

from reslab.photos.folder.photos import Photos

from .loop import Epoch, training_loop
from .optimizer import restore_requires_grad
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
    """Train a network in place on the train split, and yield an Epoch after every pass.

    Nothing is written except the caches; see `train` for checkpoints and a model file. The network stays on
    the device of the recipe. At the end, or when you stop, it gets the averaged weights if the recipe
    averages them, and requires_grad is restored.

    Args:
        network: (N, C, H, W) -> logits (N, num_classes), in the order of the photos' classes.
        photos: Photos, or a folder or list file that `Photos` accepts. Unreadable ones are skipped.
        recipe: a Recipe, the name of a preset, or a .json or .toml file.
        progress: show progress bars on a terminal.

    Yields:
        Losses, accuracy and duration of each epoch. Stop iterating to stop the training.

    Raises:
        PhotosError: the photos cannot be used, or too many became unreadable.
        NetworkError: the network does not fit the photos.
        RecipeError: a setting is invalid or does not fit the network, or the time is too short.
        TrainingError: the loss is not finite, or the memory is too small for a batch.
    """
    started = time.monotonic()
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)
    photos = Photos(photos, val_fraction=recipe.val_fraction, seed=recipe.seed, group_by=recipe.group_by)
    with restore_requires_grad(network):
        setup = prepare(network, photos, recipe, progress=progress)
        if recipe.time is not None:
            name = type(network).__name__
            start_time_budget(setup, estimate_epoch_seconds(setup, name, 0.0), None, started)
        events = training_loop(setup.state, setup.train, setup.validate(progress))
        try:
            for event in with_bars(events, progress):
                if isinstance(event, Epoch):
                    yield event
        finally:
            if setup.state.average is not None:
                network.load_state_dict(setup.state.validated.state_dict())
