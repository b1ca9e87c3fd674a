"""Check exercise 7: the paired mean difference with its 95 % interval, against scipy."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from scipy import stats

from reslab.course.feedback import NotSolvedError, call, shown, usual_mistake

Interval = tuple[float, float, float]  # mean difference, lower end, upper end


def check(answer: Any) -> str:
    """Compare paired_difference of the learner's module with scipy's paired t interval.

    Return what was compared. Raise NotSolvedError at the first difference.
    """
    random = np.random.default_rng(0)
    tables = [(np.array([0.80, 0.84, 0.79]), np.array([0.82, 0.85, 0.84]))]
    for count in (2, 3, 4, 5, 8, 10, 20):
        first = random.normal(0.85, 0.03, count)  # the seed's effect, common to both variants
        tables.append((first, first + random.normal(0.005, 0.004, count)))
    results = [_call(answer.paired_difference, first, second) for first, second in tables]
    for (first, second), result in zip(tables, results, strict=True):
        right = _scipy(stats.ttest_rel, first, second)
        if not np.allclose(result, right, atol=1e-9):
            candidates = (
                (why, np.ravel([wrong(*table) for table in tables]).tolist()) for why, wrong in _mistakes()
            )
            why = usual_mistake(np.ravel(results).tolist(), candidates, 1e-5)
            raise NotSolvedError(*_difference(first, second, result, right), why)
    return f"equal to scipy's paired t interval in {len(tables)} tables of 2 to 20 seeds"


def _call(function: Any, first: Any, second: Any) -> Interval:
    what = f"paired_difference({_list(first)}, {_list(second)})"
    result = call(what, function, first.tolist(), second.tolist())
    try:
        mean, low, high = (float(value) for value in result)
    except (TypeError, ValueError):
        raise NotSolvedError(
            f"{what} gives {shown(result)}", "expected three numbers: return mean, low, high"
        ) from None
    return mean, low, high


def _difference(first: Any, second: Any, result: Interval, right: Interval) -> list[str]:
    n, differences = len(first), second - first
    s, t = float(differences.std(ddof=1)), float(stats.t.ppf(0.975, n - 1))
    return [
        f"paired_difference({_list(first)}, {_list(second)})",
        f"gives    mean {result[0]:.4f}, interval [{result[1]:.4f}, {result[2]:.4f}]",
        f"expected mean {right[0]:.4f}, interval [{right[1]:.4f}, {right[2]:.4f}]",
        f"the differences: {_list(differences)}; n = {n}, their standard deviation s = {s:.4f}",
        f"t·s/√n = {t:.3f}·{s:.4f}/√{n} = {t * s / n**0.5:.4f} on each side of the mean",
    ]


def _scipy(test: Callable[..., Any], first: Any, second: Any) -> Interval:
    """Return the mean of second - first, and the 95 % interval of it by a test of scipy.

    Args:
        test: ttest_rel or ttest_ind, called as test(second, first).
        first: accuracies of one variant, (n,).
        second: accuracies of the other, (n,).
    """
    interval = test(second, first).confidence_interval(0.95)
    return float(np.mean(second) - np.mean(first)), float(interval.low), float(interval.high)


def _mistakes() -> list[tuple[str, Callable[[Any, Any], Interval]]]:
    """Return pairs: an explanation of a mistake, and the function of (first, second) that makes it."""

    def around(mean: float, half: float) -> Interval:
        return mean, mean - half, mean + half

    def t(n: int) -> float:
        return float(stats.t.ppf(0.975, n - 1))

    def paired(factor: Callable[[int], float], *, ddof: int = 1) -> Callable[[Any, Any], Interval]:
        return lambda a, b: around((b - a).mean(), factor(len(a)) * (b - a).std(ddof=ddof) / len(a) ** 0.5)

    def unpaired(factor: Callable[[int], float]) -> Callable[[Any, Any], Interval]:
        return lambda a, b: around(
            (b - a).mean(), factor(len(a)) * ((a.var(ddof=1) + b.var(ddof=1)) / len(a)) ** 0.5
        )

    groups = (
        "This is the interval of two independent groups. Runs of one seed belong together: take the "
        "differences first, then their spread."
    )
    normal = "1.96 is for many seeds; for n seeds it is t with n - 1 degrees of freedom: 2.78 for 5."
    return [
        ("The sign is reversed: the difference is second - first.", lambda a, b: paired(t)(b, a)),
        (normal, paired(lambda n: 1.96)),
        (normal, paired(lambda n: float(stats.norm.ppf(0.975)))),
        (normal, paired(lambda n: 2.0)),
        (
            "n - 1 degrees of freedom, not n: the mean uses one.",
            paired(lambda n: float(stats.t.ppf(0.975, n))),
        ),
        ("Divide the squares by n - 1, ddof=1: numpy's std divides by n by default.", paired(t, ddof=0)),
        (
            "The standard deviation of one difference is not that of their mean: divide by √n.",
            paired(lambda n: t(n) * n**0.5),
        ),
        (
            "A 95 % interval leaves 2.5 % on each side: t of 0.975.",
            paired(lambda n: float(stats.t.ppf(0.95, n - 1))),
        ),
        (groups, partial(_scipy, partial(stats.ttest_ind, equal_var=False))),  # Welch
        (groups, partial(_scipy, stats.ttest_ind)),  # pooled variance
        (groups, unpaired(t)),
        (groups, unpaired(lambda n: 1.96)),
    ]


def _list(values: Any) -> str:
    """Return `[0.800, 0.840, 0.790]`: the first five values, and `...` for further ones."""
    return "[" + ", ".join(f"{value:.3f}" for value in values[:5]) + (", ...]" if len(values) > 5 else "]")
