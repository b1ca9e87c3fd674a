"""Build a network on device "meta": shapes and no memory, for a look at it or a check of a file's tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode

FACTORIES = {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn}
INITIALIZATIONS = {torch.Tensor.normal_, torch.Tensor.uniform_}


class WithoutWeights(TorchFunctionMode):
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
