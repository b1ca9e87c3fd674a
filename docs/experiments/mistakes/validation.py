"""Mistakes of validation: random crops, shuffling, gradients, train mode, and choosing by the test set."""

from __future__ import annotations

from statistics import fmean, stdev

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchvision.transforms import v2

from .bench import Bench, Figures, accuracy, learn, normalize, pictures, predict, right, spread


def random_crops(bench: Bench) -> Figures:
    """Train with random crops as the tutorial does. Validate with them and without."""
    test = pictures(bench, "test")
    crop = v2.RandomResizedCrop(bench.size, scale=(0.35, 1.0), antialias=True)
    tutorial = v2.RandomResizedCrop(bench.size, antialias=True)  # its default: from 8 % of the area
    trained = learn(bench, 0, crop=crop)
    honest = accuracy(trained.logits[-1], test.labels)
    torch.manual_seed(0)
    repeated = []
    for _ in range(bench.repeats):
        images = torch.stack([tutorial(image) for image in test.images])
        repeated.append(accuracy(predict(trained.network, normalize(images)), test.labels))
    return {"honest": honest, **spread("cropped", repeated), "cropped_deviation": stdev(repeated)}


def shuffled(bench: Bench) -> Figures:
    """Compare the mean over images with the mean over batch means, and predictions with the list of files."""
    test, trained = pictures(bench, "test"), right(bench, 0)
    losses = cross_entropy(trained.logits[-1], test.labels, reduction="none")
    predicted = trained.logits[-1].argmax(1)
    size = len(losses) - 4 if bench.quick else 66  # a last batch that is much smaller than the others
    torch.manual_seed(0)
    by_picture, by_batch, by_row = [], [], []
    for _ in range(10 * bench.repeats):
        mixed = torch.randperm(len(losses))
        batches = losses[mixed].split(size)
        by_picture.append(sum(batch.sum().item() for batch in batches) / len(losses))
        by_batch.append(fmean(batch.mean().item() for batch in batches))
        by_row.append((predicted[mixed] == test.labels).float().mean().item())
    return {
        "repeats": len(by_picture),
        "batch": size,
        "last_batch": len(losses) % size,
        **spread("by_picture", by_picture),
        **spread("by_batch", by_batch),
        "by_picture_difference": max(by_picture) - min(by_picture),
        "by_batch_difference": max(by_batch) - min(by_batch),
        **spread("by_row", by_row),
        "accuracy": accuracy(trained.logits[-1], test.labels),
    }


def without_no_grad(bench: Bench) -> Figures:
    """Measure the bytes that autograd keeps of a batch through ResNet-18, with and without no_grad."""
    from torchvision.models import resnet18

    size, batch = (64, 4) if bench.quick else (224, 32)
    network = resnet18(num_classes=2).eval()
    images = torch.zeros(batch, 3, size, size)
    kept = _bytes_kept(network, images)
    with torch.no_grad():
        fixed = _bytes_kept(network, images)
    return {"size": size, "batch": batch, "kept_megabytes": kept / 1e6, "fixed_megabytes": fixed / 1e6}


def _bytes_kept(network: nn.Module, images: Tensor) -> int:
    own = {parameter.data_ptr() for parameter in [*network.parameters(), *network.buffers()]}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in own:
            kept[tensor.data_ptr()] = tensor  # kept alive, so that no address is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(images)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def train_mode(bench: Bench) -> Figures:
    """Validate in train mode in batches of several sizes, and in the order of the folders."""
    test = pictures(bench, "test")
    images, found = normalize(test.images), {}
    torch.manual_seed(0)
    mixed = torch.randperm(len(images))
    runs = [right(bench, seed) for seed in bench.every_seed]
    found |= spread("eval", [accuracy(run.logits[-1], test.labels) for run in runs])
    for size in (4, 16, 64):
        values = [
            _accuracy_in_train_mode(run.network, images[mixed], test.labels[mixed], size) for run in runs
        ]
        found |= spread(f"batch_{size}", values)
    by_folder = [_accuracy_in_train_mode(run.network, images, test.labels, 16) for run in runs]
    return {**found, **spread("by_folder", by_folder), **_tensors_changed(bench)}


def _accuracy_in_train_mode(network: nn.Module, images: Tensor, labels: Tensor, batch_size: int) -> float:
    """Return the accuracy in train mode. Restore the running averages afterwards."""
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    with torch.no_grad():
        logits = torch.cat([network(batch) for batch in images.split(batch_size)])
    network.load_state_dict(before)
    return accuracy(logits, labels)


def _tensors_changed(bench: Bench) -> Figures:
    """Count the tensors that one validation in train mode changes."""
    network, test = right(bench, 0).network, pictures(bench, "test")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    with torch.no_grad():
        for batch in normalize(test.images).split(16):
            network(batch)
    changed = sum(not torch.equal(value, before[name]) for name, value in network.state_dict().items())
    network.load_state_dict(before)
    return {"tensors_changed": changed, "tensors": len(before)}


def chosen_by_test(bench: Bench) -> Figures:
    """Choose the best network by some of the images, and measure it on the others.

    Real predictions, random splits. Both parts of a split share no image, so the second is unbiased.
    """
    labels = pictures(bench, "test").labels
    rows = [run.logits for run in (right(bench, seed) for seed in bench.every_seed)]
    last = slice(4) if bench.quick else slice(-4, None)  # quick ones end at 100 %, with nothing to choose
    correct = torch.stack([(logits.argmax(1) == labels).float() for run in rows for logits in run[last]])
    found: Figures = {"candidates": len(correct), "repeats": 100 * bench.repeats}
    for small in (min(50, len(labels) // 4), len(labels) // 2):
        gaps = []
        torch.manual_seed(0)
        for _ in range(100 * bench.repeats):
            mixed = torch.randperm(len(labels))
            chosen_by, others = correct[:, mixed[:small]].mean(1), correct[:, mixed[small:]].mean(1)
            best = int(chosen_by.argmax())
            gaps.append((chosen_by[best] - others[best]).item())
        size = "small" if small < len(labels) // 2 else "half"
        error = 1.96 * stdev(gaps) / len(gaps) ** 0.5
        found |= {f"{size}_pictures": small, f"{size}_optimism": fmean(gaps), f"{size}_error": error}
    return found
