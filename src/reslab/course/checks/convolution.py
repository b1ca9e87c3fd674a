"""Exercise 1: output_size, against what torch's own convolution returns."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

from reslab.course.feedback import NotSolvedError, call, expect, formula, shown

Setting = tuple[int, int, int, int, int]  # size, kernel_size, stride, padding, dilation

# from the simple to the odd, so that the first one that is wrong explains the most
FIRST: list[Setting] = [
    (512, 3, 1, 1, 1),
    (512, 3, 2, 1, 1),
    (224, 7, 2, 3, 1),
    (56, 1, 2, 0, 1),
    (7, 3, 1, 0, 1),
    (56, 3, 1, 2, 2),
    (32, 3, 2, 0, 2),
]
DRAWN = 1000

# what people write, and what is wrong with it
MISTAKES: list[tuple[str, Callable[[int, int, int, int, int], float]]] = [
    (
        "The + 1 is missing: the kernel also stands at its first place, before any step.",
        lambda n, k, s, p, d: (n + 2 * p - d * (k - 1) - 1) // s,
    ),
    (
        "The padding stands on both sides: it adds 2·p, not p.",
        lambda n, k, s, p, d: (n + p - d * (k - 1) - 1) // s + 1,
    ),
    (
        "Round down: a step that does not fit whole is not taken. / gives a float; // rounds down.",
        lambda n, k, s, p, d: (n + 2 * p - d * (k - 1) - 1) / s + 1,
    ),
    (
        "Round down, not up: a step that does not fit whole is not taken.",
        lambda n, k, s, p, d: math.ceil((n + 2 * p - d * (k - 1) - 1) / s) + 1,
    ),
    (
        "Round down, not to the nearest: a step that does not fit whole is not taken.",
        lambda n, k, s, p, d: round((n + 2 * p - d * (k - 1) - 1) / s) + 1,
    ),
    (
        "The dilation is left out: k taps with d - 1 pixels between them reach over d·(k - 1) + 1 pixels.",
        lambda n, k, s, p, d: (n + 2 * p - k) // s + 1,
    ),
    (
        "k taps have k - 1 gaps between them: they reach over d·(k - 1) + 1 pixels, not d·k.",
        lambda n, k, s, p, d: (n + 2 * p - d * k) // s + 1,
    ),
    (
        "The stride divides everything before the floor; the + 1 comes after it.",
        lambda n, k, s, p, d: (n + 2 * p - d * (k - 1)) // s,
    ),
    (
        "The padding is left out: the kernel moves over n + 2·p pixels.",
        lambda n, k, s, p, d: (n - d * (k - 1) - 1) // s + 1,
    ),
]


def check(answer: Any) -> str:
    """Raises NotSolvedError at the first setting where the reader's output_size is not torch's."""
    settings = [*FIRST, *_draw(DRAWN)]
    results = []
    for setting in settings:
        result = call(_text(setting), answer.output_size, *setting)
        expect(
            isinstance(result, int | float) and not isinstance(result, bool),
            f"{_text(setting)} gives {shown(result)}",
            "expected a number of pixels, as an int" + (": is a return missing?" if result is None else ""),
        )
        results.append(result)
    rights = [torchs(setting) for setting in settings]
    wrong = [i for i, right in enumerate(rights) if results[i] != right]
    wrong += [i for i, result in enumerate(results) if not isinstance(result, int)]
    if wrong:
        setting, result = settings[wrong[0]], results[wrong[0]]
        if result == rights[wrong[0]]:
            raise NotSolvedError(
                f"{_text(setting)} gives {result!r}, a float\nPixels are counted: // returns an int."
            )
        lines = [f"{_text(setting)} gives {result}", f"expected {formula(*setting)}"]
        lines += [why for why, wrong_formula in MISTAKES if _agrees(wrong_formula, settings, results)][:1]
        raise NotSolvedError("\n".join(lines))
    return f"equal to torch's own convolution in {len(settings):,} settings, dilation included"


def torchs(setting: Setting) -> int:
    """Pixels that torch's convolution returns; on the meta device, which computes shapes only."""
    import torch

    size, kernel_size, stride, padding, dilation = setting
    x, kernel = torch.empty(1, 1, size, device="meta"), torch.empty(1, 1, kernel_size, device="meta")
    return torch.nn.functional.conv1d(x, kernel, None, stride, padding, dilation).shape[-1]


def _draw(count: int) -> list[Setting]:
    """Settings in which the kernel fits, the same at every call."""
    draw = random.Random(1)
    found: list[Setting] = []
    while len(found) < count:
        size, kernel_size = draw.randint(1, 64), draw.randint(1, 7)
        stride, padding, dilation = draw.randint(1, 4), draw.randint(0, 4), draw.randint(1, 3)
        if dilation * (kernel_size - 1) + 1 <= size + 2 * padding:
            found.append((size, kernel_size, stride, padding, dilation))
    return found


def _agrees(
    mistake: Callable[[int, int, int, int, int], float], settings: list[Setting], results: list[Any]
) -> bool:
    """Whether the reader's numbers are those of the mistake, up to rounding of the last digit."""
    return all(abs(mistake(*s) - result) < 1e-9 for s, result in zip(settings, results, strict=True))


def _text(setting: Setting) -> str:
    names = ("kernel_size", "stride", "padding", "dilation")
    usual = (None, 1, 0, 1)
    parts = [f"{name}={v}" for name, v, u in zip(names, setting[1:], usual, strict=True) if v != u]
    return f"output_size({', '.join([str(setting[0]), *parts])})"
