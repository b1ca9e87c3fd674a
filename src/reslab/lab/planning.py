"""Make the plan of a comparison: check its photos, networks and blocks, and measure a few steps of each."""

from __future__ import annotations

import hashlib
import os
import platform
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from reslab import files
from reslab.errors import NetworkError, RecipeError, RunError, UsageError
from reslab.hardware import choose_device, threads
from reslab.inspection.summary import Anatomy, anatomy
from reslab.networks.from_text import parse_name
from reslab.networks.registry import default_in_channels
from reslab.networks.resnet import FAMILY
from reslab.photos.folder.photos import Photos
from reslab.photos.loading.pixel_cache import open_pixels
from reslab.photos.loading.unreadable import skip_unreadable
from reslab.text import printable
from reslab.training.recipe import Recipe
from reslab.training.runs.start import build_network, spec_of
from reslab.training.timing.autotune import measure_precision
from reslab.training.timing.precision_cache import MeasuredPrecision
from reslab.version import __version__

from .backends.choose import backend
from .costs import CellCost
from .plan import (
    NO_EFFECT,
    PHOTOS,
    PLAN,
    TUNING_SEED,
    Budget,
    Plan,
    PlannedVariant,
    complete_recipe,
    with_epochs,
)
from .preflight import check_block
from .splits import has_own_val, write_photo_lists
from .variants import Variant

Say = Callable[[str], Any]
WIDTHS_TRIED = 12  # the last ones differ by a thousandth
UNMEASURED = CellCost(0.0, 0.0, 0.0, 0)


def make_plan(
    photos: Photos | Path | str,
    variants: Sequence[Variant],
    *,
    network: str,
    recipe: Recipe,
    seeds: int,
    margin: float,
    until_sure: int | None,
    budget: Budget,
    tune: int,
    on: str,
    jobs: int,
    folder: Path,
    progress: bool,
    say: Say,
) -> Plan:
    """Check and measure everything, write the photo lists and plan.json, and return the plan.

    Measurements of an earlier plan in the folder are used again where nothing has changed.

    Raises:
        PhotosError: the photos cannot be used, or there are no test photos.
        NetworkError: a network cannot be built, or a block has a problem.
        RecipeError: a setting is invalid, or the recipe has a time.
        RunError: the folder holds another comparison.
    """
    if recipe.time is not None:
        raise RecipeError(
            f"time {recipe.time}: the cells of a comparison have a number of epochs",
            "what a time allows depends on what else the machine does",
            "give --epochs, and --budget time for the same time for every variant",
        )
    before = Plan.load(folder) if (folder / PLAN).is_file() else None
    found = Photos(photos, val_fraction=recipe.val_fraction)
    say(str(found))
    recipe = recipe.for_photos(len(found.train))
    settings = [complete_recipe(recipe, variant.settings) for variant in variants]
    channels = [default_in_channels(variant.network) for variant in variants]
    readable = skip_unreadable(
        found, Recipe(**settings[0]).preprocess(channels[0]), cache=recipe.cache, progress=progress
    )
    if readable.skipped.total:
        say(readable.skipped.warning(readable.photos, str(found.folder)))
    found = readable.photos
    folder.mkdir(parents=True, exist_ok=True)
    planned = [
        _plan_variant(variant, chosen, len(found.classes), before, say)
        for variant, chosen in zip(variants, settings, strict=True)
    ]
    if budget == "parameters":
        wanted = planned[0].parameters
        planned = [_with_equal_parameters(variant, wanted, len(found.classes)) for variant in planned]
    measured = before.measured if before else _measure(planned[0], found, say)
    plan = Plan(
        photos=os.path.abspath(found.folder if isinstance(photos, Photos) else files.user_path(photos)),
        photos_digest=_photos_digest(found),
        test_photos=len(found.test),
        network=network,
        base_recipe=recipe.as_json(),
        budget=budget,
        tune=tune,
        margin=margin,
        seeds=seeds,
        until_sure=until_sure,
        own_val=has_own_val(photos),
        measured=measured,
        environment=_environment(recipe),
        variants=tuple(planned),
    )
    if before is not None:
        _check_same(before, plan, folder)
    all_seeds = [*range(max(seeds, until_sure or 0)), TUNING_SEED]
    write_photo_lists(found, plan.own_val, recipe.val_fraction, all_seeds, folder / PHOTOS)
    for chosen, count in {str(s): (s, c) for s, c in zip(settings, channels, strict=True)}.values():
        every = found.train + found.val + found.test
        preprocess = Recipe(**chosen).preprocess(count)
        open_pixels(found.folder, every, preprocess, cache=recipe.cache, progress=progress)
    plan = _equalize(_with_costs(plan, before, folder, on, jobs, say))
    plan.save(folder)
    return plan


