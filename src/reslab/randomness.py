"""Random numbers keyed by (seed, purpose, epoch, photo), independent of the order of calls.

A generator that is consumed gives other numbers when the order of calls changes: with another number of
workers, after a restart, or when a photo is skipped. A keyed number depends only on its key.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2 ** 64 over the golden ratio, odd: SplitMix64's step


def key(seed: int, purpose: str, *numbers: int) -> int:
    """Hash (seed, purpose, numbers) to an int from 0 to 2 ** 64 - 1, which seeds a generator.

    Args:
        seed: of the training.
        purpose: use of the random numbers, such as "step".
        numbers: place of use, for instance epoch and photo.
    """
    # the colon is doubled, so that ("a:1",) and ("a", 1) are two keys
    text = ":".join([str(seed), purpose.replace(":", "::"), *map(str, numbers)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def uniforms_of_each(
    seed: int, purpose: str, *numbers: int, things: NDArray[np.uint64], count: int
) -> NDArray[np.float64]:
    """Return (N, count) uniform numbers in [0, 1). Row i depends only on the key and on row i of `things`.

    SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014), started at a hash
    of the row.

    Args:
        seed: with `purpose` and `numbers` the key, see `key`.
        things: (N, words), for instance the digests of N photos. Equal rows give equal numbers.
        count: numbers per row.
    """
    state = np.full(len(things), key(seed, purpose, *numbers), np.uint64)  # (N,)
    for word in things.T:
        state = _mix(state ^ word)
    steps = GOLDEN * np.arange(1, count + 1, dtype=np.uint64)  # (count,), modulo 2 ** 64
    words = _mix(state[:, None] + steps) >> np.uint64(11)  # a double has 53 bits
    return words.astype(np.float64) * 2.0**-53


def _mix(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return each word scrambled by SplitMix64's finalizer, in a new array of the same shape."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def permutation(seed: int, purpose: str, *numbers: int, count: int) -> NDArray[np.int64]:
    """Return a permutation of range(count) that depends only on seed, purpose and numbers, see `key`."""
    return np.random.Generator(np.random.Philox(key(seed, purpose, *numbers))).permutation(count)


@contextmanager
def torch_seeded(seed: int, purpose: str, *numbers: int) -> Iterator[None]:
    """Seed torch's generators from the key (see `key`) at entry, and restore their states on exit.

    These are the CPU's and, if CUDA is initialized at entry, those of all GPUs.
    """
    import torch

    cpu = torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    number = key(seed, purpose, *numbers)
    torch.default_generator.manual_seed(number)
    if cuda is not None:
        torch.cuda.manual_seed_all(number)
    try:
        yield
    finally:
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


@contextmanager
def preserve_rng_state() -> Iterator[None]:
    """Restore the states of Python's `random`, of NumPy's global generator and of torch on exit.

    GPUs are included if CUDA is initialized at entry. Nothing is seeded.
    """
    import torch

    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=None if torch.cuda.is_initialized() else []):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
