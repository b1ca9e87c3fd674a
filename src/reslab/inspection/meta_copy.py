"""A copy of a network that can be looked at: borrowed objects come back unchanged, since only the copy runs.

The copy has no weights: its tensors are on torch's meta device, which knows shapes and computes nothing. A
network that needs real numbers, since its way depends on them, is copied whole.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from reslab.errors import NetworkError

HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks_always_called",
)


def copy_without_weights(network: nn.Module) -> nn.Module:
    """A copy that shares nothing with the network, its tensors on the meta device, without the hooks.

    Raises NetworkError for what cannot be copied.
    """
    memo: dict[int, Any] = {}
    for module in network.modules():
        for tensor in [*module._parameters.values(), *module._buffers.values(), *vars(module).values()]:
            if isinstance(tensor, Tensor) and id(tensor) not in memo:
                empty = torch.empty_like(tensor, device="meta", requires_grad=False)
                is_parameter = isinstance(tensor, nn.Parameter)
                memo[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if is_parameter else empty
    return _copied(network, memo)


def copy_with_weights(network: nn.Module) -> nn.Module:
    """The same with its weights."""
    return _copied(network, {})


def _copied(network: nn.Module, memo: dict[int, Any]) -> nn.Module:
    try:
        copied = copy.deepcopy(network, memo)
    except Exception as error:
        raise NetworkError(
            f"{type(network).__name__} cannot be copied, and only a copy of it is looked at",
            str(error).splitlines()[0] if str(error) else type(error).__name__,
            "keep locks, open files and results of earlier passes out of the network's attributes",
        ) from error
    for module in copied.modules():
        for name in HOOKS:
            getattr(module, name, {}).clear()
        if getattr(module, "_compiled_call_impl", None) is not None:
            module._compiled_call_impl = None
    return copied.eval()
