"""train() and resume(): run a training in a run folder from start to finish."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from reslab.photos.folder.photos import Photos
from reslab.training.optimizer import restore_requires_grad
from reslab.training.progress import say as print_to_stderr
from reslab.training.recipe import Recipe

from .moved_photos import move_photos
from .resume import train_epochs
from .run import Run
from .start import start_run


def train(
    photos: Photos | Path | str,
    network: str | nn.Module = "resnet18",
    recipe: Recipe | Path | str = "fast",
    *,
    weights: str | Path | None = None,
    partial: bool = False,
    run: Path | str | None = None,
    track: str | None = None,
    progress: bool = True,
    say: Callable[[str], Any] | None = None,
) -> Run:
    """Train a network on photos and write a run folder that contains the best model.

    Args:
        photos: Photos, or a folder or list file that `Photos` accepts.
        network: a name as `create_network` takes it, such as "resnet18", "torchvision:resnet50" or
            "cifar_resnet20:my_block.py:MyBlock", whose file is run and kept with the run for reading; or a
            module, which is trained in place.
        recipe: a Recipe, the name of a preset, or a .json or .toml file.
        weights: "imagenet", or a .safetensors or .pth file with initial weights, see `load_pretrained`.
        partial: load what fits, also from weights of another network.
        run: folder to create; runs/<date>-<name> by default.
        track: "tensorboard" or "mlflow", which gets the figures of each epoch. A resumed run continues
            there. If it fails, a warning names the error, and the training continues without it.
        progress: show progress bars on a terminal.
        say: called with each line of text for people; prints to standard error by default.

    Returns:
        The finished run.

    Raises:
        PhotosError: the photos cannot be used.
        NetworkError: the network cannot be built or does not fit the photos.
        RecipeError: a setting is invalid or does not fit the network.
        WeightsError: the weights cannot be loaded.
        RunError: the folder exists already or cannot be written.
        TrainingError: the loss is not finite, or the memory is too small for a batch.
        UsageError: the tracker is unknown or not installed.
        KeyboardInterrupt: after Ctrl-C. The run is saved and can be resumed.
    """
    say = say or print_to_stderr
    module = None if isinstance(network, str) else network
    with restore_requires_grad(module):
        options: dict[str, Any] = {"weights": weights, "partial": partial, "run": run, "track": track}
        started = start_run(photos, network, recipe, **options, progress=progress, say=say)
        return resume(started, network=module, progress=progress, say=say)


def resume(
    run: Run | Path | str,
    *,
    network: nn.Module | str | None = None,
    photos: Path | str | None = None,
    progress: bool = True,
    say: Callable[[str], Any] | None = None,
) -> Run:
    """Continue an interrupted run. The final weights are those of a run without interruption.

    Args:
        run: a Run or its folder. A finished run stays as it is.
        network: a new module of the same class, if the run was started with a module instead of a name; or
            a text that names the file again, "my_block.py:MyBlock", if the network is from a file of your
            own. It is run, and has to be unchanged.
        photos: folder, table, list, archive or Parquet file with the same photos, if they have moved. They
            are matched by content and recorded in the run.
        progress: show progress bars on a terminal.
        say: called with each line of text for people; prints to standard error by default.

    Returns:
        The finished run.

    Raises:
        RunError: the run is damaged or in use, its photos have changed or are not in `photos`, or a file
            cannot be written.
        NetworkError: the network is from a file of your own, which `network` does not name, or which has
            changed; the error shows how.
        TrainingError: the loss is not finite, or the memory is too small for a batch.
        KeyboardInterrupt: after Ctrl-C. The run is saved and can be resumed.
    """
    say = say or print_to_stderr
    run = run if isinstance(run, Run) else Run(Path(run))
    if photos is not None:
        move_photos(run, photos, say)
    with restore_requires_grad(network if isinstance(network, nn.Module) else None):
        for epoch in train_epochs(run, network=network, progress=progress, say=say):
            say(str(epoch))
    return run
