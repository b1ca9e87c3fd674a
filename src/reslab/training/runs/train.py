"""train() and resume(): a run folder from its start to its end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from reslab.photos.folder.photos import Photos
from reslab.training.optimizer import as_free_as_before
from reslab.training.progress import say as to_standard_error
from reslab.training.recipe import Recipe

from .resume import epochs_of
from .run import Run
from .start import begin


def train(
    photos: Photos | Path | str,
    network: str | nn.Module = "resnet18",
    recipe: Recipe | Path | str = "fast",
    *,
    weights: str | Path | None = None,
    run: Path | str | None = None,
    progress: bool = True,
    say: Callable[[str], Any] | None = None,
) -> Run:
    """Trains a network on photos and leaves a run folder with the best model in it.

    `network`: a name (resnet18, torchvision:resnet50) or a module, which is trained in place; `weights`:
    "imagenet" or a file; `run`: a folder that must not exist yet, else runs/<date>-<name>. `say` takes each
    line meant for people (standard error unless given). Ctrl-C saves, then raises KeyboardInterrupt.
    """
    say = say or to_standard_error
    module = None if isinstance(network, str) else network
    with as_free_as_before(module):
        begun = begin(photos, network, recipe, weights=weights, run=run, progress=progress, say=say)
        return resume(begun, network=module, progress=progress, say=say)


def resume(
    run: Run | Path | str,
    *,
    network: nn.Module | None = None,
    progress: bool = True,
    say: Callable[[str], Any] | None = None,
) -> Run:
    """Goes on with a run that was stopped, to the same bits as if it had never been.

    `network`: fresh, of the same kind, if the run was begun with a module of your own.
    """
    say = say or to_standard_error
    run = run if isinstance(run, Run) else Run(Path(run))
    with as_free_as_before(network):
        for epoch in epochs_of(run, network=network, progress=progress, say=say):
            say(str(epoch))
    return run
