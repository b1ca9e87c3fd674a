"""Comparison: variants of a network compared with a baseline, as a value with a table and a figure."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from reslab.lab.statistics.mean_squares import Interval
from reslab.lab.statistics.verdicts import Difference, Verdict

from .photo_counts import PhotoCounts
from .variant_result import CellResult, VariantResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .tables import TableFormat


@dataclass(frozen=True)
class Comparison:
    """Variants of a network compared with a baseline, over seeds and test photos.

    Attributes:
        folder: folder of the comparison, with all cells.
        photos: folder or list of the photos.
        test_photos: number of test photos.
        margin: difference of accuracy that does not matter, 0 to 1.
        seeds: of the finished comparison, ascending.
        variants: the baseline, then the others.
        recipe: settings of the training, by name.
        budget: what is equal for all variants: epochs, time, flops or parameters.
        planned_seeds: largest number of seeds if the looks were planned with `until_sure`, else None.
        exploratory: seeds or margin were changed after a look at the result.
        also_run: variants that were run in this folder before and are not listed now.
        environment: versions, processor, precision and threads of the cells.
        counts: numbers of photos, and their most frequent class; None if they are not known.
        baseline_interval: 95 % interval of the baseline's mean accuracy, for new photos; None if it failed.
        command: shell command that repeats the comparison; "" if it is not known.
        measured_busy: other programs used the machine while the steps were measured.
    """

    folder: Path
    photos: str
    test_photos: int
    margin: float
    seeds: tuple[int, ...]
    variants: tuple[VariantResult, ...]
    recipe: Mapping[str, Any] = field(repr=False)
    budget: str = "epochs"
    planned_seeds: int | None = None
    exploratory: bool = False
    also_run: int = 0
    environment: Mapping[str, Any] = field(default_factory=dict, repr=False)
    counts: PhotoCounts | None = field(default=None, repr=False)
    baseline_interval: Interval | None = None
    command: str = field(default="", repr=False)
    measured_busy: bool = False

    @property
    def baseline(self) -> VariantResult:
        """The variant that the others are compared with: the first."""
        return self.variants[0]

    @property
    def cells(self) -> tuple[CellResult, ...]:
        """All cells, variant by variant."""
        return tuple(cell for variant in self.variants for cell in variant.cells)

    @property
    def differences(self) -> dict[str, Difference]:
        """Difference of each variant from the baseline, by name."""
        return {v.name: v.difference for v in self.variants if v.difference is not None}

    @property
    def verdicts(self) -> dict[str, Verdict | None]:
        """Verdict on each variant, by name; None with fewer than five seeds."""
        return {name: difference.verdict for name, difference in self.differences.items()}

    @property
    def is_clear(self) -> bool:
        """True if no verdict is open, so that more seeds are not needed."""
        return not {"undecided", None} & set(self.verdicts.values())

    def as_json(self) -> dict[str, Any]:
        """Return the JSON of `reslab compare --json`: accuracies are fractions, times seconds."""
        return {
            "baseline": self.baseline.name,
            "metric": "test_accuracy",
            "seeds": len(self.seeds),
            "test_photos": self.test_photos,
            "margin": self.margin,
            "exploratory": self.exploratory,
            "folder": str(self.folder),
            "warning": self.warning,
            "variants": [variant.as_json() for variant in self.variants],
        }

    def table(self, format: TableFormat = "text", *, width: int = 80) -> str:  # noqa: A002
        """Return the table of variants: cost, accuracy, difference with its interval, p and verdict.

        Args:
            format: "text", "markdown", "latex" or "html".
            width: of a terminal, in characters, for "text".
        """
        from .tables import comparison_table

        return comparison_table(self.variants, self.margin, format, width=width, warning=self.warning)

    @property
    def warning(self) -> str | None:
        """Sentence that the baseline is no better than always answering one class; None if it is better."""
        from .sentences import chance_warning

        accuracies = self.baseline.accuracies
        if self.counts is None or self.baseline_interval is None or not accuracies:
            return None
        return chance_warning(mean(accuracies), self.baseline_interval, self.counts)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on how far to trust the verdicts: looks, and variants that were run before."""
        from .sentences import notes

        return notes(
            exploratory=self.exploratory,
            planned_seeds=self.planned_seeds,
            also_run=self.also_run,
            measured_busy=self.measured_busy,
        )

    def plot(self) -> Figure:
        """Return the forest plot: each variant's difference with both intervals, seeds and the margin."""
        from .figures.forest import draw_forest

        return draw_forest(self.variants, self.margin)

    def __str__(self) -> str:
        return "\n".join([self.table(), *self.notes])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.table("html") + "".join(f"\n<p>{html.escape(note)}</p>" for note in self.notes)
