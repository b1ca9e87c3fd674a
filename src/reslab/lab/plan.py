"""Plan of a comparison: what is compared, at which cost, and the cells that follow from it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from reslab import files
from reslab.errors import RunError
from reslab.training.recipe import Recipe
from reslab.training.timing.precision_cache import MeasuredPrecision
from reslab.untrusted import first_messages, read_text, validation_messages

from .cells import Cell
from .costs import CellCost
from .results.photo_counts import PhotoCounts
from .splits import TEST_LIST, seed_list
from .variants import Variant

PLAN = "plan.json"
PHOTOS = "photos"  # folder of the photo lists
CELLS = "cells"
TUNING_SEED = 1_000_000  # its split and weights are not among those that judge
# fields of a recipe that change what a step computes with, but not the images that it is shown
NOT_SHOWN = {
    "optimizer", "learning_rate", "momentum", "nesterov", "weight_decay", "schedule", "milestones",
    "warmup_epochs", "label_smoothing", "weight_averaging", "zero_init_residual", "freeze", "stem",
    "width_mult", "precision", "device", "cache", "workers", "checkpoint_minutes", "mixup", "cutmix",
    "clip_grad", "class_weights", "group_by",
}  # fmt: skip
NO_EFFECT = {"cache", "workers", "checkpoint_minutes"}
# fields that do not change how long a step takes
NO_COST = NO_EFFECT | {
    "epochs", "learning_rate", "momentum", "nesterov", "weight_decay", "schedule", "milestones",
    "warmup_epochs", "label_smoothing", "zero_init_residual", "class_weights",
}  # fmt: skip

Budget = Literal["epochs", "time", "flops", "parameters"]


@dataclass(frozen=True)
class PlannedVariant:
    """A variant with its whole recipe and its cost.

    Attributes:
        variant: what the user named.
        recipe: every setting but the seed, as JSON.
        code: digest of the user's files that its network is built from, or timm's version; "" for others.
        parameters: number of parameters.
        multiply_adds: of one image.
        cost: measured before the first cell.
        channels: of the images that its network takes, 1 or 3.
    """

    variant: Variant
    recipe: dict[str, Any]
    code: str
    parameters: int
    multiply_adds: int
    cost: CellCost
    channels: int = 3

    @property
    def identity(self) -> str:
        """Digest of what is trained. An edited block is another variant than before.

        Equal budgets may give a variant other epochs in a later plan. It stays the same variant.
        """
        recipe = {**self.recipe, "epochs": self.variant.settings.get("epochs")}
        return _digest([self.variant.network, self.code, recipe])

    @property
    def shown(self) -> str:
        """Digest of what decides the images that its cells are shown: equal for the same images."""
        recipe = {name: value for name, value in self.recipe.items() if name not in NOT_SHOWN}
        return _digest([recipe, self.channels])

    @property
    def workload(self) -> str:
        """Digest of what decides the cost of a step.

        Variants of equal workload share a measurement, so that noise cannot give them unequal epochs.
        """
        recipe = {name: value for name, value in self.recipe.items() if name not in NO_COST}
        return _digest([self.variant.network, self.code, recipe])

    @property
    def seconds(self) -> float:
        """Estimated seconds of one cell."""
        return self.cost.seconds(self.recipe["epochs"])

    @property
    def steps(self) -> int:
        """Number of training steps of one cell."""
        return self.cost.steps_per_epoch * int(self.recipe["epochs"])


@dataclass(frozen=True)
class Plan:
    """Everything about a comparison that is decided before its first cell; plan.json.

    Attributes:
        photos: folder or list of the photos, absolute.
        photos_digest: of paths, labels, splits and contents of all photos.
        test_photos: number of test photos.
        network: notation of the network that gets the blocks.
        base_recipe: every setting of the comparison's recipe, as JSON.
        budget: what is equal for all variants.
        tune: number of learning rates that are tried for each variant; 0 for none.
        margin: difference of accuracy that does not matter, 0 to 1.
        seeds: number of seeds.
        until_sure: largest number of seeds of a sequential comparison; None for a fixed number.
        own_val: the photos bring a validation split, which all seeds share.
        measured: precision and threads of all cells.
        environment: versions and device that results depend on.
        variants: the baseline, then the others.
        given: settings of the recipe that were given. Others follow from these, as the learning rate follows
            from a variant's optimizer.
        first_seed: first of the seeds.
        counts: numbers of photos, and their most frequent class.
        processor: model of the processor that measured the steps.
        busy: other programs used the processor while steps were measured.
    """

    photos: str
    photos_digest: str
    test_photos: int
    network: str
    base_recipe: dict[str, Any]
    budget: Budget
    tune: int
    margin: float
    seeds: int
    until_sure: int | None
    own_val: bool
    measured: MeasuredPrecision
    environment: dict[str, Any]
    variants: tuple[PlannedVariant, ...]
    given: tuple[str, ...] = ()
    first_seed: int = 0
    counts: PhotoCounts | None = None
    processor: str = ""
    busy: bool = False

    @property
    def recipe(self) -> Recipe:
        """The comparison's recipe."""
        return Recipe(**{name: self.base_recipe[name] for name in self.given or self.base_recipe})

    @property
    def max_seeds(self) -> int:
        """Largest number of seeds that may be trained."""
        return self.until_sure or self.seeds

    def first_seeds(self, count: int) -> range:
        """Return the first `count` seeds."""
        return range(self.first_seed, self.first_seed + count)

    def save(self, folder: Path) -> None:
        """Write plan.json into the comparison's folder."""
        files.write_json(folder / PLAN, asdict(self))

    @classmethod
    def load(cls, folder: Path) -> Plan:
        """Read the plan of a comparison.

        Raises:
            RunError: the folder has no plan, or it is damaged.
        """
        path = folder / PLAN
        try:
            return TypeAdapter(cls).validate_json(read_text(path))
        except (OSError, ValueError) as error:
            messages = validation_messages(error) if isinstance(error, ValidationError) else [str(error)]
            why = first_messages(messages)
            raise RunError(f"{path} cannot be read", why, "choose another --output") from error

    def cells(
        self, folder: Path, seeds: Sequence[int], settings: Sequence[Mapping[str, Any]] = ()
    ) -> list[Cell]:
        """Return the cells of all variants, seed by seed, so that an interrupted comparison has whole pairs.

        Args:
            folder: of the comparison.
            seeds: seeds of the cells.
            settings: further settings of each variant, such as tuned learning rates.
        """
        settings = settings or [{}] * len(self.variants)
        return [
            self.cell(folder, planned, seed, changed)
            for seed in seeds
            for planned, changed in zip(self.variants, settings, strict=True)
        ]

    def cell(self, folder: Path, planned: PlannedVariant, seed: int, settings: Mapping[str, Any]) -> Cell:
        """Return one cell. Its folder is named by a digest of everything that its result depends on."""
        recipe = {**planned.recipe, **settings, "seed": seed}
        content = {
            "network": planned.variant.network,
            "code": planned.code,
            "recipe": {name: value for name, value in recipe.items() if name not in NO_EFFECT},
            "photos": [self.photos_digest, self.own_val],
            "precision": [self.measured.precision, self.measured.threads],
            "environment": self.environment,
        }
        lists = folder / PHOTOS
        return Cell(
            variant=planned.variant.name,
            seed=seed,
            network=planned.variant.network,
            code=planned.code,
            recipe=recipe,
            measured=asdict(self.measured),
            photos=os.path.abspath(lists / seed_list(seed)),
            test=os.path.abspath(lists / TEST_LIST),
            folder=os.path.abspath(folder / CELLS / _digest(content)),
        )


def with_epochs(planned: PlannedVariant, epochs: int) -> PlannedVariant:
    """Return the variant with another number of epochs, at least 1. Its warmup keeps its proportion."""
    recipe = dict(planned.recipe)
    warmup = recipe["warmup_epochs"] * max(1, epochs) / recipe["epochs"]
    return replace(planned, recipe={**recipe, "epochs": max(1, epochs), "warmup_epochs": warmup})


def _digest(content: Any) -> str:
    text = json.dumps(content, sort_keys=True)
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