def _plan_variant(
    variant: Variant, recipe: dict[str, Any], num_classes: int, before: Plan | None, say: Say
) -> PlannedVariant:
    """Build the variant's network once, and check its block if it comes from a user's file."""
    code = code_digest(variant.network)
    family, _, block = variant.network.partition(":")
    if code and family in FAMILY and not (before and code in {v.code for v in before.variants}):
        say(f"checking {block}")
        check = check_block(block, family)
        if check.problem is not None:
            problem = check.problem
            why = ": ".join(filter(None, [problem.where, problem.cause, problem.shapes]))
            raise NetworkError(f"{block} fails the check of blocks", why, problem.do)
        for note in check.notes:
            say(f"note: {block}: {note}")
    built = Recipe(**recipe)
    figures = _figures(variant.network, num_classes, built)
    return PlannedVariant(variant, recipe, code, figures.parameters, figures.multiply_adds, UNMEASURED)


def _figures(network: str, num_classes: int, recipe: Recipe) -> Anatomy:
    """Return the anatomy of a network at the recipe's image size."""
    spec = spec_of(network, num_classes, recipe)
    return anatomy(build_network(spec, recipe), (spec.in_channels, recipe.size, recipe.size))


def _with_equal_parameters(planned: PlannedVariant, wanted: int, num_classes: int) -> PlannedVariant:
    """Return the variant with the width whose number of parameters is nearest to `wanted`.

    Raises:
        UsageError: its network has no width, because it is not of the family.
    """
    network, recipe = planned.variant.network, Recipe(**planned.recipe)
    if network.partition(":")[0] not in FAMILY:
        raise UsageError(
            f"--budget parameters cannot change the width of {network}",
            "only networks of the family have a width",
            "use --budget epochs, time or flops",
        )
    if planned.parameters == wanted:
        return planned
    found = {recipe.width_mult: planned.parameters}
    low, high = 0.25 * recipe.width_mult, 4.0 * recipe.width_mult
    for _ in range(WIDTHS_TRIED):  # parameters grow with the width: bisect
        width = (low * high) ** 0.5
        found[width] = count = _figures(
            network, num_classes, recipe.with_settings(width_mult=width)
        ).parameters
        low, high = (width, high) if count < wanted else (low, width)
    best = min(found, key=lambda width: (abs(found[width] - wanted), width))
    changed = recipe.with_settings(width_mult=best)
    figures = _figures(network, num_classes, changed)
    return replace(
        planned,
        recipe=changed.as_json(),
        parameters=figures.parameters,
        multiply_adds=figures.multiply_adds,
    )


def code_digest(network: str) -> str:
    """Return the digest of the user's files that a network is built from; "" without any."""
    code = parse_name(network).run_file()
    return "" if code is None else code.digest


def _measure(planned: PlannedVariant, photos: Photos, say: Say) -> MeasuredPrecision:
    """Measure the precision of all cells on the baseline, with one thread on a CPU."""
    recipe, name = Recipe(**planned.recipe), planned.variant.network
    spec = spec_of(name, len(photos.classes), recipe)
    device = choose_device(recipe.device)
    network = build_network(spec, recipe).to(device)
    with threads(1 if device.type == "cpu" else 0):
        return measure_precision(network, recipe, len(photos.train), device, say)


