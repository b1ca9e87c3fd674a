"""Start a run: check everything that can be checked, then create its folder."""

from __future__ import annotations

import os
import shlex
import time
from contextlib import closing
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path

from torch import nn

from reslab import files
from reslab.errors import RunError, UsageError
from reslab.networks.from_text import parse_name
from reslab.networks.initialization import initialized_by_name
from reslab.networks.input_channels import input_channels
from reslab.networks.registry import NetworkSpec, make_spec
from reslab.networks.weights.load import load_pretrained
from reslab.photos.checking.quick_check import quick_check, warning
from reslab.photos.folder.digests import digest
from reslab.photos.folder.photos import Photos
from reslab.photos.loading.batches import Batch
from reslab.photos.loading.contact_sheet import show_batch
from reslab.photos.loading.unreadable import ReadablePhotos
from reslab.training.epoch_plan import image_sizes
from reslab.training.progress import Say
from reslab.training.recipe import Recipe
from reslab.training.setup import TrainingSetup, check_device, open_photos, prepare
from reslab.training.time_budget import estimate_epoch_seconds, planned_epochs, start_time_budget
from reslab.training.trackers import check_tracker

from . import checkpoint
from .reproducibility import environment
from .run import Run, new_run_folder

MAX_CHECK_FRACTION = 1 / 20  # of the training's time, for the search for near copies
MIN_CHECK_S = 2.0  # for the same, where the training is short


def start_run(
    photos: Photos | Path | str,
    network: str | nn.Module,
    recipe: Recipe | Path | str,
    *,
    weights: str | Path | None,
    partial: bool = False,
    run: Path | str | None,
    progress: bool,
    say: Say,
    started: float | None = None,
    report: bool = False,
    track: str | None = None,
) -> Run:
    """Create a run folder with a first checkpoint, ready for the first step, and return the run.

    Arguments and errors are those of `train`. A network that is a module is moved to the device, loaded with
    `weights` and frozen as the recipe says.

    Args:
        started: time.monotonic() at which the recipe's time starts; now by default.
        report: keep some of the recipe's time for a report after the run, see `report_seconds`.
        track: name of a tracker.
    """
    if track is not None:
        check_tracker(track)
    if partial and weights is None:
        do = "give --weights FILE, or leave --partial out"
        raise UsageError("there are no weights to load in part", "--partial is given without --weights", do)
    started = time.monotonic() if started is None else started
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)
    name = network if isinstance(network, str) else type(network).__name__
    check_device(recipe)  # before a million photos are listed
    made = spec_of(network, 0, recipe) if isinstance(network, str) else network
    folder = new_run_folder(run, name)
    source, photos = photos, _split_photos(photos, recipe)
    say(str(photos))
    module, spec = _make_network(made, len(photos.classes), recipe, weights, partial, say)
    readable = open_photos(module, photos, recipe, name=name, progress=progress)
    photos = readable.photos
    shell_source = shlex.quote(str(photos.folder if isinstance(source, Photos) else source))
    if readable.data_range is not None:
        say(str(readable.data_range))
    if readable.skipped.total:
        say(readable.skipped.warning(photos, shell_source))
    setup = prepare(module, readable, recipe, name=name, progress=progress, say=say)
    costs = estimate_epoch_seconds(setup, name, _loading_seconds(setup))
    limit = max(MIN_CHECK_S, MAX_CHECK_FRACTION * _total_seconds(setup, costs))
    if text := warning(quick_check(photos, recipe.truncated, readable.pixels, limit), shell_source):
        say(text)
    start_time_budget(setup, costs, photos, started, report=report)
    say(_summary(setup, name, costs))
    first_size = min(image_sizes(recipe, setup.state.time_budget))
    first_batch = next(replace(setup.train, workers=0).epoch(0, size=first_size))
    try:
        write_run(folder, setup, readable, first_batch, name, spec, weights, track, _file(source, photos))
    except RunError:
        if run is not None or not os.path.lexists(folder):
            raise
        folder = new_run_folder(None, name)  # another run was started in the same second
        write_run(folder, setup, readable, first_batch, name, spec, weights, track, _file(source, photos))
    say(f"run: {folder}")
    return Run(folder)


def _split_photos(source: Photos | Path | str, recipe: Recipe) -> Photos:
    return Photos(source, val_fraction=recipe.val_fraction, seed=recipe.seed, group_by=recipe.group_by)


def _file(source: Photos | Path | str, photos: Photos) -> str | None:
    """Return the absolute path of an archive, table, list or Parquet; None for a folder and for Photos."""
    if isinstance(source, Photos):
        return None
    path = os.path.abspath(files.user_path(source))
    return None if path == os.path.abspath(photos.folder) else path


def spec_of(network: str, num_classes: int, recipe: Recipe) -> NetworkSpec:
    """Return the spec of a network with the recipe's stem and width. A user's file is run."""
    return make_spec(network, num_classes, stem=recipe.stem, width_mult=recipe.width_mult)


def build_network(spec: NetworkSpec, recipe: Recipe) -> nn.Module:
    """Build a network with random weights that depend only on the recipe's seed. Raise NetworkError."""
    return initialized_by_name(lambda: spec.build(recipe.zero_init_residual), recipe.seed)


