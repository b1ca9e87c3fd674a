"""What this process computes on: which device and number formats, how many threads, and who else is there."""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import RecipeError

if TYPE_CHECKING:
    import torch

EMULATED = 10.0  # times slower than in fp32: one with bf16 is quicker in it, one without 40 times slower
DEVICES = ("auto", "cpu", "cuda", "mps")
OUT_OF_MEMORY = ("DefaultCPUAllocator", "could not create a primitive")  # torch's words, and oneDNN's


def choose_device(name: str = "auto") -> torch.device:
    """auto: CUDA if there is one, then Apple's MPS, then the CPU; `cuda:1` names one of several.

    Raises RecipeError if the device is unknown or not there.
    """
    import torch

    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    kind, _, index = name.partition(":")
    if kind == "auto" or not re.fullmatch(rf"({'|'.join(DEVICES)})(:\d{{1,4}})?", name, re.ASCII):
        raise RecipeError(f"there is no device '{name}'", "", f"use one of {', '.join(DEVICES)}, or cuda:1")
    count = torch.cuda.device_count() if kind == "cuda" else int(kind == "cpu" or mps)
    if int(index or 0) >= count:
        why = f"torch {torch.__version__} sees {count} {kind} devices on this machine"
        raise RecipeError(f"device '{name}' is not there", why, "use --device auto, or --device cpu")
    return torch.device(name)


def cores() -> int:
    """CPU cores that this process may use, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """The processor's own name where the system tells it; else its architecture."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def waiting() -> float:
    """Seconds for which the threads of this process were ready and had no core, all in all; 0 if unknown.

    Linux counts them. Between two moments of computing alone on a machine they hardly grow.
    """
    total = 0
    with suppress(OSError):
        for thread in os.listdir("/proc/self/task"):
            with suppress(OSError, ValueError, IndexError):  # the thread has ended, or nothing is counted
                total += int(Path(f"/proc/self/task/{thread}/schedstat").read_text().split()[1])
    return total / 1e9


@cache
def multiplies_bf16() -> bool:
    """Whether this processor computes in bf16, told by the CPU time of a small product of matrices.

    One that does not, as most without AVX-512, converts number by number: a training step of two photos then
    takes a second, and one of Muon's updates half a minute. Asked once in a process.
    """
    import torch

    def seconds(dtype: torch.dtype) -> float:
        matrix = torch.ones(256, 256, dtype=dtype, device="cpu")
        passed = []
        for _ in range(4):  # the first builds what it computes with
            started = time.thread_time()
            matrix @ matrix
            passed.append(time.thread_time() - started)
        return min(passed)

    with threads(1):
        return seconds(torch.bfloat16) <= EMULATED * seconds(torch.float32)


def threads_are_fixed() -> bool:
    """Whether the user has said how many threads shall compute."""
    return any(os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"))


@contextmanager
def threads(count: int) -> Iterator[None]:
    """torch computes with `count` threads inside the block, on the cores there are; 0: as many as before."""
    import torch

    before = torch.get_num_threads()
    inside = min(count, max(before, cores())) or before
    if inside == before:
        yield
        return
    torch.set_num_threads(inside)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def end_of_memory(answered: Callable[[str], Exception]) -> Iterator[None]:
    """Where the memory ends inside the block, raises what `answered` makes of torch's word for it."""
    import torch

    try:
        yield
    except (RuntimeError, MemoryError) as error:
        known = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if not known and not any(words in str(error) for words in OUT_OF_MEMORY):
            raise
        raise answered(next(iter(str(error).splitlines()), "no memory is left")) from error


def keep_memory() -> None:
    """What a training step frees, the allocator of this process keeps for the next one; glibc only.

    Else large tensors go back to the system after every step, which then has to clear each of their pages
    anew: 8 % of the CPU time of a step of ResNet-18 at 128 pixels, 15 % at 192, for a sixth more memory.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    import ctypes

    mmap_threshold, trim_threshold = -3, -1  # their numbers in malloc.h
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(mmap_threshold, 2**30)
        mallopt(trim_threshold, 2**31 - 1)


@contextmanager
def reproducible() -> Iterator[None]:
    """cuDNN chooses its algorithms by rule and not by stopwatch inside the block; no effect on a CPU."""
    import torch

    if not torch.cuda.is_initialized():
        yield
        return
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
        yield
