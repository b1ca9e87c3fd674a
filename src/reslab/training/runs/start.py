"""How a run begins: everything that can be refused is refused before its folder is made."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from reslab import files
from reslab.errors import RunError
from reslab.networks.registry import NetworkSpec, check_name, default_in_channels, short_name
from reslab.networks.weights.load import load_pretrained
from reslab.photos.checking.quick_check import quick_check, warning
from reslab.photos.folder.digests import digest
from reslab.photos.folder.photos import Photos
from reslab.photos.loading.batches import Batch, Batches
from reslab.photos.loading.contact_sheet import show_batch
from reslab.photos.loading.unreadable import ReadablePhotos
from reslab.randomness import torch_seeded
from reslab.training.epoch_plan import image_sizes
from reslab.training.recipe import Recipe
from reslab.training.setup import TrainingSetup, device_of, find_readable, prepare
from reslab.training.time_budget import estimate_epoch_seconds, planned_epochs, start_time_budget

from . import checkpoint
from .reproducibility import environment
from .run import Run, new_folder, now

if TYPE_CHECKING:
    Say = Callable[[str], Any]


def begin(
    photos: Photos | Path | str,
    network: str | nn.Module,
    recipe: Recipe | Path | str,
    *,
    weights: str | Path | None,
    run: Path | str | None,
    progress: bool,
    say: Say,
    began: float | None = None,
) -> Run:
    """A new run folder with a first checkpoint in it, ready for the first step.

    `began`: the moment, by time.monotonic(), from which a recipe's time counts; now unless given.
    """
    began = time.monotonic() if began is None else began
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)
    name = network if isinstance(network, str) else type(network).__name__
    device_of(recipe)  # what can be refused at once is not refused after a million photos were listed
    if isinstance(network, str):
        check_name(network)
    folder = new_folder(run, name)
    source, photos = photos, Photos(photos, val_fraction=recipe.val_fraction, seed=recipe.seed)
    say(str(photos))
    module, spec = _network(network, len(photos.classes), recipe, weights, say)
    found = find_readable(module, photos, recipe, name=name, progress=progress)
    photos = found.photos
    named = shlex.quote(str(photos.folder if isinstance(source, Photos) else source))
    if found.skipped.total:
        say(found.skipped.warning(photos, named))
    if text := warning(quick_check(photos, recipe.truncated), named):
        say(text)
    prepared = prepare(module, found, recipe, name=name, progress=progress, say=say)
    costs = estimate_epoch_seconds(prepared, name, _loading(prepared))
    start_time_budget(prepared, costs, photos, began)
    say(_plan(prepared, name, costs))
    first = next(_in_process(prepared).epoch(0, size=min(image_sizes(recipe, prepared.state.time_budget))))
    try:
        _write(folder, prepared, found, first, name, spec, weights)
    except RunError:
        if run is not None or not os.path.lexists(folder):
            raise
        folder = new_folder(None, name)  # another run was begun in the same second
        _write(folder, prepared, found, first, name, spec, weights)
    say(f"run: {folder}")
    return Run(folder)


def build(spec: NetworkSpec, recipe: Recipe) -> nn.Module:
    """The network with the fresh weights that belong to the recipe's seed."""
    with torch_seeded(recipe.seed, "weights"):
        return spec.build(recipe.zero_init_residual)


def _network(
    network: str | nn.Module, num_classes: int, recipe: Recipe, weights: str | Path | None, say: Say
) -> tuple[nn.Module, NetworkSpec | None]:
    """What is to be trained, with its first weights; and how to make it again, if it was made by name."""
    if isinstance(network, str):
        name, spec = network, NetworkSpec(network, num_classes, default_in_channels(network), recipe.stem)
        module = build(spec, recipe)
    else:
        name, spec, module = type(network).__name__, None, network
        if recipe.stem is not None or recipe.zero_init_residual:
            say("WARNING: stem and zero_init_residual are for networks made by name; yours stays as it is")
    given: tuple[str, ...] = ()
    if weights is not None:
        report = load_pretrained(module, short_name(name), weights)
        say(str(report))
        given = report.loaded
    if spec is not None and (parts := _frozen_at_random(module, recipe.freeze, given)):
        held = "give --weights that hold them, or --empty-freeze"
        say(f"WARNING: frozen at random weights: {', '.join(parts)}; {held}")
    return module, spec


def _frozen_at_random(network: nn.Module, freeze: tuple[str, ...], given: tuple[str, ...]) -> list[str]:
    """Which of the frozen parts have parameters that no weights file gave."""
    names = [name for name, _ in network.named_parameters()]
    return [
        part for part in freeze if any(name.startswith(f"{part}.") and name not in given for name in names)
    ]


def _in_process(prepared: TrainingSetup) -> Batches:
    """The batches of the run, made without worker processes."""
    return replace(prepared.train, workers=0)


def _loading(prepared: TrainingSetup) -> float:
    """Seconds that a batch of full size costs in this process; not the first, which is slower."""
    for _ in range(2):
        with closing(_in_process(prepared).epoch(0)) as batches:  # waits for what it makes ahead
            started = time.perf_counter()
            next(batches)
            seconds = time.perf_counter() - started
    return seconds


def _plan(prepared: TrainingSetup, name: str, costs: dict[int, float]) -> str:
    """What is going to be trained, and how long it will take by what a step and a batch took just now."""
    parameters = sum(p.numel() for p in prepared.state.network.parameters())
    recipe = prepared.state.recipe
    plan = [(size, epochs) for size, epochs in planned_epochs(prepared, costs) if epochs]
    shown = ", ".join(f"{epochs} at {size} px in {duration(costs[size])} each" for size, epochs in plan)
    in_all = recipe.seconds or sum(epochs * costs[size] for size, epochs in plan)
    if plan[-1][0] < recipe.size:
        shown += f", for {recipe.size} px the time is too short"
    return (
        f"{name}: {parameters:,} parameters, on {prepared.state.device}; {prepared.measured}\n"
        f"epochs: {shown}; about {duration(in_all)} in all, by this measurement"
    )


def duration(seconds: float) -> str:
    """Seconds as people say them: 42 s, 7 min, 3.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _write(
    folder: Path,
    prepared: TrainingSetup,
    found: ReadablePhotos,
    first: Batch,
    name: str,
    spec: NetworkSpec | None,
    weights: str | Path | None,
) -> None:
    """The run folder, whole or not at all: a start that is stopped leaves nothing behind."""
    photos = found.photos
    about = {
        "network": name,
        "spec": None if spec is None else asdict(spec),
        "classes": photos.classes,
        "photos": os.path.abspath(photos.folder),
        "skipped": found.skipped.as_json(),
        "weights": None if weights is None else str(weights),
        "measured": asdict(prepared.measured),
        "recipe": prepared.state.recipe.as_json(),  # as it was, should the file be edited
        "started": now(),
    }
    try:
        with files.whole_folder(folder) as making:
            prepared.state.recipe.save(making / "recipe.json")
            here = environment(prepared.state.device)
            files.write_json(making / "environment.json", files.add_checksum(dict(here)))
            photos.save(making / "photos.jsonl")
            about["photos_digest"] = digest(making / "photos.jsonl")
            look = prepared.preprocess
            show_batch(first, photos.classes, making / "first_batch.jpg", mean=look.mean, std=look.std)
            checkpoint.save(prepared.state, [], making)
            files.write_json(making / "run.json", files.add_checksum(about))
    except OSError as error:
        raise RunError(
            f"the run folder {folder} cannot be written",
            error.strerror or str(error),
            "make room, or choose another --run",
        ) from error
