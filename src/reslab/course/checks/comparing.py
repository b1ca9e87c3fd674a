"""Exercise 7: the paired mean difference with its 95 % interval."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reslab.course.feedback import NotSolvedError, call, shown

Three = tuple[float, float, float]


def check(answer: Any) -> str:
    """Raises NotSolvedError where paired_difference is not scipy's."""
    import numpy as np
    from scipy import stats

    random = np.random.default_rng(0)
    tables = [([0.80, 0.84, 0.79], [0.82, 0.85, 0.84])]
    for count in (2, 3, 4, 5, 8, 10, 20):
        seeds = random.normal(0.85, 0.03, count)  # what a seed does to both variants alike
        tables.append(([*map(float, seeds)], [*map(float, seeds + random.normal(0.005, 0.004, count))]))
    results, right = [], []
    for first, second in tables:
        results.append(_call(answer.paired_difference, first, second))
        interval = stats.ttest_rel(second, first).confidence_interval(0.95)
        right.append((float(np.mean(second) - np.mean(first)), float(interval.low), float(interval.high)))
    for (first, second), result, wanted in zip(tables, results, right, strict=True):
        if not np.allclose(result, wanted, atol=1e-9):
            why = next((text for text, wrong in _mistakes() if _agrees(wrong, tables, results)), "")
            raise NotSolvedError("\n".join([*_difference(first, second, result, wanted), why]).rstrip())
    return f"equal to scipy's paired t interval in {len(tables)} tables of 2 to 20 seeds"


def _call(function: Any, first: list[float], second: list[float]) -> Three:
    what = f"paired_difference({_list(first)}, {_list(second)})"
    result = call(what, function, list(first), list(second))
    try:
        mean, low, high = (float(value) for value in result)
    except (TypeError, ValueError):
        raise NotSolvedError(
            f"{what} gives {shown(result)}\nexpected three numbers: return mean, low, high"
        ) from None
    return mean, low, high


def _difference(first: list[float], second: list[float], result: Three, right: Three) -> list[str]:
    import numpy as np
    from scipy import stats

    n = len(first)
    differences = np.subtract(second, first)
    spread, t = float(differences.std(ddof=1)), float(stats.t.ppf(0.975, n - 1))
    return [
        f"paired_difference({_list(first)}, {_list(second)})",
        f"gives    mean {result[0]:.4f}, interval [{result[1]:.4f}, {result[2]:.4f}]",
        f"expected mean {right[0]:.4f}, interval [{right[1]:.4f}, {right[2]:.4f}]",
        f"the differences: {_list(differences)}; n = {n}, their standard deviation s = {spread:.4f}",
        f"t·s/√n = {t:.3f}·{spread:.4f}/√{n} = {t * spread / n**0.5:.4f} on each side of the mean",
    ]


def _mistakes() -> list[tuple[str, Callable[[Any, Any], Three]]]:
    from scipy import stats

    def around(mean: float, half: float) -> Three:
        return mean, mean - half, mean + half

    def t(n: int, share: float = 0.975) -> float:
        return float(stats.t.ppf(share, n - 1))

    def paired(
        factor: Callable[[int], float], ddof: int = 1, root: bool = True
    ) -> Callable[[Any, Any], Three]:
        def interval(a: Any, b: Any) -> Three:
            d, n = b - a, len(a)
            return around(d.mean(), factor(n) * d.std(ddof=ddof) / (n**0.5 if root else 1))

        return interval

    def reversed_(a: Any, b: Any) -> Three:
        return paired(t)(b, a)

    def unpaired(z: Callable[[int], float]) -> Callable[[Any, Any], Three]:
        def interval(a: Any, b: Any) -> Three:
            n = len(a)
            return around((b - a).mean(), z(n) * ((a.var(ddof=1) + b.var(ddof=1)) / n) ** 0.5)

        return interval

    def welch(a: Any, b: Any) -> Three:
        interval = stats.ttest_ind(b, a, equal_var=False).confidence_interval(0.95)
        return float(b.mean() - a.mean()), float(interval.low), float(interval.high)

    def pooled(a: Any, b: Any) -> Three:
        interval = stats.ttest_ind(b, a).confidence_interval(0.95)
        return float(b.mean() - a.mean()), float(interval.low), float(interval.high)

    pairs = (
        "This is the interval of two independent groups. Runs of one seed belong together: take the "
        "differences first, then their spread."
    )
    few = "1.96 is for many seeds; for n of them it is t with n - 1 degrees of freedom: 2.78 for 5."
    return [
        ("The sign is turned round: the difference is second - first.", reversed_),
        (few, paired(lambda n: 1.96)),
        (few, paired(lambda n: float(stats.norm.ppf(0.975)))),
        (few, paired(lambda n: 2.0)),
        (
            "n - 1 degrees of freedom, not n: the mean has used one up.",
            paired(lambda n: float(stats.t.ppf(0.975, n))),
        ),
        ("Divide the squares by n - 1, ddof=1: numpy's std divides by n unless told.", paired(t, ddof=0)),
        (
            "The standard deviation of one difference is not that of their mean: divide by √n.",
            paired(t, root=False),
        ),
        ("95 % between both ends leaves 2.5 % on each side: t of 0.975.", paired(lambda n: t(n, 0.95))),
        (pairs, welch),
        (pairs, pooled),
        (pairs, unpaired(t)),
        (pairs, unpaired(lambda n: 1.96)),
    ]


def _agrees(mistake: Callable[[Any, Any], Three], tables: list[Any], results: list[Three]) -> bool:
    import numpy as np

    return all(
        np.allclose(mistake(np.array(a), np.array(b)), result, atol=1e-9)
        for (a, b), result in zip(tables, results, strict=True)
    )


def _list(values: Any) -> str:
    return "[" + ", ".join(f"{value:.3f}" for value in values[:5]) + (", ...]" if len(values) > 5 else "]")
