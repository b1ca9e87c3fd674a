"""Mistakes of training: softmax before the loss, no zero_grad, a head of 1,000 classes, 512 pixels."""

from __future__ import annotations

import time
from statistics import median

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, log_softmax, softmax

from .bench import (
    Bench,
    Figures,
    Trained,
    Update,
    accuracy,
    learn,
    normalize,
    pictures,
    right,
    small_resnet,
    spread,
)


def soft_max_first(bench: Bench) -> Figures:
    """Measure the lowest possible loss, the remaining gradient and the accuracy after training."""
    sure = torch.tensor([[20.0, -20.0]])
    floor = cross_entropy(softmax(sure, 1), torch.tensor([0])).item()
    thousand = torch.full((1, 1000), -20.0)
    thousand[0, 0] = 20.0
    honest, squeezed = (_first_gradient(bench, twice) for twice in (False, True))
    wrong = [learn(bench, seed, update_with_soft_max) for seed in bench.every_seed]
    return {
        "floor": floor,
        "floor_of_1000": cross_entropy(softmax(thousand, 1), torch.tensor([0])).item(),
        "gradient_ratio": squeezed / honest,
        "gradient_when_wrong": _gradient_when_wrong(torch.tensor([[4.0, -4.0]])),
        "loss": wrong[0].losses[-1],
        **_against_right(bench, wrong),
    }


def update_with_soft_max(
    network: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor
) -> float:
    loss = cross_entropy(softmax(network(images), 1), labels)  # the mistake
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def _first_gradient(bench: Bench, twice: bool) -> float:
    """Return the norm of the gradient over 32 images, before any update."""
    torch.manual_seed(0)
    network, train = small_resnet(), pictures(bench, "train")
    logits = network(normalize(train.images[::7][:32] if not bench.quick else train.images))
    labels = train.labels[::7][:32] if not bench.quick else train.labels
    cross_entropy(softmax(logits, 1) if twice else logits, labels).backward()
    return gradient_norm(network)


def _gradient_when_wrong(logits: Tensor) -> float:
    """Return the fraction of the gradient that is left for an image of the other class."""
    label = torch.tensor([1])
    norms = []
    for twice in (True, False):
        leaf = logits.clone().requires_grad_()
        cross_entropy(softmax(leaf, 1) if twice else leaf, label).backward()
        norms.append(leaf.grad.norm().item() if leaf.grad is not None else 0.0)
    return norms[0] / norms[1]


def gradient_norm(network: nn.Module) -> float:
    grads = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    return torch.stack([grad.norm() for grad in grads]).norm().item()


def no_zero_grad(bench: Bench) -> Figures:
    """Update by the sum of all gradients so far. Measure its norm after 1 and after 30 updates."""
    wrong_norms: list[float] = []
    wrong = [learn(bench, seed, _counted(update_without_zero_grad, wrong_norms)) for seed in bench.every_seed]
    norms = wrong_norms[:30]
    return {
        "updates": len(norms),
        "norm_first": norms[0],
        "norm_last": norms[-1],
        "growth": norms[-1] / norms[0],
        **_against_right(bench, wrong),
    }


def update_without_zero_grad(
    network: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor
) -> float:
    loss = cross_entropy(network(images), labels)
    loss.backward()  # the mistake: adds to the existing gradients
    optimizer.step()
    return loss.item()


def _counted(step: Update, norms: list[float]) -> Update:
    def counted(
        network: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor
    ) -> float:
        loss = step(network, optimizer, images, labels)
        norms.append(gradient_norm(network))
        return loss

    return counted


def thousand_classes(bench: Bench) -> Figures:
    """Train torchvision's default head on cats and dogs. Measure the first loss and the last accuracy."""
    wrong = [learn(bench, seed, num_classes=1000) for seed in bench.every_seed]
    test = pictures(bench, "test")
    first = wrong[0].logits[0]
    return {
        "loss_start": wrong[0].updates[0],
        "right_loss_start": right(bench, 0).updates[0],
        "loss_first_epoch": wrong[0].losses[0],
        "right_loss_first_epoch": right(bench, 0).losses[0],
        "elsewhere": log_softmax(first, 1).exp()[:, 2:].sum(1).mean().item(),
        "parameters": 512 * 1000 + 1000,
        "right_parameters": 512 * 2 + 2,
        **_against_right(bench, wrong, test.labels),
    }


def _against_right(bench: Bench, wrong: list[Trained], labels: Tensor | None = None) -> Figures:
    """Return the accuracies with and without the mistake, and their difference seed by seed."""
    labels = pictures(bench, "test").labels if labels is None else labels
    with_mistake = [accuracy(run.logits[-1], labels) for run in wrong]
    without = [accuracy(right(bench, seed).logits[-1], labels) for seed in bench.every_seed]
    differences = [a - b for a, b in zip(with_mistake, without, strict=True)]
    return {
        **spread("accuracy", with_mistake),
        **spread("right_accuracy", without),
        **spread("difference", differences),
    }


def large_crops(bench: Bench) -> Figures:
    """Measure the cost of 512 pixels for ResNet-18, and the accuracy of the small network at that ratio.

    The images are enlarged from the bench's size, as RandomResizedCrop(512) enlarges most photos.
    """
    small, large = (bench.size, round(bench.size * 512 / 224))
    sizes = (64, 128) if bench.quick else (224, 512)
    cost = [_cost(size) for size in sizes]
    few = max(1, round(bench.epochs * (small / large) ** 2))
    labels = pictures(bench, "test").labels
    equal_time = [learn(bench, seed, size=large, epochs=few) for seed in bench.every_seed]
    equal_epochs = equal_time[0] if bench.quick else learn(bench, 0, size=large)
    return {
        "multiply_adds": cost[0][0],
        "large_multiply_adds": cost[1][0],
        "seconds": cost[0][1],
        "large_seconds": cost[1][1],
        "seconds_ratio": cost[1][1] / cost[0][1],
        "small": small,
        "large": large,
        "few_epochs": few,
        "epochs": bench.epochs,
        "equal_epochs": accuracy(equal_epochs.logits[-1], labels),
        "right_equal_epochs": accuracy(right(bench, 0).logits[-1], labels),
        "equal_epochs_seconds": equal_epochs.seconds,
        "right_equal_epochs_seconds": right(bench, 0).seconds,
        **_against_right(bench, equal_time, labels),
    }


def _cost(size: int) -> tuple[float, float]:
    """Return the multiply-adds of an image, and the CPU seconds of its forward and backward pass."""
    from torch.utils.flop_counter import FlopCounterMode

    import reslab

    network, images = reslab.resnet18(num_classes=2), torch.zeros(2, 3, size, size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(images)
    seconds = []
    for _ in range(4):
        started = time.process_time()
        network(images).sum().backward()
        seconds.append((time.process_time() - started) / len(images))
    return counter.get_total_flops() / 2 / len(images), median(seconds[1:])  # the first warms up
