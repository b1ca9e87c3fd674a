"""Exercise 5: a training loop whose figures are true."""

from __future__ import annotations

import copy
import math
from typing import Any

from reslab.course.feedback import NotSolvedError, call, expect, shown

EPOCHS = 3
NO_NUMBER = "nan and inf are no figures: they come of a division by 0, or of a mean over nothing."


def check(answer: Any) -> str:
    """Raises NotSolvedError at the first thing that the reader's train() does wrong."""
    import torch

    torch.manual_seed(0)
    network = _make_network()
    start, train, val = copy.deepcopy(network.state_dict()), _batches(0), _batches(1)
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
    what = "train(net, optimizer, train_batches, val_batches, 3)"
    rows = call(what, answer.train, network, optimizer, train, val, EPOCHS)
    _check_form(rows, what)
    passes = [p for p in network.passes if p.kind == "train"]
    checks = [p for p in network.passes if p.kind == "val"]
    _check_passes(passes, checks, len(train), len(val))
    _check_losses(rows, passes, checks, len(train), len(val))
    _check_weights(network, start, train)
    return f"modes, gradients, losses and accuracy of {EPOCHS} epochs, and the weights at their end"


class _Pass:
    """One call of the network, as it was made."""

    def __init__(self, kind: str, training: bool, gradients: bool, logits: Any, labels: Any) -> None:
        self.kind, self.training, self.gradients = kind, training, gradients
        self.logits, self.labels = logits, labels

    def loss(self) -> float:
        from torch.nn.functional import cross_entropy

        return float(cross_entropy(self.logits, self.labels))

    def right(self) -> int:
        return int((self.logits.argmax(1) == self.labels).sum())


def _batches(split: int) -> list[Any]:
    """Batches of 8, 8 and 3 images; an image's first value names its split, its second carries its label."""
    import torch

    generator = torch.Generator().manual_seed(split)
    out = []
    for count in (8, 8, 3):
        images = torch.randn(count, 3, 8, 8, generator=generator)
        labels = torch.randint(2, (count,), generator=generator)
        images[:, 0, 0, 0], images[:, 0, 0, 1] = float(split), labels.float()
        out.append((images, labels))
    return out


def _make_network() -> Any:
    """A small network that writes down how it is called."""
    import torch
    from torch import nn

    class Observed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.bn, self.fc = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 2)
            self.passes: list[_Pass] = []

        def forward(self, x: Any) -> Any:
            logits = self.fc(self.bn(self.conv(x)).relu().mean((2, 3)))
            kind = "val" if bool(x[0, 0, 0, 0] == 1) else "train"
            labels = x[:, 0, 0, 1].long()
            self.passes.append(_Pass(kind, self.training, torch.is_grad_enabled(), logits.detach(), labels))
            return logits

    return Observed()


def _check_form(rows: Any, what: str) -> None:
    expect(
        isinstance(rows, list | tuple) and len(rows) == EPOCHS,
        f"{what} gives {shown(rows)}",
        f"expected a list of {EPOCHS} rows (train_loss, val_loss, val_accuracy), one for each epoch",
    )
    for row in rows:
        try:
            good = len([float(value) for value in row]) == 3
        except (TypeError, ValueError):
            good = False
        expect(good, f"a row is {shown(row)}", "expected three numbers: train_loss, val_loss, val_accuracy")


def _check_passes(passes: list[_Pass], checks: list[_Pass], steps: int, val_steps: int) -> None:
    expect(
        len(passes) == EPOCHS * steps and len(checks) == EPOCHS * val_steps,
        f"the network saw {len(passes)} training batches and {len(checks)} validation batches in all",
        f"expected {EPOCHS}·{steps} = {EPOCHS * steps} and {EPOCHS}·{val_steps} = {EPOCHS * val_steps}",
    )
    expect(
        not any(p.training for p in checks),
        "validation runs in train mode",
        "batch norm then uses the mean of the batch and not its running averages, and it changes these "
        "averages by photos that the network must not learn from: call net.eval() before validation",
    )
    late = next((i for i, p in enumerate(passes) if not p.training), None)
    expect(
        late is None,
        f"training batch {(late or 0) % steps + 1} of epoch {(late or 0) // steps + 1} runs in eval mode",
        "net.eval() of the last validation still holds: call net.train() at the start of each epoch",
    )
    expect(
        not any(p.gradients for p in checks),
        "validation runs with gradients",
        "every activation is kept for a backward pass that never comes, which takes memory: "
        "put validation under `with torch.no_grad():`",
    )


