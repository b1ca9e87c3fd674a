"""Check exercise 5: a training loop that reports true means and trains correctly."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from reslab.course.feedback import NotSolvedError, call, expect, shown, usual_mistake

EPOCHS = 3
BATCH_SIZES = (8, 8, 3)
IMAGES = sum(BATCH_SIZES)  # in train and in val
CALL = f"train(net, optimizer, train_batches, val_batches, {EPOCHS})"


@dataclass
class ForwardPass:
    """One call of the network with one batch.

    Attributes:
        split: "train" or "val", to which the batch belongs.
        training: the network was in train mode.
        gradients: gradients were recorded.
        logits: detached.
        labels: the batch's own, read from its images.
    """

    split: str
    training: bool
    gradients: bool
    logits: Tensor  # (N, 2)
    labels: Tensor  # (N,)

    def loss(self) -> float:
        return float(cross_entropy(self.logits, self.labels))

    def correct(self) -> int:
        return int((self.logits.argmax(1) == self.labels).sum())


class RecordingNetwork(nn.Module):
    """A small network for images (N, 3, 8, 8) from `_batches` that appends every call to `passes`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.fc = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 2)
        self.passes: list[ForwardPass] = []

    def forward(self, x: Tensor) -> Tensor:
        logits = self.fc(self.bn(self.conv(x)).relu().mean((2, 3)))
        split, labels = "val" if x[0, 0, 0, 0] == 1 else "train", x[:, 0, 0, 1].long()
        self.passes.append(
            ForwardPass(split, self.training, torch.is_grad_enabled(), logits.detach(), labels)
        )
        return logits


def check(answer: Any) -> str:
    """Compare the rows and weights of `train` in the learner's module with those of a correct loop.

    Modes and gradients of every batch are checked, too. Return what was checked. Raise NotSolvedError at the
    first mistake.
    """
    torch.manual_seed(0)
    network = RecordingNetwork()
    right, train, val = copy.deepcopy(network), _batches(0), _batches(1)
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
    rows = call(CALL, answer.train, network, optimizer, train, val, EPOCHS)
    _check_rows(rows)
    train_passes = [p for p in network.passes if p.split == "train"]
    val_passes = [p for p in network.passes if p.split == "val"]
    _check_passes(train_passes, val_passes)
    train_epochs, val_epochs = _by_epoch(train_passes), _by_epoch(val_passes)
    _check_loss("train_loss", [float(row[0]) for row in rows], train_epochs)
    _check_loss("val_loss", [float(row[1]) for row in rows], val_epochs)
    _check_accuracy([float(row[2]) for row in rows], val_epochs)
    _check_weights(network, right, train)
    return f"modes, gradients, losses and accuracy of {EPOCHS} epochs, and the weights after the last"


def _batches(split: int) -> list[tuple[Tensor, Tensor]]:
    """Return a batch of images (N, 3, 8, 8) and labels (N,) for each of BATCH_SIZES, equal at every call.

    The first value of each image is its split, the second its label.

    Args:
        split: 0 for train, 1 for val; also the random seed.
    """
    generator = torch.Generator().manual_seed(split)
    out = []
    for count in BATCH_SIZES:
        images = torch.randn(count, 3, 8, 8, generator=generator)
        labels = torch.randint(2, (count,), generator=generator)
        images[:, 0, 0, 0], images[:, 0, 0, 1] = float(split), labels.float()
        out.append((images, labels))
    return out


def _by_epoch(passes: list[ForwardPass]) -> list[list[ForwardPass]]:
    steps = len(BATCH_SIZES)
    return [passes[i : i + steps] for i in range(0, EPOCHS * steps, steps)]


def _check_rows(rows: Any) -> None:
    expect(
        isinstance(rows, list | tuple) and len(rows) == EPOCHS,
        f"{CALL} gives {shown(rows)}",
        f"expected a list of {EPOCHS} rows (train_loss, val_loss, val_accuracy), one for each epoch",
    )
    for row in rows:
        try:
            valid = len([float(value) for value in row]) == 3
        except (TypeError, ValueError):
            valid = False
        expect(valid, f"a row is {shown(row)}", "expected three numbers: train_loss, val_loss, val_accuracy")


def _check_passes(train: list[ForwardPass], val: list[ForwardPass]) -> None:
    steps = len(BATCH_SIZES)
    expect(
        len(train) == len(val) == EPOCHS * steps,
        f"the network saw {len(train)} training batches and {len(val)} validation batches in all",
        f"expected {EPOCHS}·{steps} = {EPOCHS * steps} and {EPOCHS}·{steps} = {EPOCHS * steps}",
    )
    expect(
        not any(p.training for p in val),
        "validation runs in train mode",
        "batch norm then uses the mean of the batch and not its running averages, and it updates these "
        "averages with photos that the network must not learn from: call net.eval() before validation",
    )
    for i, p in enumerate(train):
        expect(
            p.training,
            f"training batch {i % steps + 1} of epoch {i // steps + 1} runs in eval mode",
            "net.eval() of the last validation is still on: call net.train() at the start of each epoch",
        )
    expect(
        not any(p.gradients for p in val),
        "validation runs with gradients",
        "every activation is kept for a backward pass that never comes, which takes memory: "
        "put validation under `with torch.no_grad():`",
    )


