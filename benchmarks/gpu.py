"""Measure a CUDA device: images per second against torchvision's reference, and the time to 94 %.

python benchmarks/gpu.py                     both; without a device it prints a message and exits with 2
python benchmarks/gpu.py --only step         ResNet-18 and -50 at 224 pixels; --batch 64 for little memory
python benchmarks/gpu.py --only accuracy --photos FOLDER      FOLDER from: reslab get cifar10 FOLDER
python benchmarks/gpu.py --device cpu --quick --compiled      the same code with tiny numbers

Steps take turns: 1,000 classes, SGD with momentum, random images on the device, the loss read after each
step. The reference is the default of torchvision's references/classification/train.py: fp32, channels
first; and the same with `--amp`, also compiled, also with CUDA graphs. reslab's step uses the precision of
`--precision auto`, and the same compiled. The share is that of a product of two square matrices in bf16,
measured in the same rounds, with three forward passes counted for a step. "augmented" is a batch of photos
on the device that is cropped, mirrored and normalized for a step.

The time to an accuracy is that of the default recipe at 32 pixels. It runs from the first step to the end
of the first epoch that reaches it on validation photos, validation included. Decoding and timing the
precisions before it are shown separately. Without a folder as many drawn cats and dogs as CIFAR-10 has
photos take its place: they show the duration of such epochs and nothing about CIFAR-10. Not run on a device
so far.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torchvision
from torch import Tensor
from torch.nn.functional import cross_entropy

import reslab
from reslab.networks.precision import parse_precision
from reslab.networks.registry import NetworkSpec
from reslab.photos.loading.augmentation import NUMBERS_PER_PHOTO, draw_views
from reslab.photos.loading.batches import Batch
from reslab.photos.loading.gpu_augmentation import DevicePixels, augment_on_device
from reslab.training.loop import train_step
from reslab.training.optimizer import make_optimizer
from reslab.training.state import TrainState
from reslab.training.timing.autotune import measure_precision

Step = Callable[[], object]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print. Return 2 without a device."""
    options = _parse(arguments)
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("there is no CUDA device here: nothing was measured", file=sys.stderr)
        return 2
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device
    print(f"{name}, torch {torch.__version__}, {options.rounds} rounds")
    if "step" in options.only:
        for network in options.networks:
            _measure_steps(network, options, device)
    if "accuracy" in options.only:
        with tempfile.TemporaryDirectory() as temporary:
            _measure_accuracy(options, Path(temporary), device)
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=("step", "accuracy"), default=("step", "accuracy"))
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, cpu")
    parser.add_argument("--networks", nargs="+", default=("resnet18", "resnet50"))
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--side", type=int, default=8192, help="of the matrices whose product is the peak")
    parser.add_argument("--compiled", action="store_true", help="compiled steps on a CPU, too")
    parser.add_argument("--photos", type=Path, help="a folder, instead of drawn ones")
    parser.add_argument("--drawn", type=int, default=50_000, help="photos to train on")
    parser.add_argument("--network", default="cifar_resnet20", help="whose time to an accuracy is taken")
    parser.add_argument("--accuracy", type=float, default=0.94)
    parser.add_argument("--epochs", type=int, default=24, help="that the recipe has")
    parser.add_argument("--quick", action="store_true", help="tiny numbers, which measure nothing")
    options = parser.parse_args(arguments)
    if options.quick:
        tiny = {"networks": ("resnet18",), "batch": 2, "size": 32, "rounds": 1, "side": 64, "drawn": 40}
        for key, value in (tiny | {"epochs": 1}).items():
            setattr(options, key, value)
    return options


def _measure_steps(name: str, options: argparse.Namespace, device: torch.device) -> None:
    batch, size = options.batch, options.size
    images = torch.randn(batch, 3, size, size, device=device)
    made = Batch(images, torch.arange(batch, device=device) % 1000)
    square = torch.randn(options.side, options.side, device=device, dtype=torch.bfloat16)
    steps: dict[str, Step] = {
        "torchvision fp32": reference_step(name, made, amp=False),
        "torchvision --amp": reference_step(name, made, amp=True),
    }
    own, step = own_step(name, made, size, device, "auto")
    steps[f"reslab {own}"] = step
    if options.compiled or device.type == "cuda":
        steps["torchvision --amp compiled"] = reference_step(name, made, amp=True, mode="default")
        if device.type == "cuda":
            steps["the same, CUDA graphs"] = reference_step(name, made, amp=True, mode="reduce-overhead")
        if not own.endswith("+compiled"):
            own, step = own_step(name, made, size, device, f"{own}+compiled")
            steps[f"reslab {own}"] = step
    others = {"augmented": augmented(batch, size, device), "peak": lambda: square @ square}
    times: dict[str, list[float]] = {key: [] for key in [*steps, *others]}
    for number in range(options.rounds + 3):
        for key, take in (steps | others).items():
            seconds = _seconds(take, device)
            if number >= 3:  # the first ones choose kernels, and compile
                times[key].append(seconds)
    peak = 2 * options.side**3 / min(times.pop("peak"))
    work = 3 * 2 * batch * _multiply_adds(name, size)
    print(f"\n{name}, {size} px, batch {batch}: bf16 peak {peak / 1e12:.3g} TFLOP/s")
    for key, seconds in times.items():
        median = statistics.median(seconds)
        ratios = [a / b for a, b in zip(times["torchvision --amp"], seconds, strict=True)]
        spread = f"{statistics.median(ratios):5.2f} x --amp [{min(ratios):.2f}, {max(ratios):.2f}]"
        share = f"  {work / median / peak:4.0%} of the peak" if key in steps else ""
        print(f"  {key:36} {batch / median:7.0f} images/s  {spread}{share}")