def _check_losses(rows: Any, passes: list[_Pass], checks: list[_Pass], steps: int, val_steps: int) -> None:
    train = [_losses(passes[e * steps : (e + 1) * steps]) for e in range(EPOCHS)]
    val = [_losses(checks[e * val_steps : (e + 1) * val_steps]) for e in range(EPOCHS)]
    _check_loss("train_loss", [float(row[0]) for row in rows], train)
    _check_loss("val_loss", [float(row[1]) for row in rows], val)
    for epoch, row in enumerate(rows):
        group = checks[epoch * val_steps : (epoch + 1) * val_steps]
        right, images = sum(p.right() for p in group), sum(len(p.labels) for p in group)
        expect(
            abs(float(row[2]) - right / images) < 1e-6,
            f"val_accuracy of epoch {epoch + 1} is {float(row[2]):.4f}",
            f"{right} of {images} images are right: {right}/{images} = {right / images:.4f}",
        )


def _losses(group: list[_Pass]) -> list[tuple[float, int]]:
    return [(p.loss(), len(p.labels)) for p in group]


def _check_loss(name: str, got: list[float], epochs: list[list[tuple[float, int]]]) -> None:
    right = [_mean(epoch) for epoch in epochs]
    wrong = next((i for i in range(EPOCHS) if not abs(got[i] - right[i]) <= 1e-5), None)  # nan too
    if wrong is None:
        return
    sums = " + ".join(f"{count}·{loss:.3f}" for loss, count in epochs[wrong])
    images = sum(count for _, count in epochs[wrong])
    lines = [
        f"{name} of epoch {wrong + 1} is {got[wrong]:.4f}",
        f"expected ({sums}) / {images} = {right[wrong]:.4f}, the mean over the {images} images of this epoch",
    ]
    why = _mistake(got, epochs) if math.isfinite(got[wrong]) else NO_NUMBER
    raise NotSolvedError("\n".join([*lines, why]).rstrip())


def _mistake(got: list[float], epochs: list[list[tuple[float, int]]]) -> str:
    """Which of the usual slips gives these numbers."""
    flat = [[row for epoch in epochs[: i + 1] for row in epoch] for i in range(EPOCHS)]
    sums, plain = ([sum(loss * n for loss, n in rows) for rows in group] for group in (epochs, flat))
    bare = [sum(loss for loss, _ in rows) for rows in epochs]
    seen = [sum(n for _, n in rows) for rows in flat]
    reset = "Sum and counter must start at 0 in every epoch: move them into the loop over epochs."
    weigh = (
        "The last batch is smaller. The mean over batches counts its images more than the others: "
        "add loss.item() * len(labels) and divide by the number of images."
    )
    candidates = [
        (reset, [p / s for p, s in zip(plain, seen, strict=True)]),
        (
            "Only the counter goes on from epoch to epoch: the curve then falls like 1/epoch whatever the "
            "network learns. Set it to 0 in every epoch.",
            [s / n for s, n in zip(sums, seen, strict=True)],
        ),
        (reset, [_bare_mean(rows) for rows in flat]),
        (reset, [b / (len(epochs[0]) * (i + 1)) for i, b in enumerate(bare)]),
        (reset, [p / sum(n for _, n in epochs[0]) for p in plain]),
        (weigh, [_bare_mean(rows) for rows in epochs]),
        (
            "This is the loss of the last batch alone.",
            [rows[-1][0] for rows in epochs],
        ),
        (
            "loss.item() is already the mean over a batch: weigh it by len(labels) before you divide by the "
            "number of images.",
            [b / sum(n for _, n in rows) for b, rows in zip(bare, epochs, strict=True)],
        ),
    ]
    for text, values in candidates:
        if all(abs(a - b) < 1e-5 for a, b in zip(got, values, strict=True)):
            return text
    return ""


def _mean(rows: list[tuple[float, int]]) -> float:
    return sum(loss * count for loss, count in rows) / sum(count for _, count in rows)


def _bare_mean(rows: list[tuple[float, int]]) -> float:
    return sum(loss for loss, _ in rows) / len(rows)


def _check_weights(network: Any, start: Any, train: list[Any]) -> None:
    """The weights are those of a loop that starts each step from gradients of zero."""
    import torch
    from torch.nn.functional import cross_entropy

    right = _make_network()
    right.load_state_dict(start)
    optimizer = torch.optim.SGD(right.parameters(), 0.1, momentum=0.9)
    for _ in range(EPOCHS):
        for images, labels in train:
            optimizer.zero_grad()
            cross_entropy(right(images), labels).backward()
            optimizer.step()
    moved = any(not torch.equal(p, start[name]) for name, p in network.named_parameters())
    expect(
        moved, "the weights are what they were: nothing was learned", "loss.backward(), then optimizer.step()"
    )
    same = all(
        torch.allclose(p, dict(right.named_parameters())[name], atol=1e-4)
        for name, p in network.named_parameters()
    )
    expect(
        same,
        "the weights after 3 epochs are not those of plain SGD on these batches",
        "backward() adds to the gradients that are there: call optimizer.zero_grad() before each backward()",
    )
