"""The device, cores, threads and memory that this process computes with."""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import RecipeError

if TYPE_CHECKING:
    import torch

MAX_BF16_SLOWDOWN = 10.0  # against fp32; a processor that only emulates bf16 is about 40 times slower
DEVICES = ("auto", "cpu", "cuda", "mps")
OUT_OF_MEMORY = ("DefaultCPUAllocator", "could not create a primitive")  # in messages of torch and oneDNN


def choose_device(name: str = "auto") -> torch.device:
    """Return the torch device of this name.

    Args:
        name: "auto", "cpu", "cuda" or "mps"; "cuda:1" takes one of several. "auto" takes CUDA, else Apple's
            MPS, else the CPU.

    Raises:
        RecipeError: the name is unknown, or this machine does not have the device.
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
        why = f"torch {torch.__version__} finds {count} {kind} devices on this machine"
        raise RecipeError(f"device '{name}' is not available", why, "use --device auto, or --device cpu")
    return torch.device(name)


def cores() -> int:
    """Count the CPU cores that this process may run on, at least 1; they may be fewer than the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor_name() -> str:
    """Return the processor's model name, such as "AMD EPYC 9554".

    Without a model name, return the architecture, such as "arm64"; "" if that is unknown, too.
    """
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@cache
def has_fast_bf16() -> bool:
    """Return True if this CPU's matrix products in bf16 take at most MAX_BF16_SLOWDOWN times those in fp32.

    The first call times small products in one thread; later calls return its result. Most processors without
    AVX-512 convert every number instead: a training step of two images takes a second then, and one update of
    Muon half a minute.
    """
    import torch

    def seconds(dtype: torch.dtype) -> float:
        matrix = torch.ones(256, 256, dtype=dtype, device="cpu")
        times = []
        for _ in range(4):  # the first also compiles the kernel
            started = time.thread_time()
            matrix @ matrix
            times.append(time.thread_time() - started)
        return min(times)

    with threads(1):
        return seconds(torch.bfloat16) <= MAX_BF16_SLOWDOWN * seconds(torch.float32)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch compute with `count` threads inside the block, and restore the number on exit.

    The limit is the number of cores, or the present number of threads if that is larger. 0 changes nothing.
    """
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
def catch_out_of_memory(make_error: Callable[[str], Exception]) -> Iterator[None]:
    """Raise `make_error(message)` instead of an out-of-memory error of Python or torch in the block.

    `message` is the first line of that error, or "no memory is left". Other exceptions pass through.
    """
    import torch

    try:
        yield
    except (RuntimeError, MemoryError) as error:
        known = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if not known and not any(words in str(error) for words in OUT_OF_MEMORY):
            raise
        raise make_error(next(iter(str(error).splitlines()), "no memory is left")) from error


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next training step, until this process ends.

    Do nothing if the C library is another one.

    By default large tensors return to the system after every step, which clears each page again for the
    next: 8 % of the CPU time of a ResNet-18 step at 128 pixels, 15 % at 192. Keeping them takes a sixth more
    memory.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    import ctypes

    mmap_threshold, trim_threshold = -3, -1  # from malloc.h
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(mmap_threshold, 2**30)
        mallopt(trim_threshold, 2**31 - 1)


def deterministic_cudnn() -> AbstractContextManager[None]:
    """Return a context in which cuDNN takes deterministic algorithms, without timing them.

    On exit torch.backends.cudnn has its flags back. The context does nothing if CUDA is not initialized yet.
    """
    import torch

    if not torch.cuda.is_initialized():
        return nullcontext()
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True)
