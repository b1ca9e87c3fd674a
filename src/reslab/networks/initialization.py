"""Initial weights keyed by tensor name: networks that share a tensor's name and shape share its values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from reslab.randomness import torch_seeded

Network = TypeVar("Network", bound=nn.Module)


def initialized_by_name(build: Callable[[], Network], seed: int) -> Network:
    """Build a network whose random weights depend only on the seed and on each tensor's name and shape.

    Two variants of a network then start from the same weights wherever their names and shapes agree, so
    their runs can be compared in pairs. Every tensor keeps the distribution that its module chose. A tensor
    that is created from random numbers (`nn.Parameter(torch.randn(8))`) is drawn once from the seed.

    Args:
        build: constructs the network on the CPU. Torch's random state is seeded for it, then restored.
        seed: of the training.
    """
    with torch_seeded(seed, "weights"), _RecordedFills() as fills:
        network = build()
    with torch.no_grad():
        for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
            with torch_seeded(seed, f"weights {name}"):
                fills.repeat(tensor)
    return network


class _RecordedFills(TorchFunctionMode):
    """Record of the in-place functions that fill tensors, such as nn.init.kaiming_normal_, to repeat them."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[int, list[tuple[Callable[..., Any], Sequence[Any], Mapping[str, Any]]]] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        tensor = next(
            (value for value in (*args[:1], kwargs.get("tensor")) if isinstance(value, Tensor)), None
        )
        name = getattr(func, "__name__", "")
        if tensor is None or not name.endswith("_") or name.endswith("__") or tensor.is_meta:
            return func(*args, **kwargs)
        before = torch.get_rng_state()
        result = func(*args, **kwargs)
        storage = tensor.untyped_storage()
        is_random = not torch.equal(before, torch.get_rng_state())
        fills_all = is_random and tensor.numel() * tensor.element_size() == storage.nbytes()
        earlier = [] if fills_all else self.calls.get(storage.data_ptr(), [])
        self.calls[storage.data_ptr()] = [*earlier, (func, args, kwargs)]
        return result

    def repeat(self, tensor: Tensor) -> None:
        """Fill a tensor as it was filled, with numbers from torch's random state as it is now."""
        for func, args, kwargs in self.calls.get(tensor.untyped_storage().data_ptr(), ()):
            func(*args, **kwargs)
