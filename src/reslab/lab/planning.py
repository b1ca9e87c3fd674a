"""Make the plan of a comparison: check its photos, networks and blocks, and measure a few steps of each."""

from __future__ import annotations

import hashlib
import os
import platform
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from reslab import files
from reslab.errors import NetworkError, RunError, UsageError
from reslab.hardware import choose_device, processor_name, threads
from reslab.inspection.summary import Anatomy, anatomy
from reslab.networks.from_text import parse_name
from reslab.networks.input_channels import input_channels
from reslab.networks.libraries import TIMM
from reslab.networks.resnet import FAMILY
from reslab.pages.page import significant
from reslab.photos.folder.photos import Photos
from reslab.photos.loading.data_range import find_data_range
from reslab.photos.loading.pixel_cache import open_pixels
from reslab.photos.loading.unreadable import skip_unreadable
from reslab.text import printable
from reslab.training.recipe import Recipe
from reslab.training.runs.start import build_network, spec_of
from reslab.training.timing.autotune import measure_precision
from reslab.training.timing.precision_cache import MeasuredPrecision
from reslab.version import __version__

from .backends.choose import backend
from .block_checks.preflight import check_block
from .costs import CellCost, is_busy
from .plan import NO_EFFECT, PHOTOS, PLAN, TUNING_SEED, Plan, PlannedVariant, with_epochs
from .request import Request
from .results.photo_counts import PhotoCounts
from .splits import GIVEN_PHOTOS, check_test_photos, has_own_val, seed_list, write_photo_lists
from .variants import Variant

Say = Callable[[str], Any]
WIDTHS_TRIED = 12  # the last ones differ by a thousandth
UNMEASURED = CellCost(0.0, 0.0, 0.0, 0)


def make_plan(
    photos: Photos | Path | str, variants: Sequence[Variant], request: Request, folder: Path, say: Say
) -> Plan:
    """Check and measure everything, write the photo lists and plan.json, and return the plan.

    Measurements of an earlier plan in the folder are used again where nothing has changed.

    Raises:
        PhotosError: the photos cannot be used, or there are no test photos.
        NetworkError: a network cannot be built, or a block has a problem.
        RecipeError: a setting is invalid.
        UsageError: two variants are the same training, or tuning replaces what a variant sets.
        RunError: the folder holds another comparison.
    """
    if request.tune and (varied := [v.name for v in variants if "learning_rate" in v.settings]):
        what, why = f"tune {request.tune} with the variant {varied[0]}", "tuning chooses the learning rate"
        raise UsageError(what, why, "leave one of them out")
    before = Plan.load(folder) if (folder / PLAN).is_file() else None
    given = request.recipe
    found = Photos(photos, val_fraction=given.val_fraction, group_by=given.group_by)
    check_test_photos(found)
    say(str(found))
    recipe = request.recipe.for_photos(len(found.train))
    values = find_data_range(found.folder, found.train.paths, found.train.digests, recipe.value_range)
    if values is not None:
        say(str(values))
        recipe = recipe.with_settings(value_range=(values.low, values.high))
    environment = _environment(recipe)
    if before is not None:
        _check_same_settings(before, request, recipe, environment, folder)
    seeds = request.until_sure or request.seeds
    planned = [_plan_variant(variant, recipe, len(found.classes), before, seeds, say) for variant in variants]
    if request.budget == "parameters":
        wanted = planned[0].parameters
        planned = [_with_equal_parameters(variant, wanted, len(found.classes)) for variant in planned]
    preprocesses = [*{v.shown: Recipe(**v.recipe).preprocess(v.channels) for v in planned}.values()]
    readable = skip_unreadable(found, preprocesses[0], cache=recipe.cache, progress=request.progress)
    if readable.skipped.total:
        say(readable.skipped.warning(readable.photos, str(found.folder)))
    lists = folder / PHOTOS
    path = files.user_path(photos) if isinstance(photos, str | Path) else None  # else a value
    plan = Plan(
        photos=os.path.abspath(path or lists / GIVEN_PHOTOS),
        photos_digest=_photos_digest(readable.photos),
        test_photos=len(readable.photos.test),
        network=request.network,
        base_recipe=recipe.as_json(),
        budget=request.budget,
        tune=request.tune,
        margin=request.margin / 100,
        seeds=request.seeds,
        first_seed=request.first_seed,
        until_sure=request.until_sure,
        own_val=path is None or has_own_val(path),
        measured=before.measured if before else _measure(planned[0], readable.photos, say),
        environment=environment,
        variants=tuple(planned),
        given=tuple(sorted(recipe.model_fields_set)),
        counts=PhotoCounts.of(readable.photos),
        processor=before.processor if before else processor_name(),
        busy=before is not None and before.busy,
    )
    if before is not None and (before.photos_digest, before.own_val) != (plan.photos_digest, plan.own_val):
        raise _other(folder, "photos changed")
    lists.mkdir(parents=True, exist_ok=True)
    if before is None:
        for stale in lists.glob(seed_list("*")):  # of a plan that was interrupted, maybe of other photos
            stale.unlink()
    if path is None:
        found.save(lists / GIVEN_PHOTOS)
    listed = [*plan.first_seeds(plan.max_seeds), TUNING_SEED]
    write_photo_lists(readable.photos, plan.own_val, recipe.val_fraction, recipe.group_by, listed, lists)
    every = readable.photos.train + readable.photos.val + readable.photos.test
    for preprocess in preprocesses[1:]:
        open_pixels(found.folder, every, preprocess, cache=recipe.cache, progress=request.progress)
    plan = _equalize(_with_costs(plan, before, folder, request, say), say)
    _check_different(plan, folder)
    plan.save(folder)
    return plan


