"""Build a network on device "meta": shapes and no memory, for a look at it or a check of a file's tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from reslab.randomness import preserve_rng_state

FACTORIES = {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn}
INITIALIZATIONS = {torch.Tensor.normal_, torch.Tensor.uniform_}


def build_without_weights(build: Callable[[], nn.Module]) -> nn.Module:
    """Return the module that `build` constructs, on device "meta". The random state stays as it was.

    A module whose constructor needs real numbers is built on the CPU, with weights. Exceptions of `build`
    pass through then.
    """
    with preserve_rng_state():
        try:
            with _WithoutWeights():
                return build()
        except Exception:  # noqa: BLE001  also a user's code fails in many ways on numbers that are not there
            return build()


class _WithoutWeights(TorchFunctionMode):
    """Torch mode, as a context, in which new parameters and buffers are on device "meta".

    Small calculations of a constructor, such as torch.arange, stay on the CPU: torchvision's RegNet and some
    networks of timm read their results. normal_ and uniform_ return their tensor unchanged. On meta tensors
    they would do nothing, but import torch's compiler.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in INITIALIZATIONS:
            return args[0]
        if func in FACTORIES and kwargs.get("device") is None:
            kwargs = {**kwargs, "device": "meta"}
        return func(*args, **kwargs)
