"""Compare the training step with plain torch loops: images per second of ResNet-18 by size and batch.

python benchmarks/step.py            about a quarter of an hour on two idle cores
python benchmarks/step.py --quick    64 and 128 pixels in batches of 64; two minutes
python benchmarks/step.py --size 96 --batch 16 --batch 256
python benchmarks/step.py --compiled adds torch.compile; needs a C++ compiler
python benchmarks/step.py --work     by the CPU time of one thread, for a shared machine

The steps take turns: torchvision's network in a plain loop in fp32 (AdamW with its defaults), the same in
bf16 and in channels_last, and reslab's own step with the precision of `--precision auto`: with the same
AdamW, to which the targets apply, and with the Muon of the default recipe. Random images in memory, two
classes, the loss read after every step. reslab has its own process, since its choice of allocator holds for
a whole process. A ratio is the median over the rounds of the ratios within a round, with the smallest and
the largest. The share is that of a product of two 2048 x 2048 matrices in bf16, measured in the same
rounds, with three forward passes counted for a step; Muon's own products are not counted. On a processor
without bf16 its steps, which take minutes there, are skipped, and the product is in fp32.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import torch
import torchvision
from core_waits import waiting
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import reslab
from reslab.hardware import cores, has_fast_bf16, keep_freed_memory, processor_name
from reslab.networks.precision import UNCOMPILED, parse_precision
from reslab.photos.loading.batches import Batch
from reslab.training.loop import train_step
from reslab.training.optimizer import make_optimizer
from reslab.training.state import TrainState
from reslab.training.timing.autotune import measure_precision
from reslab.training.timing.precision_cache import MeasuredPrecision

CPU = torch.device("cpu")
SIZES, BATCHES = (32, 64, 96, 128, 192, 256), (16, 64, 128, 256)
LARGEST = 64 * 256**2  # pixels of a batch; more takes gigabytes, and no other kernels
TARGETS = {128: 1.8, 64: 1.6}  # times as fast as plain fp32
NOT_BELOW = 0.95  # of the best plain one, anywhere
Step = Callable[[], object]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure point by point and print a table for each, then which targets are met."""
    options = _parse(arguments)
    threads, load = torch.get_num_threads(), os.getloadavg()[0]
    print(f"{processor_name()}, {cores()} cores, {threads} threads, load {load:.1f}")
    print(f"torch {torch.__version__}, torchvision {torchvision.__version__}, {options.rounds} rounds")
    print(f"the peak is that in {'bf16' if has_fast_bf16() else 'fp32, for there is no bf16'}")
    sizes, batches = options.size or SIZES, options.batch or BATCHES
    if options.quick:
        sizes, batches = (64, 128), (64,)
    plain, own = _process(plain_steps, options.work), _process(own_steps, options.work)
    answers = [
        _point(plain, own, size, batch, options)
        for size in sizes
        for batch in batches
        if batch * size**2 <= LARGEST
    ]
    print("\n" + "\n".join(answers))
    for pipe in (plain, own):
        pipe.send(None)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, action="append", help="in pixels; may be given several times")
    parser.add_argument("--batch", type=int, action="append", help="may be given several times")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--compiled", action="store_true", help="torch.compile as one more rival")
    parser.add_argument("--work", action="store_true", help="CPU time of one thread, not time that passes")
    return parser.parse_args(arguments)


def _process(make: Callable[..., dict[str, Step]], work: bool) -> Connection:
    here, there = multiprocessing.get_context("spawn").Pipe()
    context = multiprocessing.get_context("spawn")
    context.Process(target=_serve, args=(there, make, work), daemon=True).start()
    return here


def _serve(pipe: Connection, make: Callable[..., dict[str, Step]], work: bool) -> None:
    """Make the steps of a point of the grid, and take those that the parent process asks for."""
    clock = time.process_time if work else time.perf_counter
    if work:
        torch.set_num_threads(1)
    steps: dict[str, Step] = {}

    def seconds(name: str) -> float:
        started = clock()
        steps[name]()
        return clock() - started

    while (told := pipe.recv()) is not None:
        if isinstance(told, tuple):
            steps = {}  # what the point before held is free before the next is made
            steps = make(*told)
            pipe.send([(name, seconds(name), seconds(name)) for name in steps])  # warm
        else:
            before = waiting()
            pipe.send((seconds(told), waiting() - before))


def plain_steps(size: int, batch: int, compiled: bool) -> dict[str, Step]:
    """Return plain torch loops as {name: step}."""
    torch.manual_seed(0)
    images, labels = torch.randn(batch, 3, size, size), torch.arange(batch) % 2
    bf16 = has_fast_bf16()
    names = [name for name, p in UNCOMPILED.items() if bf16 or p.number_format == "fp32"]
    steps = {f"plain {name}": _plain(name, images, labels) for name in names}
    if compiled and bf16:
        steps["compiled bf16+channels_last"] = _plain("bf16+channels_last", images, labels, compiled=True)
    square = torch.randn(2048, 2048, dtype=torch.bfloat16 if bf16 else torch.float32)
    return steps | {"peak": lambda: square @ square}


