"""Gain of each idea, from the JSON of compared ideas: what the idea adds, whichever side has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reslab.lab.results.sentences import VERDICT_WORDS, signed
from reslab.lab.statistics.verdicts import Verdict
from reslab.text import table

from .ideas import BASELINE, Idea, grouped

OPPOSITE: dict[Verdict | None, Verdict] = {"better": "worse", "worse": "better"}


@dataclass(frozen=True)
class Gain:
    """Accuracy with an idea minus accuracy without it, measured. Fractions of 1.

    Attributes:
        idea: the idea.
        difference: mean over seeds; None if a side has no finished cell.
        low: lower end of the 95 % interval for new seeds and new photos.
        high: upper end of it.
        p_value: adjusted by Holm's method for all ideas of its comparison.
        verdict: on the idea: better, worse, equivalent or undecided; None with fewer than five seeds.
        within_margin: the 90 % interval lies within the margin.
        seeds_needed: number of seeds that would settle it; None if it is settled or would never be.
        seeds: number of seeds.
        without: mean accuracy without the idea.
        step_ratio: time of a training step with the idea, divided by that without.
        epochs: epochs with the idea.
        epochs_without: epochs without it.
        failed: number of failed cells of both sides.
    """

    idea: Idea
    difference: float | None
    low: float
    high: float
    p_value: float | None
    verdict: Verdict | None
    within_margin: bool
    seeds_needed: int | None
    seeds: int
    without: float | None
    step_ratio: float
    epochs: int
    epochs_without: int
    failed: int


def gains(ideas: Sequence[Idea], result: Mapping[str, Any]) -> dict[str, Gain]:
    """Return the gain of each idea that was measured, by its name.

    Args:
        ideas: the ideas to look for.
        result: JSON of `compare_ideas`, which may be unfinished.
    """
    found = {}
    for group in grouped(ideas):
        rows = {row["name"]: row for row in result["comparisons"].get(group.name, {}).get("variants", ())}
        for idea in group.ideas:
            if idea.variant in rows:
                found[idea.name] = _gain(idea, rows[BASELINE], rows[idea.variant])
    return found


def _gain(idea: Idea, baseline: Mapping[str, Any], variant: Mapping[str, Any]) -> Gain:
    with_idea, without = (baseline, variant) if idea.removes else (variant, baseline)
    difference, low, high = (variant[name] for name in ("difference", "low", "high"))
    if idea.removes and difference is not None:
        difference, low, high = -difference, -high, -low
    verdict = variant["verdict"]
    return Gain(
        idea,
        difference,
        low,
        high,
        variant["p_value"],
        OPPOSITE.get(verdict, verdict) if idea.removes else verdict,
        variant["within_margin"],
        variant["seeds_needed"],
        len(variant["accuracies"]),
        without["mean"],
        with_idea["seconds_per_step"] / without["seconds_per_step"],
        with_idea["epochs"],
        without["epochs"],
        len(baseline["failed"]) + len(variant["failed"]),
    )


def gains_table(ideas: Sequence[Idea], result: Mapping[str, Any]) -> str:
    """Return a table for terminals: each idea with what it gains, its cost and the verdict."""
    measured = gains(ideas, result)
    rows = [_row(idea, measured.get(idea.name), result["left_out"].get(idea.name)) for idea in ideas]
    return table(["idea", "gain [95 %]", "step", "verdict"], rows, "lrrl")


def _row(idea: Idea, gain: Gain | None, left_out: str | None) -> list[str]:
    if gain is None:
        return [idea.short_name, "", "", f"left out: {left_out}" if left_out else "not measured yet"]
    return [idea.short_name, gain_text(gain), f"x {gain.step_ratio:.2f}", verdict_text(gain)]


def gain_text(gain: Gain) -> str:
    """Return a gain in points with its interval, such as "+0.8 [-0.1, +1.7]"; "–" without one."""
    if gain.difference is None:
        return "–"
    return f"{signed(gain.difference)} [{signed(gain.low)}, {signed(gain.high)}]"


def verdict_text(gain: Gain) -> str:
    """Return the verdict in a few words: "better", "practically equal", "not shown"."""
    words = VERDICT_WORDS[gain.verdict] if gain.difference is not None else "failed"
    if gain.verdict in OPPOSITE and gain.within_margin:
        words += ", within margin"
    return f"{words}, {gain.failed} failed" if gain.failed and gain.difference is not None else words
