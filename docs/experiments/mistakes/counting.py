"""Mistakes of counting: a counter that is never reset, and a progress bar that is one too short."""

from __future__ import annotations

import io
import itertools

import torch
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from .bench import Bench, Figures, normalize, order, pictures, predict, right, small_resnet


def counter(bench: Bench) -> Figures:
    """Count the loss of each epoch both ways, for a network without updates and for one that learns."""
    train = pictures(bench, "train")
    torch.manual_seed(0)
    logits = predict(small_resnet(), normalize(train.images))
    each, epochs = cross_entropy(logits, train.labels, reduction="none"), 10
    false_curve, honest_curve = [], []
    count = 0  # the mistake: it belongs inside the loop
    for epoch in range(epochs):
        total = 0.0
        for chosen, _ in order(bench, 0, epoch, len(each)):
            total += each[chosen].mean().item() * len(chosen)
            count += len(chosen)
        false_curve.append(total / count)
        honest_curve.append(total / len(each))
    learning = right(bench, 0).losses
    return {
        "false_curve": false_curve,
        "honest_curve": honest_curve,
        "false_first": false_curve[0],
        "false_last": false_curve[-1],
        "honest_first": honest_curve[0],
        "honest_last": honest_curve[-1],
        "learning_honest_curve": list(learning),
        "learning_false_curve": [loss / (epoch + 1) for epoch, loss in enumerate(learning)],
    }


def progress_total(bench: Bench) -> Figures:
    """Return tqdm's last line when its total is one too small."""
    batches = 13
    return {
        "batches": batches,
        "wrong": _last_line(batches - 1, batches),
        "right": _last_line(batches, batches),
    }


def _last_line(total: int, batches: int) -> str:
    shown = io.StringIO()
    for _ in tqdm(itertools.repeat(None, batches), total=total, file=shown, ncols=60, ascii=" #"):
        pass
    line = shown.getvalue().rpartition("\r")[2].strip()
    return line.partition(" [")[0]
