"""Copies of a network that can be run without changing the original, with or without its weights.

A copy without weights has its tensors on the meta device, which knows shapes and computes nothing. A network
whose forward depends on values needs the copy with weights.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from reslab.errors import NetworkError


def copy_without_weights(network: nn.Module) -> nn.Module:
    """Return a copy in eval mode with all tensors on the meta device and no hooks.

    Raises:
        NetworkError: the network cannot be copied.
    """
    memo: dict[int, Any] = {}
    for module in network.modules():
        for tensor in [*module._parameters.values(), *module._buffers.values(), *vars(module).values()]:
            if isinstance(tensor, Tensor) and id(tensor) not in memo:
                empty = torch.empty_like(tensor, device="meta", requires_grad=False)
                is_parameter = isinstance(tensor, nn.Parameter)
                memo[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if is_parameter else empty
    return _copy(network, memo)


def copy_with_weights(network: nn.Module) -> nn.Module:
    """Return a copy in eval mode with copied weights, on the same devices, and no hooks.

    Raises:
        NetworkError: the network cannot be copied.
    """
    return _copy(network, {})


def _copy(network: nn.Module, memo: dict[int, Any]) -> nn.Module:
    try:
        copied = copy.deepcopy(network, memo)
    except Exception as error:
        raise NetworkError(
            f"{type(network).__name__} cannot be copied, and only a copy of it is run",
            str(error).partition("\n")[0] or type(error).__name__,
            "keep locks, open files and results of earlier passes out of the network's attributes",
        ) from error
    for module in copied.modules():
        for name, value in vars(module).items():
            if "_hooks" in name and isinstance(value, dict):
                value.clear()
    return copied.eval()
