"""Run an experiment of a paper on a part of a folder of photos, and compare with what the paper found."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reslab.datasets.fetch import get
from reslab.datasets.part import copy_part
from reslab.lab.compare import run_comparison
from reslab.lab.estimate import LEVEL
from reslab.lab.judging import judge_cells
from reslab.lab.plan import Plan
from reslab.lab.request import Request
from reslab.lab.results.comparison import Comparison
from reslab.lab.results.sentences import sentences
from reslab.lab.splits import read_labels
from reslab.lab.statistics.verdicts import Verdict
from reslab.training.recipe import Recipe

from .experiments import Claim, Experiment

WIDTH = 80  # columns

Say = Callable[[str], Any]


@dataclass(frozen=True)
class Finding:
    """Finding of the paper about a variant, and the measurement.

    Attributes:
        claim: of the paper.
        comparison: of the variant with the claim's baseline. p counts all variants of the experiment.
    """

    claim: Claim
    comparison: Comparison

    @property
    def verdict(self) -> Verdict | None:
        """Verdict on the variant; None with fewer than five seeds."""
        return self.comparison.verdicts.get(self.claim.variant)

    @property
    def conclusion(self) -> str:
        """Agreement with the paper in a few words."""
        if self.claim.found is None:
            return "the paper has no figure to compare with"
        if self.verdict == self.claim.found:
            return "as the paper found"
        if self.claim.found == "equivalent":
            is_shown = self.verdict in ("better", "worse")
            return "the paper found almost no difference" if is_shown else "equality is not shown"
        if self.verdict in ("better", "worse"):
            return "the opposite of what the paper found"
        if self.verdict == "equivalent":
            return "the paper's difference is not there"
        return "the paper's difference is not shown"

    def as_json(self) -> dict[str, Any]:
        """Return claim and measurement as JSON. Differences are fractions."""
        row = self.comparison.variants[1].as_json()
        measured = {name: row[name] for name in ("difference", "low", "high", "p_value", "verdict")}
        claim = self.claim
        return {
            "variant": claim.variant, "baseline": claim.baseline, "paper": claim.text, "where": claim.where,
            "found": claim.found, **measured, "conclusion": self.conclusion,
        }  # fmt: skip


def photos_of(experiment: Experiment, source: Path | None, folder: Path, say: Say) -> Path:
    """Return the part of a folder of photos that an experiment uses. It is copied once.

    Without a folder it is a part of Fashion-MNIST, which is downloaded unless it was before.

    Raises:
        DownloadError: Fashion-MNIST cannot be downloaded.
        PhotosError: the photos cannot be used.
    """
    part = folder / "photos"
    if not part.exists():
        if source is None:
            source = folder.parent / "fashion-mnist"
            if not source.exists():
                say(f"downloading Fashion-MNIST into {source}")
                get("fashion-mnist", source)
        copy_part(source, part, train=experiment.train, test=experiment.test)
    return part


def request_of(experiment: Experiment, *, seeds: int | None, jobs: int | None) -> Request:
    """Return how an experiment compares its variants, with another number of seeds if one is given."""
    recipe = Recipe(**experiment.recipe)
    return Request(experiment.network, recipe, seeds or experiment.seeds, jobs=jobs)


def run_experiment(
    experiment: Experiment, plan: Plan, folder: Path, request: Request, say: Say
) -> tuple[Comparison, list[Finding]]:
    """Train the cells that are not finished, and return all variants and the finding on each claim.

    Raises:
        ReslabError: as `compare`.
        KeyboardInterrupt: after Ctrl-C. The same call continues.
    """
    comparison = run_comparison(plan, folder, request, say)
    labels = read_labels(folder)
    planned = {v.variant.name: v for v in plan.variants}
    findings = []
    for claim in experiment.claims:
        # the same cells with another baseline; Holm's method still counts the other variants
        pair = replace(plan, variants=(planned[claim.baseline], planned[claim.variant]))
        cells = pair.cells(folder, plan.first_seeds(plan.seeds))
        findings.append(Finding(claim, judge_cells(pair, folder, cells, labels, LEVEL)))
    return comparison, findings


def findings_text(findings: Sequence[Finding]) -> str:
    """Return what the paper found next to what was measured, in words."""
    blocks = []
    for finding in findings:
        claim, comparison = finding.claim, finding.comparison
        measured, *_ = sentences(comparison.variants, comparison.margin)
        rows = {
            "paper": f"{claim.text} ({claim.where})",
            "measured": measured.removeprefix(f"{claim.variant}: "),
            "so": finding.conclusion,
        }
        lines = [f"{claim.variant}, compared with {claim.baseline}"]
        lines += [
            textwrap.fill(text, WIDTH, initial_indent=f"  {name:10}", subsequent_indent=" " * 12)
            for name, text in rows.items()
        ]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)