def _plain(name: str, images: Tensor, labels: Tensor, compiled: bool = False) -> Step:
    channels_last, bf16 = "channels_last" in name, "bf16" in name
    network: Any = torchvision.models.resnet18(num_classes=2)
    if channels_last:
        network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, weight_decay=0.05)
    network = torch.compile(network) if compiled else network

    def step() -> float:
        x = images.to(memory_format=torch.channels_last) if channels_last else images
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = cross_entropy(network(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def own_steps(size: int, batch: int, compiled: bool) -> dict[str, Step]:
    """Return reslab's step in the precision that `auto` chooses, with AdamW and with Muon.

    Muon is the optimizer of the recipe `fast`: more work per step, fewer steps.
    """
    keep_freed_memory()
    made = Batch(torch.randn(batch, 3, size, size), torch.arange(batch) % 2)
    return dict(_own(size, made, optimizer) for optimizer in ("adamw", "muon"))


def _own(size: int, made: Batch, optimizer: str) -> tuple[str, Step]:
    torch.manual_seed(0)
    recipe = reslab.Recipe(
        size=size, progressive_resizing=False,
        batch_size=len(made.labels), optimizer=optimizer, learning_rate=1e-4,
        label_smoothing=0,
    )  # fmt: skip
    network: nn.Module = reslab.resnet18(num_classes=2)
    measured: MeasuredPrecision = measure_precision(network, recipe, 7200, CPU, lambda text: None)
    precision = parse_precision(measured.precision)
    precision.place(network, CPU)
    network.train()
    state = TrainState(
        network, make_optimizer(network, recipe, precision), None, recipe, CPU, precision, measured.threads
    )
    return f"reslab {optimizer} {measured.precision}", lambda: train_step(state, *made, 1e-4)


def _point(plain: Connection, own: Connection, size: int, batch: int, options: argparse.Namespace) -> str:
    """Measure and print one point of the grid. Return its lines about the targets."""
    pipes: dict[str, Connection] = {}
    for pipe in (plain, own):
        pipe.send((size, batch, options.compiled))
        for name, first, _ in pipe.recv():
            pipes[name] = pipe
            if name.startswith("compiled"):
                print(f"the first compiled step took {first:.0f} s")
    times: dict[str, list[float]] = {name: [] for name in pipes}
    waits = 0.0
    for _ in range(options.rounds):
        for name, pipe in pipes.items():
            pipe.send(name)
            seconds, waited = pipe.recv()
            times[name].append(seconds)
            waits += waited
    peak = 2 * 2048**3 / min(times.pop("peak"))
    image = reslab.anatomy(reslab.resnet18(num_classes=2), (1, 3, size, size)).multiply_adds
    work = 3 * 2 * image * batch
    reference, ours = times["plain fp32"], next(name for name in times if name.startswith("reslab adamw"))
    print(
        f"\n{size} px, batch {batch}: peak {peak / 1e9:.0f} GFLOP/s; "
        f"the steps waited {waits:.1f} s for a core, all in all"
    )
    for name, seconds in times.items():
        median = statistics.median(seconds)
        ratio = _ratio(reference, seconds)
        print(f"  {name:34} {batch / median:7.0f} images/s  {ratio}  {work / median / peak:4.0%} of the peak")
    rivals = [name for name in times if name.startswith("plain")]
    best = min(rivals, key=lambda name: statistics.median(times[name]))
    return _judge(size, batch, reference, times[best], times[ours], best)


def _ratio(reference: list[float], seconds: list[float]) -> str:
    ratios = [a / b for a, b in zip(reference, seconds, strict=True)]
    return f"{statistics.median(ratios):5.2f} x [{min(ratios):.2f}, {max(ratios):.2f}]"


def _judge(
    size: int, batch: int, fp32: list[float], best: list[float], ours: list[float], best_name: str
) -> str:
    against_best = statistics.median(a / b for a, b in zip(best, ours, strict=True))
    against_fp32 = statistics.median(a / b for a, b in zip(fp32, ours, strict=True))
    target = TARGETS.get(size, 0.0)
    met = against_best >= NOT_BELOW and against_fp32 >= target
    asked = f" (asked: {target})" if target else ""
    return (
        f"{size} px, batch {batch}: {against_fp32:.2f} x plain fp32{asked}, "
        f"{against_best:.2f} x the best plain one, {best_name[6:]}: {'met' if met else 'NOT MET'}"
    )


if __name__ == "__main__":
    main()