def _make_network(
    network: NetworkSpec | nn.Module,
    num_classes: int,
    recipe: Recipe,
    weights: str | Path | None,
    partial: bool,
    say: Say,
) -> tuple[nn.Module, NetworkSpec | None]:
    """Return the network with its first weights, and its spec; None for a module, which gets `weights`.

    The loaded weights, and warnings on settings that have no effect, are reported to `say`.

    Raises:
        NetworkError: the network cannot be built.
        WeightsError: the weights cannot be loaded.
        DownloadError: the ImageNet weights cannot be downloaded.
    """
    if isinstance(network, NetworkSpec):
        pretrained, spec = parse_name(network.name).pretrained, replace(network, num_classes=num_classes)
        module = build_network(spec, recipe)
        spec = replace(spec, in_channels=input_channels(module))  # a user's network may take one channel
    else:
        pretrained, spec, module = type(network).__name__, None, network
        if recipe.stem is not None or recipe.width_mult != 1 or recipe.zero_init_residual:
            ignored = "stem, width_mult and zero_init_residual are ignored"
            say(f"WARNING: {ignored}, as the network was not given by name")
    loaded: tuple[str, ...] = ()
    if weights is not None:
        report = load_pretrained(module, pretrained, weights, partial=partial)
        say(str(report))
        loaded = report.loaded
    if spec is not None and (parts := _frozen_at_random(module, recipe.freeze, loaded)):
        do = "give --weights that contain them, or --empty-freeze"
        say(f"WARNING: frozen at random weights: {', '.join(parts)}; {do}")
    return module, spec


def _frozen_at_random(network: nn.Module, freeze: tuple[str, ...], loaded: tuple[str, ...]) -> list[str]:
    """Return the frozen parts that have a parameter whose name is not in `loaded`; [] without such a part."""
    random = [name for name, _ in network.named_parameters() if name not in loaded]
    return [part for part in freeze if any(name.startswith(f"{part}.") for name in random)]


def _loading_seconds(setup: TrainingSetup) -> float:
    """Return the measured seconds to load a batch of full-size images in this process."""
    # the first loading is slower
    for _ in range(2):
        with closing(replace(setup.train, workers=0).epoch(0)) as batches:  # waits for the batch made ahead
            started = time.perf_counter()
            next(batches)
            seconds = time.perf_counter() - started
    return seconds


def _summary(setup: TrainingSetup, name: str, costs: dict[int, float]) -> str:
    """Return two lines of text: network, device and precision; the epochs and their estimated duration.

    Args:
        name: of the network.
        costs: seconds of an epoch at each image size.
    """
    parameters = sum(p.numel() for p in setup.state.network.parameters())
    recipe = setup.state.recipe
    plan = [(size, epochs) for size, epochs in planned_epochs(setup, costs) if epochs]
    epochs_text = ", ".join(f"{epochs} at {size} px, {duration(costs[size])} each" for size, epochs in plan)
    total = _total_seconds(setup, costs)
    if plan[-1][0] < recipe.size:
        epochs_text += f" (the time is too short for {recipe.size} px)"
    return (
        f"{name}: {parameters:,} parameters, on {setup.state.device}; {setup.measured}\n"
        f"epochs: {epochs_text}; about {duration(total)} in total, estimated from a few steps"
    )


def _total_seconds(setup: TrainingSetup, costs: dict[int, float]) -> float:
    """Return the estimated duration of a training."""
    if seconds := setup.state.recipe.seconds:
        return seconds
    return sum(epochs * costs[size] for size, epochs in planned_epochs(setup, costs))


def duration(seconds: float) -> str:
    """Return a duration as text: "42 s" under 100 s, "7 min" under 100 min, else hours, "3.5 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def write_run(
    folder: Path,
    setup: TrainingSetup,
    readable: ReadablePhotos,
    first_batch: Batch,
    name: str,
    spec: NetworkSpec | None,
    weights: str | Path | None,
    track: str | None = None,
    source: str | None = None,
) -> None:
    """Write the run folder, completely or not at all.

    Args:
        folder: it must not exist, or be empty.
        first_batch: of the training, for first_batch.jpg.
        name: of the network.
        spec: None for a module.
        weights: as given by the user, for run.json.
        track: name of the tracker, for run.json.
        source: archive, table or list of the photos, for run.json; None for a folder.

    Raises:
        RunError: it cannot be written.
    """
    photos, preprocess = readable.photos, setup.preprocess
    about = {
        "network": name,
        "spec": None if spec is None else asdict(spec),
        "classes": photos.classes,
        "photos": os.path.abspath(photos.folder),
        "source": source,
        "skipped": readable.skipped.as_json(),
        "weights": None if weights is None else str(weights),
        "tracker": track,
        "measured": asdict(setup.measured),
        "recipe": setup.state.recipe.as_json(),  # recipe.json may be edited later
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
    }
    try:
        with files.whole_folder(folder) as unfinished:
            setup.state.recipe.save(unfinished / "recipe.json")
            versions = environment(setup.state.device)
            files.write_json(unfinished / "environment.json", files.add_checksum(versions))
            photos.save(unfinished / "photos.jsonl")
            about["photos_digest"] = digest(unfinished / "photos.jsonl")
            sheet = unfinished / "first_batch.jpg"
            show_batch(first_batch, photos.classes, sheet, mean=preprocess.mean, std=preprocess.std)
            checkpoint.save(setup.state, [], unfinished)
            files.write_json(unfinished / "run.json", files.add_checksum(about))
    except OSError as error:
        raise RunError(
            f"the run folder {folder} cannot be written",
            error.strerror or str(error),
            "make room, or choose another --run",
        ) from error
