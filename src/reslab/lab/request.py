"""Request: settings of a comparison, as `compare` and its flags take them, with defaults."""

from __future__ import annotations

from dataclasses import dataclass, field

from reslab.errors import RecipeError, UsageError
from reslab.training.recipe import Recipe

from .backends.choose import backend
from .plan import Budget, Plan
from .statistics.looks import planned_looks


@dataclass(frozen=True)
class Request:
    """Settings of a comparison, but for photos, variants and folder. `compare` describes each.

    Raises:
        UsageError: a number is out of its range.
        RecipeError: the recipe has a time.
    """

    network: str = "resnet18"
    recipe: Recipe = field(default_factory=Recipe)
    seeds: int = 8
    first_seed: int = 0
    margin: float = 1.0
    until_sure: int | None = None
    budget: Budget = "epochs"
    tune: int = 0
    on: str = "local"
    jobs: int | None = None
    progress: bool = True

    def __post_init__(self) -> None:
        least = {"seeds": 1, "first_seed": 0, "tune": 0, "jobs": 1}
        for name in least:
            number = getattr(self, name)
            if number is not None and number < least[name]:
                raise UsageError(f"{name} {number} is too small", "", f"give {least[name]} or more")
        if self.tune == 1:
            what, why = "tune 1 tries one learning rate", "there is nothing to choose from"
            raise UsageError(what, why, "give 3 or more")
        if not 0 <= self.margin < 100:
            what = f"margin {self.margin:g} is not from 0 to 100"
            raise UsageError(what, "it is in percentage points", "give 1.0")
        if self.until_sure is not None:
            planned_looks(self.until_sure)
        if self.recipe.time is not None:
            raise RecipeError(
                f"time {self.recipe.time}: the cells of a comparison have a number of epochs",
                "what a time allows depends on what else the machine does",
                "give --epochs, and --budget time for the same time for every variant",
            )

    @classmethod
    def stored(cls, plan: Plan) -> Request:
        """Return the request of a stored comparison."""
        margin = round(100 * plan.margin, 9)
        return cls(
            network=plan.network,
            recipe=plan.recipe,
            seeds=plan.seeds,
            first_seed=plan.first_seed,
            margin=margin,
            until_sure=plan.until_sure,
            budget=plan.budget,
            tune=plan.tune,
        )

    @property
    def workers(self) -> int:
        """Number of cells to train at a time: `jobs`, or as many as cores on a CPU, else as GPUs."""
        return self.jobs or backend(self.on).default_jobs(self.recipe.device)
