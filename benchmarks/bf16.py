"""Compare trainings in bf16 and fp32 with the same seeds, photos and order.

python benchmarks/bf16.py FOLDER                 5 seeds, 3,000 photos at 48 pixels, 4 epochs, ResNet-18
python benchmarks/bf16.py FOLDER --network cifar_resnet20 --seeds 3

FOLDER is a photo folder, such as `reslab get` makes. Each seed has its own initialization, order and crops,
and both precisions use them. The measure is the validation accuracy after the last epoch, since choosing an
epoch would favor one side by chance. The interval over the seeds is Student's, 95 %.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import torch

import reslab
from reslab.networks.registry import NetworkSpec

FORMATS = ("fp32+channels_last", "bf16+channels_last")


def main(arguments: Sequence[str] | None = None) -> None:
    """Train in both precisions for every seed. Print each pair, then mean and interval."""
    from scipy.stats import t

    options = _parse(arguments)
    differences, losses = [], []
    for seed in range(options.seeds):
        started = time.perf_counter()
        (fp32, fp32_loss), (bf16, bf16_loss) = (_train(options, seed, name) for name in FORMATS)
        differences.append(100 * (bf16 - fp32))
        losses.append(bf16_loss - fp32_loss)
        print(
            f"seed {seed}: fp32 {fp32:.3f}, bf16 {bf16:.3f}, bf16 - fp32 {differences[-1]:+.1f} points; "
            f"train_loss {fp32_loss:.3f} and {bf16_loss:.3f}; {time.perf_counter() - started:.0f} s",
            flush=True,
        )
    if options.seeds > 1:
        for what, values in (("accuracy, points", differences), ("train_loss", losses)):
            mean, spread = statistics.mean(values), statistics.stdev(values)
            half = t.ppf(0.975, len(values) - 1) * spread / len(values) ** 0.5
            print(f"bf16 - fp32, {what}: {mean:+.3f} [{mean - half:+.3f}, {mean + half:+.3f}]")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {options}")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--photos", type=int, default=3000, help="of the train split")
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--optimizer", default="muon", help="muon, adamw, adam, sgd")
    return parser.parse_args(arguments)


def _train(options: argparse.Namespace, seed: int, precision: str) -> tuple[float, float]:
    """Return (validation accuracy, training loss) of the last epoch."""
    recipe = reslab.Recipe(
        epochs=options.epochs, size=options.size, resize=options.size, progressive_resizing=False,
        batch_size=64,
        seed=seed, precision=precision, optimizer=options.optimizer,
    )  # fmt: skip
    photos = reslab.Photos(options.folder, val_fraction=recipe.val_fraction, seed=0)
    train = photos.train.paths
    photos = photos.without(set(train) - set(train[:: max(1, -(-len(train) // options.photos))]))
    torch.manual_seed(seed)
    network = NetworkSpec(options.network, len(photos.classes), 3).build()
    *_, last = reslab.fit(network, photos, recipe, progress=False)
    return last.val_accuracy, last.train_loss


if __name__ == "__main__":
    main()