def _plan_variant(
    variant: Variant, recipe: Recipe, num_classes: int, before: Plan | None, seeds: int, say: Say
) -> PlannedVariant:
    """Build the variant's network once, and check its block if it comes from a user's file."""
    code = code_digest(variant.network)
    family, _, block = variant.network.partition(":")
    checked = {(v.variant.network, v.code) for v in before.variants} if before else set()
    is_new = (variant.network, code) not in checked
    if is_new and variant.network in dict(checked) and not variant.network.startswith(TIMM):
        file = printable(str(parse_name(variant.network).file))
        say(f"{file} has changed since: {seeds} new training{'s' * (seeds != 1)}")
    if code and family in FAMILY and is_new:
        say(f"checking {block}")
        check = check_block(block, family)
        if check.problem is not None:
            problem = check.problem
            why = ": ".join(filter(None, [problem.where, problem.cause, problem.shapes]))
            raise NetworkError(f"{block} fails the check of blocks", why, problem.do)
        for note in check.notes:
            say(f"note: {block}: {note}")
    changed = recipe.with_settings(**variant.settings)
    figures, channels = _figures(variant.network, num_classes, changed)
    return PlannedVariant(
        variant, changed.as_json(), code, figures.parameters, figures.multiply_adds, UNMEASURED, channels
    )


def _figures(network: str, num_classes: int, recipe: Recipe) -> tuple[Anatomy, int]:
    """Return the anatomy of a network at the recipe's image size, and the channels of its images."""
    module = build_network(spec_of(network, num_classes, recipe), recipe)
    channels = input_channels(module)
    return anatomy(module, (channels, recipe.size, recipe.size)), channels


def _with_equal_parameters(planned: PlannedVariant, wanted: int, num_classes: int) -> PlannedVariant:
    """Return the variant with the width whose number of parameters is nearest to `wanted`.

    Raises:
        UsageError: its network has no width, because it is not of the family.
    """
    network, recipe = planned.variant.network, Recipe(**planned.recipe)
    if parse_name(network).base not in FAMILY:
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
        figures, _ = _figures(network, num_classes, recipe.with_settings(width_mult=width))
        found[width] = count = figures.parameters
        low, high = (width, high) if count < wanted else (low, width)
    best = min(found, key=lambda width: (abs(found[width] - wanted), width))
    changed = recipe.with_settings(width_mult=best)
    figures, _ = _figures(network, num_classes, changed)
    return replace(
        planned,
        recipe=changed.as_json(),
        parameters=figures.parameters,
        multiply_adds=figures.multiply_adds,
    )


def code_digest(network: str) -> str:
    """Return the digest of the user's files that a network is built from, or timm's version; else ""."""
    if network.startswith(TIMM):
        return f"timm {version('timm')}"
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