def _check_loss(name: str, got: list[float], epochs: list[list[ForwardPass]]) -> None:
    losses = [[p.loss() for p in epoch] for epoch in epochs]
    for epoch, batch_losses in enumerate(losses):
        mean = _weighted_sum(batch_losses) / IMAGES
        if abs(got[epoch] - mean) <= 1e-5:
            continue
        terms = " + ".join(f"{n}·{loss:.3f}" for n, loss in zip(BATCH_SIZES, batch_losses, strict=True))
        why = (
            usual_mistake(got, _loss_mistakes(losses), 1e-5)
            if math.isfinite(got[epoch])
            else "nan and inf are not losses: they come from a division by 0 or from a mean of nothing."
        )
        raise NotSolvedError(
            f"{name} of epoch {epoch + 1} is {got[epoch]:.4f}",
            f"expected ({terms}) / {IMAGES} = {mean:.4f}, the mean over the {IMAGES} images of this epoch",
            why,
        )


def _weighted_sum(batch_losses: Sequence[float]) -> float:
    return sum(n * loss for n, loss in zip(BATCH_SIZES, batch_losses, strict=True))


def _loss_mistakes(losses: list[list[float]]) -> list[tuple[str, list[float]]]:
    """Return pairs: an explanation of a mistake, and the loss of each epoch that it gives.

    Args:
        losses: correct mean loss of each batch, by epoch.
    """
    steps = len(BATCH_SIZES)
    sums, plain_sums = [_weighted_sum(epoch) for epoch in losses], [sum(epoch) for epoch in losses]
    epochs = range(1, EPOCHS + 1)
    total, plain_total = ([sum(values[:e]) for e in epochs] for values in (sums, plain_sums))  # since epoch 1
    reset = "Sum and counter must start at 0 in every epoch: move them into the loop over epochs."
    return [
        (reset, [total[e - 1] / (IMAGES * e) for e in epochs]),
        (
            "The counter is never reset: the curve then falls like 1/epoch even if the network learns "
            "nothing. Set it to 0 in every epoch.",
            [sums[e - 1] / (IMAGES * e) for e in epochs],
        ),
        (reset, [plain_total[e - 1] / (steps * e) for e in epochs]),
        (reset, [plain_sums[e - 1] / (steps * e) for e in epochs]),
        (reset, [value / IMAGES for value in total]),
        (
            "The last batch is smaller. The mean over batches gives its images more weight than the others: "
            "add loss.item() * len(labels) and divide by the number of images.",
            [value / steps for value in plain_sums],
        ),
        ("This is the loss of the last batch alone.", [epoch[-1] for epoch in losses]),
        (
            "loss.item() is already the mean over a batch: multiply it by len(labels) before you divide by "
            "the number of images.",
            [value / IMAGES for value in plain_sums],
        ),
    ]


def _check_accuracy(got: list[float], epochs: list[list[ForwardPass]]) -> None:
    for epoch, passes in enumerate(epochs):
        correct = sum(p.correct() for p in passes)
        expect(
            abs(got[epoch] - correct / IMAGES) < 1e-6,
            f"val_accuracy of epoch {epoch + 1} is {got[epoch]:.4f}",
            f"{correct} of {IMAGES} images are correct: {correct}/{IMAGES} = {correct / IMAGES:.4f}",
        )


def _check_weights(network: nn.Module, right: nn.Module, train: list[tuple[Tensor, Tensor]]) -> None:
    """Raise NotSolvedError unless the weights of `network` are those of plain SGD.

    Args:
        network: trained by the learner.
        right: its copy from before training, which is trained here, in place.
        train: training batches of an epoch.
    """
    trained, wanted = dict(network.named_parameters()), dict(right.named_parameters())
    expect(
        any(not torch.equal(trained[name], wanted[name]) for name in wanted),
        "the weights have not changed: nothing was learned",
        "loss.backward(), then optimizer.step()",
    )
    optimizer = torch.optim.SGD(right.parameters(), 0.1, momentum=0.9)
    for _ in range(EPOCHS):
        for images, labels in train:
            optimizer.zero_grad()
            cross_entropy(right(images), labels).backward()
            optimizer.step()
    expect(
        all(torch.allclose(trained[name], wanted[name], atol=1e-4) for name in wanted),
        f"the weights after {EPOCHS} epochs are not those of plain SGD on these batches",
        "backward() adds to the gradients that are there: call optimizer.zero_grad() before each backward()",
    )
