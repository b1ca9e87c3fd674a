"""Made-up comparisons with real statistics for the tests of tables, figures and the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from reslab.lab.results.comparison import Comparison
from reslab.lab.results.variant_result import CellResult, VariantResult
from reslab.lab.statistics.verdicts import Difference, judge

ERROR = "the loss is not finite after epoch 2"
LONG_NAMES = tuple(
    f"experiments/attention_{i}/squeeze_and_excite.py:SqueezeExcitationResidualBlock{i}" for i in range(40)
)


def make_variants(
    gains: Mapping[str, float],
    *,
    seeds: int = 8,
    photos: int = 2000,
    spread: float = 0.007,
    failed: Mapping[str, Sequence[int]] | None = None,
    margin: float = 0.01,
    accuracy: float = 0.9,
    epochs: int = 30,
    sources: Mapping[str, str] | None = None,
) -> tuple[VariantResult, ...]:
    """Return variants with true gains of accuracy; the first is the baseline.

    Args:
        gains: true accuracy minus `accuracy`, by name.
        spread: standard deviation of a training's true accuracy.
        failed: seeds that failed, by variant.
        accuracy: of a variant without a gain.
        epochs: of each training.
        sources: of all variants but the baseline.
    """
    random = np.random.default_rng(7)
    failed = failed or {}
    hardness = random.normal(0, 0.05, photos)
    answers = {
        name: {
            seed: random.random(photos) < np.clip(accuracy + gain + random.normal(0, spread) + hardness, 0, 1)
            for seed in range(seeds)
        }
        for name, gain in gains.items()
    }
    bad = {seed for of_variant in failed.values() for seed in of_variant}
    paired = {
        name: {seed: right for seed, right in of_variant.items() if seed not in bad}
        for name, of_variant in answers.items()
    }
    differences: dict[str, Difference] = {}
    if len(bad) < seeds and len(gains) > 1:
        found = judge(paired, margin=margin, failed=[name for name in failed if failed[name]])
        differences = {difference.name: difference for difference in found}
    return tuple(
        VariantResult(
            name=name,
            network=f"cifar_resnet20:{name}",
            settings={},
            parameters=272_474 + 1000 * i,
            multiply_adds=40_813_184 + 100_000 * i,
            seconds_per_step=0.0412 + 0.0031 * i,
            cells=tuple(
                _cell(name, i, seed, float(right.mean()), seed in failed.get(name, ()), epochs)
                for seed, right in answers[name].items()
            ),
            difference=differences.get(name),
            epochs=epochs,
            sources=(sources or {}) if i else {},
        )
        for i, name in enumerate(gains)
    )


def _cell(name: str, number: int, seed: int, accuracy: float, failed: bool, length: int) -> CellResult:
    epochs = np.arange(1, length + 1)
    random = np.random.default_rng((number, seed))
    curve = accuracy * (1 - 0.6 * np.exp(-epochs / 5)) + random.normal(0, 0.006, len(epochs))
    folder = f"cells/{number:02}{seed:02}"
    if failed:
        return CellResult(name, seed, folder, None, tuple(map(float, curve[:2])), 3.0, ERROR)
    return CellResult(name, seed, folder, accuracy, tuple(map(float, curve)), 400.0 + number)


def make_comparison(folder: Path, variants: Sequence[VariantResult], **changes: object) -> Comparison:
    """Return a comparison of the variants in `folder`."""
    seeds = sorted({cell.seed for variant in variants for cell in variant.cells})
    values: dict[str, object] = {
        "folder": folder,
        "photos": "photos/cats-dogs",
        "test_photos": 2000,
        "margin": 0.01,
        "seeds": tuple(seeds),
        "variants": tuple(variants),
        "recipe": {"epochs": 30, "learning_rate": 0.1, "optimizer": "sgd", "size": 32},
        "environment": {"torch": "2.10.0", "processor": "Xeon", "precision": "fp32", "threads": 1},
    }
    return Comparison(**(values | changes))  # type: ignore[arg-type]