def _seconds(take: Step, device: torch.device) -> float:
    """Return the seconds until the device has finished `take`."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    started = time.perf_counter()
    take()
    wait()
    return time.perf_counter() - started


def _multiply_adds(name: str, size: int) -> int:
    network = NetworkSpec(name, 1000, 3).build()
    return reslab.anatomy(network, (1, 3, size, size)).multiply_adds


def reference_step(name: str, made: Batch, *, amp: bool, mode: str | None = None) -> Step:
    """Take a step as torchvision's reference does: `train_one_epoch` for one batch, with its scaler."""
    device = made.images.device
    network = torchvision.models.get_model(name, num_classes=1000).to(device).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-4)
    scaler = torch.amp.GradScaler(device.type, enabled=amp)
    forward: Callable[[Tensor], Tensor] = network if mode is None else torch.compile(network, mode=mode)

    def step() -> float:
        with torch.autocast(device.type, enabled=amp):
            loss: Tensor = cross_entropy(forward(made.images), made.labels)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss.item()

    return step


def own_step(name: str, made: Batch, size: int, device: torch.device, precision: str) -> tuple[str, Step]:
    """Take reslab's step in this precision, or in the one that `auto` chooses."""
    batch = len(made.labels)
    recipe = reslab.Recipe(
        size=size, progressive_resizing=False, precision=precision,
        batch_size=batch, optimizer="sgd", momentum=0.9, learning_rate=1e-3,
        weight_decay=1e-4, label_smoothing=0, device=str(device),
    )  # fmt: skip
    network = NetworkSpec(name, 1000, 3).build().to(device)
    measured = measure_precision(network, recipe, 100 * batch, device, lambda text: None)
    chosen = parse_precision(measured.precision)
    chosen.place(network, device).train()
    optimizer = make_optimizer(network, recipe, chosen)
    state = TrainState(network, optimizer, None, recipe, device, chosen, threads=measured.threads)
    return measured.precision, lambda: train_step(state, *made, 1e-3)


def augmented(batch: int, size: int, device: torch.device) -> Step:
    """Crop, mirror, recolor and normalize a batch of photos on the device."""
    preprocess = reslab.Preprocess(size=size, resize=size * 8 // 7, color_jitter=0.2)
    shape = (3, preprocess.resize, preprocess.resize * 4 // 3)
    photos = [torch.randint(0, 256, shape, dtype=torch.uint8, device=device) for _ in range(batch)]
    numbers = np.random.default_rng(0).random((batch, NUMBERS_PER_PHOTO))
    views = draw_views(preprocess, np.array([shape[1:]] * batch), numbers)
    return lambda: preprocess.normalize(augment_on_device(preprocess, photos, views))


def _measure_accuracy(options: argparse.Namespace, temporary: Path, device: torch.device) -> None:
    folder, what = options.photos, f"{options.photos}"
    if folder is None:
        folder, what = temporary / "drawn", f"{options.drawn:,} drawn cats and dogs"
        reslab.make_drawings(folder, train=options.drawn, test=options.drawn // 5, size=32, progress=False)
    photos = reslab.Photos(folder)
    recipe = reslab.Recipe(
        epochs=options.epochs, size=32, resize=32, progressive_resizing=False, device=str(device)
    )
    network = NetworkSpec(options.network, len(photos.classes), 3).build()
    started = time.perf_counter()
    prepared = reslab.prepare(network, photos, recipe, progress=False)
    where = "on the device" if isinstance(prepared.train.pixels, DevicePixels) else "in main memory"
    print(
        f"\n{options.network} on {what}: photos {where}, precision {prepared.measured.precision}; "
        f"decoding and measuring took {time.perf_counter() - started:.1f} s"
    )
    started = time.perf_counter()
    for event in reslab.training_loop(prepared.state, prepared.train, prepared.validate(progress=False)):
        if isinstance(event, reslab.Epoch):
            seconds = time.perf_counter() - started
            print(f"  {seconds:7.1f} s  {event.val_accuracy:.4f}  {event.images_per_second:.0f} images/s")
            if event.val_accuracy >= options.accuracy:
                print(f"{options.accuracy:.0%} after {seconds:.1f} s, {event.epoch} epochs")
                return
    print(f"{options.accuracy:.0%} was not reached in {options.epochs} epochs")


if __name__ == "__main__":
    sys.exit(main())