def _check_same_settings(
    before: Plan, request: Request, recipe: Recipe, environment: dict[str, Any], folder: Path
) -> None:
    """Raise RunError if the folder holds a comparison of other settings or versions."""
    for name in ("network", "budget", "tune", "first_seed"):
        old, new = getattr(before, name), getattr(request, name)
        if old != new:
            raise _other(folder, f"{name} changed: {old} -> {new}")
    settings = recipe.as_json()
    for old_values, new_values in ((before.base_recipe, settings), (before.environment, environment)):
        for key in sorted(new_values.keys() - NO_EFFECT):
            if old_values.get(key) != new_values[key]:
                raise _other(folder, f"{key} changed: {old_values.get(key)} -> {new_values[key]}")


def _other(folder: Path, why: str) -> RunError:
    return RunError(
        f"{printable(str(folder))} holds another comparison",
        why,
        "give --output another folder, or the same photos, settings and versions as before",
    )


def _check_different(plan: Plan, folder: Path) -> None:
    """Raise UsageError if two variants would train the same cells."""
    names = dict[str, str]()
    for planned in plan.variants:
        name = planned.variant.name
        first = names.setdefault(plan.cell(folder, planned, 0, {}).folder, name)
        if first != name:
            why = f"network and settings agree with --budget {plan.budget}"
            raise UsageError(f"{first} and {name} are the same training", why, "leave one of them out")


def _with_costs(plan: Plan, before: Plan | None, folder: Path, request: Request, say: Say) -> Plan:
    """Return the plan with the cost of each variant, measured by all workers at once, as they will train."""
    known = {v.workload: v.cost for v in before.variants} if before else {}
    costs = {v.workload: known[v.workload] for v in plan.variants if v.workload in known}
    todo: dict[str, PlannedVariant] = {}
    for planned in plan.variants:
        if planned.workload not in costs:
            todo.setdefault(planned.workload, planned)
    if todo:
        say(f"measuring a few steps of {len(todo)} variant{'s' * (len(todo) != 1)} ...")
        jobs = min(request.workers, len(plan.variants) * plan.max_seeds)
        cells = [plan.cell(folder, v, plan.first_seed, {}) for v in todo.values() for _ in range(jobs)]
        by_name: dict[str, list[CellCost]] = defaultdict(list)
        if is_busy():
            plan = replace(plan, busy=True)
            say("the machine is busy: step times may be off")
        with tempfile.TemporaryDirectory() as temporary:
            log = Path(temporary) / "log"
            for cell, result in backend(request.on).run_tasks("measure", cells, jobs, log):
                by_name[cell.variant].append(CellCost(**result))
                if len(by_name[cell.variant]) == jobs:
                    done = sum(len(costs) == jobs for costs in by_name.values())
                    step = significant(1000 * _mean_cost(by_name[cell.variant]).seconds_per_step)
                    say(f"{printable(cell.variant)}: {step} ms a step, {done} of {len(todo)}")
        costs |= {name: _mean_cost(by_name[v.variant.name]) for name, v in todo.items()}
    return replace(plan, variants=tuple(replace(v, cost=costs[v.workload]) for v in plan.variants))


def _mean_cost(costs: Sequence[CellCost]) -> CellCost:
    rows = [asdict(cost) for cost in costs]
    means = {name: mean(row[name] for row in rows) for name in rows[0]}
    return CellCost(**{**means, "steps_per_epoch": rows[0]["steps_per_epoch"]})


def _equalize(plan: Plan, say: Say) -> Plan:
    """Return the plan with the epochs of each variant set so that all have the budget of the baseline."""
    baseline = plan.variants[0]
    epochs = int(baseline.recipe["epochs"])

    def fitting(planned: PlannedVariant) -> int:
        if plan.budget == "time":
            return round(epochs * baseline.cost.seconds_per_epoch / planned.cost.seconds_per_epoch)
        if plan.budget == "flops":
            return round(epochs * baseline.multiply_adds / planned.multiply_adds)
        return int(planned.recipe["epochs"])

    equal = tuple(with_epochs(v, fitting(v)) for v in plan.variants)
    for planned in equal if plan.budget in ("time", "flops") else ():
        say(f"{planned.variant.name}: {planned.recipe['epochs']} epochs")
    return replace(plan, variants=equal)
