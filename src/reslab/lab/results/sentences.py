"""Sentences on a comparison in plain English, for the terminal, pages and figures."""

from __future__ import annotations

import math
from collections.abc import Sequence

from reslab.lab.statistics.mean_squares import Interval
from reslab.lab.statistics.power import winners_curse
from reslab.lab.statistics.verdicts import MAX_SEEDS_NEEDED, MIN_SEEDS_FOR_VERDICT, Difference, Verdict

from .photo_counts import PhotoCounts
from .variant_result import VariantResult

MIN_EXAGGERATION = 1.25  # reported over expected difference; the winner's curse is stated from here
VERDICT_WORDS: dict[Verdict | None, str] = {
    "better": "better",
    "worse": "worse",
    "equivalent": "practically equal",
    "undecided": "not shown",
    None: "no verdict",
}


def sentences(variants: Sequence[VariantResult], margin: float) -> tuple[str, ...]:
    """Return the findings in words: each variant's verdict with its limits, then all failures.

    Args:
        variants: the baseline, then the others.
        margin: difference of accuracy that does not matter, 0 to 1.
    """
    baseline, *others = variants
    places = decimals(variants)
    found = [] if others else [f"{baseline.name}: there is no other variant to compare it with."]
    for variant in others:
        found += _findings(variant, baseline, margin, places)
    return (*found, *(line for variant in variants for line in _failures(variant)))


def notes(
    *, exploratory: bool, planned_seeds: int | None, also_run: int, measured_busy: bool = False
) -> tuple[str, ...]:
    """Return what else decides how far the verdicts can be trusted.

    Args:
        exploratory: seeds or margin were changed after a look at the result.
        planned_seeds: largest number of seeds if the looks were planned, else None.
        also_run: number of variants that were run before and are not listed now.
        measured_busy: other programs used the machine while the steps were measured.
    """
    found = []
    if exploratory:
        found.append(
            "Exploratory: seeds or margin were changed after a look at the result. That raises false alarms. "
            "Confirm the verdicts with seeds that were not used: --first-seed and another --output."
        )
    if planned_seeds is not None:
        found.append(
            f"The looks were planned for up to {planned_seeds} seeds. Early looks are stricter, so that all "
            "looks together keep the level of 5 %."
        )
    if also_run:
        were = "1 variant that was" if also_run == 1 else f"{also_run} variants that were"
        found.append(f"The p-values also count {were} run in this folder before.")
    if measured_busy:
        found.append("The steps were measured on a busy machine: their times may be off.")
    return tuple(found)


def chance_warning(accuracy: float, interval: Interval, counts: PhotoCounts) -> str | None:
    """Return a warning if the baseline is not better than always answering the most frequent class.

    Args:
        accuracy: the baseline's, mean over its trainings, 0 to 1.
        interval: of this accuracy, for new photos.
        counts: of the photos.
    """
    if interval.low > counts.share:
        return None
    always = f"always answering '{counts.most_frequent}' gives {100 * counts.share:.1f} %"
    if accuracy <= counts.share:
        return (
            f"The baseline has learned nothing yet: {100 * accuracy:.1f} %, and {always}; "
            "train longer before you compare."
        )
    return (
        f"The baseline may have learned nothing yet: {100 * accuracy:.1f} % of {counts.test:,} test photos, "
        f"and {always}; train longer, or take more test photos, before you compare."
    )


def verdict_text(variant: VariantResult) -> str:
    """Return the verdict on a variant that is not the baseline in a few words, with its failures."""
    difference, failed = variant.difference, len(variant.failures)
    if difference is None:
        return "failed" if failed and not variant.accuracies else "not finished"
    words = VERDICT_WORDS[difference.verdict]
    if difference.verdict in ("better", "worse") and difference.within_margin:
        words += ", within margin"
    return f"{words}, {failed} failed" if failed else words


def difference_text(difference: Difference, places: int = 1) -> str:
    """Return a difference in points with its interval, such as "+0.8 [-0.1, +1.7]"."""
    text = signed(difference.difference, places)
    return f"{text} {_range(difference.interval, places)}" if is_known(difference.interval) else text


def is_known(interval: Interval) -> bool:
    """Return False for the interval [-1, 1] of too little data."""
    return (interval.low, interval.high) != (-1, 1)


def signed(fraction: float, places: int = 1) -> str:
    """Return a difference of fractions in points with its sign: 0.008 gives "+0.8"."""
    return f"{100 * fraction:+z.{places}f}"


def margin_text(margin: float) -> str:
    """Return the margin in points: 0.01 gives "1.0", 0.0025 gives "0.25"."""
    text = f"{100 * margin:.4g}"
    return text if "." in text else f"{text}.0"


