"""Check exercise 1: output_size against the size of torch's own convolution."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import torch

from reslab.course.feedback import NotSolvedError, call, expect, formula, shown, usual_mistake

Setting = tuple[int, int, int, int, int]  # size, kernel_size, stride, padding, dilation

# from simple to unusual: the first wrong one is reported, and a simple one explains the most
FIRST: list[Setting] = [
    (512, 3, 1, 1, 1),
    (512, 3, 2, 1, 1),
    (224, 7, 2, 3, 1),
    (56, 1, 2, 0, 1),
    (7, 3, 1, 0, 1),
    (56, 3, 1, 2, 2),
    (32, 3, 2, 0, 2),
]
RANDOM_SETTINGS = 1000

MISTAKES: list[tuple[str, Callable[[int, int, int, int, int], float]]] = [
    (
        "The + 1 is missing: the kernel's first position counts, too.",
        lambda n, k, s, p, d: (n + 2 * p - d * (k - 1) - 1) // s,
    ),
    (
        "Padding is on both sides: it adds 2·p, not p.",
        lambda n, k, s, p, d: (n + p - d * (k - 1) - 1) // s + 1,
    ),
    (
        "Round down: an incomplete last step does not count. / gives a float; // rounds down.",
        lambda n, k, s, p, d: (n + 2 * p - d * (k - 1) - 1) / s + 1,
    ),
    (
        "Round down, not up: an incomplete last step does not count.",
        lambda n, k, s, p, d: math.ceil((n + 2 * p - d * (k - 1) - 1) / s) + 1,
    ),
    (
        "Round down, not to the nearest: an incomplete last step does not count.",
        lambda n, k, s, p, d: round((n + 2 * p - d * (k - 1) - 1) / s) + 1,
    ),
    (
        "The dilation is left out: k taps with d - 1 pixels between them span d·(k - 1) + 1 pixels.",
        lambda n, k, s, p, d: (n + 2 * p - k) // s + 1,
    ),
    (
        "k taps have k - 1 gaps between them: they span d·(k - 1) + 1 pixels, not d·k.",
        lambda n, k, s, p, d: (n + 2 * p - d * k) // s + 1,
    ),
    (
        "The stride divides everything inside the floor; the + 1 comes after it.",
        lambda n, k, s, p, d: (n + 2 * p - d * (k - 1)) // s,
    ),
    (
        "The padding is left out: the kernel moves over n + 2·p pixels.",
        lambda n, k, s, p, d: (n - d * (k - 1) - 1) // s + 1,
    ),
]


def check(answer: Any) -> str:
    """Compare output_size of the learner's module with the size of torch's convolution.

    Return what was compared. Raise NotSolvedError at the first setting that differs, or that gives a float.
    """
    settings = [*FIRST, *_random_settings(RANDOM_SETTINGS)]
    results = []
    for setting in settings:
        result = call(_text(setting), answer.output_size, *setting)
        expect(
            isinstance(result, int | float) and not isinstance(result, bool),
            f"{_text(setting)} gives {shown(result)}",
            "expected a number of pixels, as an int" + (": is a return missing?" if result is None else ""),
        )
        results.append(result)
    for setting, result in zip(settings, results, strict=True):
        if result != torch_size(setting):
            candidates = ((why, [wrong(*s) for s in settings]) for why, wrong in MISTAKES)
            raise NotSolvedError(
                f"{_text(setting)} gives {result}",
                f"expected {formula(*setting)}",
                usual_mistake(results, candidates, 1e-9),
            )
    for setting, result in zip(settings, results, strict=True):
        expect(
            isinstance(result, int),
            f"{_text(setting)} gives {result!r}, a float",
            "Pixels are counted: // returns an int.",
        )
    return f"equal to torch's own convolution in {len(settings):,} settings, dilation included"


def torch_size(setting: Setting) -> int:
    """Return the number of pixels along one axis after torch's own convolution. No pixel is computed."""
    size, kernel_size, stride, padding, dilation = setting
    x, kernel = torch.empty(1, 1, size, device="meta"), torch.empty(1, 1, kernel_size, device="meta")
    return torch.nn.functional.conv1d(x, kernel, None, stride, padding, dilation).shape[-1]


def _random_settings(count: int) -> list[Setting]:
    """Return `count` random settings in which the kernel fits into the padded input, equal at every call."""
    draw = random.Random(1)
    found: list[Setting] = []
    while len(found) < count:
        size, kernel_size = draw.randint(1, 64), draw.randint(1, 7)
        stride, padding, dilation = draw.randint(1, 4), draw.randint(0, 4), draw.randint(1, 3)
        if dilation * (kernel_size - 1) + 1 <= size + 2 * padding:
            found.append((size, kernel_size, stride, padding, dilation))
    return found


def _text(setting: Setting) -> str:
    """Return `output_size(512, kernel_size=3, stride=2, padding=1)`, without values that are the default."""
    names, defaults = ("kernel_size", "stride", "padding", "dilation"), (None, 1, 0, 1)
    parts = [f"{n}={v}" for n, v, default in zip(names, setting[1:], defaults, strict=True) if v != default]
    return f"output_size({', '.join([str(setting[0]), *parts])})"
