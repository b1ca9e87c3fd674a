"""Draws keyed by (seed, purpose, epoch, image): keyed, not consumed.

A generator that is consumed gives other numbers when the order of the calls changes: with another number of
workers, after a restart, when one photo is left out. A keyed draw is a function of its key and nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray


def key(seed: int, purpose: str, *numbers: int) -> int:
    """64 bits that depend on every part: a seed for a generator that belongs to one purpose."""
    # the colon doubled, so that ("a:1",) and ("a", 1) are two keys
    text = ":".join([str(seed), purpose.replace(":", "::"), *map(str, numbers)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def uniforms(seed: int, purpose: str, *numbers: int, count: int) -> NDArray[np.float64]:
    """`count` numbers in [0, 1) that belong to the key."""
    return np.random.Generator(np.random.Philox(key(seed, purpose, *numbers))).random(count)


def permutation(seed: int, purpose: str, *numbers: int, count: int) -> NDArray[np.int64]:
    """The order of `count` things that belongs to the key."""
    return np.random.Generator(np.random.Philox(key(seed, purpose, *numbers))).permutation(count)


@contextmanager
def torch_seeded(seed: int, purpose: str, *numbers: int) -> Iterator[None]:
    """torch's generators start from the key inside the block and are given back as they were."""
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