def decimals(variants: Sequence[VariantResult]) -> int:
    """Return the decimals of points that the narrowest interval supports, 1 to 3."""
    known = [v.difference.interval for v in variants if v.difference and is_known(v.difference.interval)]
    widths = [interval.high - interval.low for interval in known if interval.high > interval.low]
    return min(3, max(1, 1 - math.floor(math.log10(200 * min(widths))))) if widths else 1


def _findings(variant: VariantResult, baseline: VariantResult, margin: float, places: int) -> list[str]:
    name, difference = variant.name, variant.difference
    if difference is None:
        return [f"{name}: no seed is finished for both {baseline.name} and {name}."]
    found = [f"{name}: {_verdict(difference, baseline.name, margin, places)}"]
    if difference.verdict == "undecided":
        if variant.failures or baseline.failures:
            settle = "; a failed training rules out another verdict" * _is_settled(difference)
        elif difference.seeds_needed is None:
            settle = f"; {MAX_SEEDS_NEEDED:,} seeds would not settle it"
        else:
            settle = f"; about {difference.seeds_needed:,} seeds would settle it"
        found[0] += settle
    found[0] += "."
    if difference.verdict == "undecided" and difference.limited_by == "photos":
        found.append(
            f"{name}: the difference is limited by the {difference.photos:,} test photos: "
            "more seeds would help less than more photos."
        )
    if difference.verdict in ("better", "worse"):
        found += [f"{name}: {caution}." for caution in _cautions(difference, places)]
    return found


def _verdict(difference: Difference, baseline: str, margin: float, places: int) -> str:
    d, interval = difference.difference, difference.interval
    if difference.verdict in ("better", "worse"):
        low, high = sorted((abs(interval.low), abs(interval.high)))
        size = f"{100 * abs(d):.{places}f} points [{100 * low:.{places}f}, {100 * high:.{places}f}]"
        limit = f", by less than matters (margin {margin_text(margin)})" if difference.within_margin else ""
        return f"{difference.verdict} than {baseline} by {size}{limit}"
    gain = difference_text(difference, places).replace(" ", " points ", 1)
    if difference.verdict == "equivalent":
        inner = _range(difference.interval_90, places)
        return (
            f"practically equal to {baseline}: {signed(d, places)} points, the 90 % interval {inner} lies "
            f"within the margin of {margin_text(margin)}"
        )
    if difference.verdict is None:
        gain = gain if " " in gain else f"{gain} points"
        if difference.seeds < MIN_SEEDS_FOR_VERDICT:
            seeds = "1 seed" if difference.seeds == 1 else f"{difference.seeds} seeds"
            return f"{gain} with {seeds}; under {MIN_SEEDS_FOR_VERDICT} seeds: figures only, no verdict"
        return f"{gain} points on one test photo: figures only, no verdict"
    alone = f" (p = {difference.p_value:.3f} alone, {difference.p_holm:.3f} among all variants)"
    adjusted = alone * (difference.p_value <= 0.05 < difference.p_holm)
    return f"not shown to be better or worse than {baseline}: {gain}{adjusted}"


def _is_settled(difference: Difference) -> bool:
    """Return True if the figures alone, without failures, allow a verdict."""
    return difference.p_holm <= 0.05 or difference.within_margin


def _cautions(difference: Difference, places: int) -> list[str]:
    """Return doubts about a significant difference: another test disagrees, or the winner's curse."""
    found = []
    if difference.sign_flip_p is not None and difference.sign_flip_p > 0.05:
        found.append(
            f"flipping the signs of the {difference.seeds} differences, a second opinion, does not confirm "
            f"it (p = {difference.sign_flip_p:.2f})"
        )
    expected = _expected(difference)
    if expected is not None:
        size = f"about {100 * expected:.{places}f} points" if expected else "much less"
        found.append(f"differences found with few seeds are overestimated: expect {size}")
    return found


def _expected(difference: Difference) -> float | None:
    """Return the size of the true difference that is reported like this one when it is significant.

    None: it is not much smaller than the reported one. 0: even a tiny one would be reported so.
    """
    from scipy.optimize import brentq

    reported, spread = abs(difference.difference), difference.spread
    if not spread:
        return None

    def excess(true: float) -> float:
        return winners_curse(spread, difference.seeds, true) - reported

    if excess(reported / MIN_EXAGGERATION) < 0:
        return None
    smallest = reported / 4
    return 0.0 if excess(smallest) > 0 else float(brentq(excess, smallest, reported))


def _failures(variant: VariantResult) -> list[str]:
    """Return a sentence for each reason for which cells of a variant failed."""
    seeds: dict[str, list[int]] = {}
    for cell in variant.failures:
        seeds.setdefault(" ".join((cell.error or "").split()), []).append(cell.seed)
    return [
        f"{variant.name}: seed{'s' * (len(failed) > 1)} {', '.join(map(str, failed))} failed: {error}"
        for error, failed in seeds.items()
    ]


def _range(interval: Interval, places: int) -> str:
    return f"[{signed(interval.low, places)}, {signed(interval.high, places)}]"