def _environment(recipe: Recipe) -> dict[str, Any]:
    """Return the versions and the device that the cells' results depend on."""
    import PIL
    import torchvision

    device = choose_device(recipe.device)
    return {
        "reslab": __version__,
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "pillow": PIL.__version__,
        "machine": platform.machine(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
    }


def _photos_digest(photos: Photos) -> str:
    """Return a digest of paths, labels, splits and contents of the photos."""
    content = hashlib.blake2b(digest_size=16)
    for name, split in photos.splits.items():
        content.update(f"{name} {len(split)} {photos.classes}".encode("utf-8", "surrogateescape"))
        for column in (split.path_bytes, split.labels.tobytes(), split.digests.tobytes()):
            content.update(column)
    return content.hexdigest()


def _check_same(before: Plan, now: Plan, folder: Path) -> None:
    """Raise RunError if the folder holds a comparison of other photos, settings or versions."""
    pairs = {
        "photos": (before.photos_digest, now.photos_digest),
        "network": (before.network, now.network),
        "budget": (before.budget, now.budget),
        "tune": (before.tune, now.tune),
    }
    for name, (old, new) in pairs.items():
        if old != new:
            raise _other(folder, f"{name} changed" + ("" if name == "photos" else f": {old} -> {new}"))
    for name in ("base_recipe", "environment"):
        old_values, new_values = getattr(before, name), getattr(now, name)
        for key in new_values.keys() - NO_EFFECT:
            if old_values.get(key) != new_values[key]:
                raise _other(folder, f"{key} changed: {old_values.get(key)} -> {new_values[key]}")


def _other(folder: Path, why: str) -> RunError:
    return RunError(
        f"{printable(str(folder))} holds another comparison",
        why,
        "give --output another folder, or the same photos and settings as before",
    )


def _with_costs(plan: Plan, before: Plan | None, folder: Path, on: str, jobs: int, say: Say) -> Plan:
    """Return the plan with the cost of each variant, measured by all workers at once, as they will train."""
    known = {v.workload: v.cost for v in before.variants} if before else {}
    costs = {v.workload: known[v.workload] for v in plan.variants if v.workload in known}
    todo: dict[str, PlannedVariant] = {}
    for planned in plan.variants:
        if planned.workload not in costs:
            todo.setdefault(planned.workload, planned)
    if todo:
        say(f"measuring a few steps of {len(todo)} variant{'s' * (len(todo) != 1)} ...")
        cells = [plan.cell(folder, v, 0, {}) for v in todo.values() for _ in range(jobs)]
        by_name: dict[str, list[CellCost]] = defaultdict(list)
        with tempfile.TemporaryDirectory() as temporary:
            log = Path(temporary) / "log"
            for cell, result in backend(on).run_tasks("measure", cells, jobs, log):
                by_name[cell.variant].append(CellCost(**result))
        costs |= {name: _mean_cost(by_name[v.variant.name]) for name, v in todo.items()}
    return replace(plan, variants=tuple(replace(v, cost=costs[v.workload]) for v in plan.variants))


def _mean_cost(costs: Sequence[CellCost]) -> CellCost:
    rows = [asdict(cost) for cost in costs]
    means = {name: mean(row[name] for row in rows) for name in rows[0]}
    return CellCost(**{**means, "steps_per_epoch": rows[0]["steps_per_epoch"]})


def _equalize(plan: Plan) -> Plan:
    """Return the plan with the epochs of each variant set so that all have the budget of the baseline."""
    baseline = plan.variants[0]
    epochs = int(baseline.recipe["epochs"])

    def fitting(planned: PlannedVariant) -> int:
        if plan.budget == "time":
            return round(epochs * baseline.cost.seconds_per_epoch / planned.cost.seconds_per_epoch)
        if plan.budget == "flops":
            return round(epochs * baseline.multiply_adds / planned.multiply_adds)
        return int(planned.recipe["epochs"])

    return replace(plan, variants=tuple(with_epochs(v, fitting(v)) for v in plan.variants))
