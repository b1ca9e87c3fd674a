"""ResNet-18 and -50 at 224 pixels on a GPU: images a second, beside a loop like torchvision's reference.

python benchmarks/gpu.py                  on a CUDA device; without one it says so and exits with 2
python benchmarks/gpu.py --batch 64       where the memory is small

All take their steps in turns: 1,000 classes, SGD with momentum, random pictures on the device, the loss read
after each step. The reference is what torchvision's references/classification/train.py does by default: fp32,
channels first; and the same with `--amp`, as it is usually run. reslab's step is that of a training with
`--precision auto`. The share is that of a product of two 8192 x 8192 matrices in bf16, measured in the same
rounds, with three forward passes counted for a step. Not run on a device so far.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import torch
import torchvision
from torch import Tensor
from torch.nn.functional import cross_entropy

import reslab
from reslab.networks.named import NetworkSpec
from reslab.networks.precision import parse_precision
from reslab.photos.batches import Batch
from reslab.training.autotune import measure_precision
from reslab.training.loop import State, update
from reslab.training.optimizer import make_optimizer

SIDE = 8192  # of the matrices whose product is the peak
Step = Callable[[], object]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; 2 without a CUDA device."""
    options = _parse(arguments)
    if not torch.cuda.is_available():
        print("there is no CUDA device here: nothing was measured", file=sys.stderr)
        return 2
    device = torch.device("cuda")
    print(f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}, {options.rounds} rounds")
    for name in ("resnet18", "resnet50"):
        _measure(name, options.batch, options.size, options.rounds, device)
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=20)
    return parser.parse_args(arguments)


def _measure(name: str, batch: int, size: int, rounds: int, device: torch.device) -> None:
    images = torch.randn(batch, 3, size, size, device=device)
    made = Batch(images, torch.arange(batch, device=device) % 1000)
    square = torch.randn(SIDE, SIDE, device=device, dtype=torch.bfloat16)
    steps: dict[str, Step] = {
        "torchvision fp32": reference_step(name, made, amp=False),
        "torchvision --amp": reference_step(name, made, amp=True),
    }
    own, step = own_step(name, made, size, device)
    steps[own] = step
    times: dict[str, list[float]] = {key: [] for key in [*steps, "peak"]}
    for number in range(rounds + 3):
        for key, take in [*steps.items(), ("peak", lambda: square @ square)]:
            torch.cuda.synchronize()
            started = time.perf_counter()
            take()
            torch.cuda.synchronize()
            if number >= 3:  # the first ones choose kernels
                times[key].append(time.perf_counter() - started)
    peak = 2 * SIDE**3 / min(times.pop("peak"))
    work = 3 * 2 * batch * _multiply_adds(name, size)
    print(f"\n{name}, {size} px, batch {batch}: bf16 peak {peak / 1e12:.0f} TFLOP/s")
    for key, seconds in times.items():
        median = statistics.median(seconds)
        ratios = [a / b for a, b in zip(times["torchvision --amp"], seconds, strict=True)]
        spread = f"{statistics.median(ratios):5.2f} x --amp [{min(ratios):.2f}, {max(ratios):.2f}]"
        print(f"  {key:28} {batch / median:7.0f} images/s  {spread}  {work / median / peak:4.0%} of the peak")


def _multiply_adds(name: str, size: int) -> int:
    network = NetworkSpec(name, 1000, 3).build()
    return reslab.anatomy(network, (1, 3, size, size)).multiply_adds


def reference_step(name: str, made: Batch, amp: bool) -> Step:
    """torchvision's reference: `train_one_epoch` for one batch, its scaler included."""
    device = made.images.device
    network = torchvision.models.get_model(name, num_classes=1000).to(device).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-4)
    scaler = torch.amp.GradScaler(device.type, enabled=amp)

    def step() -> float:
        with torch.autocast(device.type, enabled=amp):
            loss: Tensor = cross_entropy(network(made.images), made.labels)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss.item()

    return step


def own_step(name: str, made: Batch, size: int, device: torch.device) -> tuple[str, Step]:
    """reslab's step as a training takes it, with the precision that it would choose now."""
    batch = len(made.labels)
    recipe = reslab.Recipe(
        size=size, progressive_resizing=False,
        batch_size=batch, optimizer="sgd", momentum=0.9, learning_rate=1e-3,
        weight_decay=1e-4, label_smoothing=0, device=device.type,
    )  # fmt: skip
    network = NetworkSpec(name, 1000, 3).build().to(device)
    preprocess = recipe.preprocess(3)
    measured = measure_precision(network, name, recipe, preprocess, 100 * batch, device, lambda text: None)
    precision = parse_precision(measured.precision)
    precision.place(network, device).train()
    optimizer = make_optimizer(network, recipe)
    state = State(network, optimizer, None, recipe, device, precision, threads=measured.threads)
    return f"reslab {measured.precision}", lambda: update(state, made, 1e-3)


if __name__ == "__main__":
    sys.exit(main())
