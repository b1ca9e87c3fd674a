"""Results of a comparison: CellResult for one training, VariantResult for a variant with all of its cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import mean
from typing import Any

from reslab.lab.statistics.verdicts import Difference


@dataclass(frozen=True)
class CellResult:
    """One training: a variant with a seed.

    Attributes:
        variant: name of the variant.
        seed: of validation split, initial weights, order and augmentation.
        folder: run folder, relative to the comparison's folder.
        accuracy: on the test photos, 0 to 1; None if it failed.
        val_accuracies: on the validation photos after each epoch, 0 to 1.
        seconds: of training.
        error: why it failed; None if it did not.
    """

    variant: str
    seed: int
    folder: str
    accuracy: float | None
    val_accuracies: tuple[float, ...] = ()
    seconds: float = 0.0
    error: str | None = None


@dataclass(frozen=True)
class VariantResult:
    """A variant with its cost, its cells and its difference from the baseline.

    Attributes:
        name: as the user wrote it, such as "se", "my_block.py:MyBlock" or "learning_rate=0.03".
        network: notation of the whole network, such as "cifar_resnet20:se".
        settings: fields of the recipe in which it differs from the comparison's recipe.
        parameters: number of parameters.
        multiply_adds: of one image.
        seconds_per_step: of a training step, measured before the first cell.
        cells: its cells, by seed.
        difference: from the baseline; None for the baseline, and without two finished cells of one seed.
        epochs: of each training.
        sources: text by name of the user's files that its network is built from.
    """

    name: str
    network: str
    settings: Mapping[str, Any]
    parameters: int
    multiply_adds: int
    seconds_per_step: float
    cells: tuple[CellResult, ...] = field(repr=False)
    difference: Difference | None = None
    epochs: int = 0
    sources: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def accuracies(self) -> tuple[float, ...]:
        """Test accuracies of the finished cells, in the order of the seeds."""
        return tuple(cell.accuracy for cell in self.cells if cell.accuracy is not None)

    @property
    def seconds(self) -> float:
        """Mean seconds of training of a finished cell; 0 without one."""
        done = [cell.seconds for cell in self.cells if cell.accuracy is not None]
        return mean(done) if done else 0.0

    @property
    def failures(self) -> tuple[CellResult, ...]:
        """Cells that failed."""
        return tuple(cell for cell in self.cells if cell.error is not None)

    def as_json(self) -> dict[str, Any]:
        """Return the entry of "variants" in the JSON of `reslab compare --json`."""
        difference = self.difference
        figures: dict[str, Any] = dict.fromkeys(
            ("difference", "low", "high", "p_value", "verdict", "seeds_needed")
        )
        if difference is not None:
            figures = {
                "difference": difference.difference,
                "low": difference.interval.low,
                "high": difference.interval.high,
                "p_value": difference.p_holm,
                "verdict": difference.verdict,
                "seeds_needed": difference.seeds_needed,
            }
        accuracies = self.accuracies
        return {
            "name": self.name,
            "network": self.network,
            "settings": dict(self.settings),
            "accuracies": list(accuracies),
            "mean": mean(accuracies) if accuracies else None,
            **figures,
            "parameters": self.parameters,
            "multiply_adds": self.multiply_adds,
            "seconds_per_step": self.seconds_per_step,
            "seconds": self.seconds,
            "failed": [{"seed": cell.seed, "error": cell.error} for cell in self.failures],
        }
