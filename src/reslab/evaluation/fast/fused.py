"""A network for answers alone: each convolution, the addition and the ReLU behind it as one operation.

Batch norm is folded into the convolution before it. What is left between two convolutions is a walk through
memory for every addition and every ReLU; oneDNN does both while it writes what the convolution gives, and
takes weights that lie as its kernel wants them: a tenth of the time in bf16. torch reaches that through the
operators that its own compiler emits for a frozen network. They are undocumented, so whoever uses this has to
hold the answers against the network's.
"""

from __future__ import annotations

import copy
import operator
from typing import cast

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

ADDITIONS = (operator.add, operator.iadd, torch.add)
RELUS = (F.relu, torch.relu)


def fold(network: nn.Module) -> fx.GraphModule | None:
    """A copy in eval mode with batch norm folded into the convolutions before it; the network stays as it is.

    None for a network with hooks, which would not run. Raises whatever stops the tracing, as where the way
    through the network depends on its input.
    """
    if any(module._forward_hooks or module._forward_pre_hooks for module in network.modules()):
        return None
    from torch.fx.experimental.optimization import fuse

    return cast(fx.GraphModule, fuse(copy.deepcopy(network).eval(), inplace=True))


def fused(network: fx.GraphModule, number_format: torch.dtype) -> nn.Module:
    """What `fold` gave, changed to convolve in fp32 or bf16 and channels_last.

    images (N, C, H, W) in that format -> logits (N, num_classes).
    """
    for node in list(network.graph.nodes):
        module = _module(network, node)
        if type(module) is nn.Conv2d and module.padding_mode == "zeros" and isinstance(module.padding, tuple):
            _fuse(network, node, module, number_format)
        elif type(module) is nn.Linear:
            network.set_submodule(str(node.target), _Linear(module))
    network.delete_all_unused_submodules()
    network.recompile()
    return network


def _fuse(network: fx.GraphModule, node: fx.Node, module: nn.Conv2d, number_format: torch.dtype) -> None:
    """Puts one operation in the place of a convolution and of what can be done while it is written."""
    inputs, steps = [node.args[0]], [node]
    if (user := _only_user(node)) and (other := _other_summand(user, node)) is not None:
        inputs.append(other)
        steps.append(user)
    last = _only_user(steps[-1])
    relu = last is not None and _is_relu(network, last)
    if last is not None and relu:
        steps.append(last)
    name = "fused_" + node.name
    network.add_submodule(name, _Convolution(module, number_format, relu))
    with network.graph.inserting_before(steps[-1]):
        operation = network.graph.call_module(name, tuple(inputs))
    steps[-1].replace_all_uses_with(operation)
    for step in reversed(steps):
        network.graph.erase_node(step)


def _module(network: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    return network.get_submodule(str(node.target)) if node.op == "call_module" else None


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _other_summand(addition: fx.Node, summand: fx.Node) -> fx.Node | None:
    """What is added to the summand; None if this is no addition of two tensors."""
    if addition.op != "call_function" or addition.target not in ADDITIONS or addition.kwargs:
        return None
    others = [arg for arg in addition.args if arg is not summand and isinstance(arg, fx.Node)]
    return others[0] if len(addition.args) == 2 and len(others) == 1 else None


def _is_relu(network: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_function":
        return node.target in RELUS
    return type(_module(network, node)) is nn.ReLU


class _Convolution(nn.Module):
    """relu(conv(x) + bias + other), the last two where there are any. The bias stays in fp32.

    A bias holds what was folded into it. Rounded to bf16 it would move a whole channel: three times the error
    of everything else.
    """

    def __init__(self, like: nn.Conv2d, number_format: torch.dtype, relu: bool) -> None:
        super().__init__()
        self.geometry = like.padding, like.stride, like.dilation, like.groups
        self.number_format, self.relu = number_format, "relu" if relu else None
        weight = like.weight.detach().to(number_format)
        # in the order that the kernel wants, once, and not at every call
        self.weight = torch.ops.mkldnn._reorder_convolution_weight(weight, *self.geometry)
        self.bias = None if like.bias is None else like.bias.detach()

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        x = x.to(self.number_format).contiguous(memory_format=torch.channels_last)
        given = x, self.weight, self.bias, *self.geometry
        convolve = torch.ops.mkldnn._convolution_pointwise
        if other is None:
            y: Tensor = convolve(*given, self.relu or "none", [], None)
        elif self.number_format == torch.float32:
            y = convolve.binary(x, other, *given[1:], "add", 1.0, self.relu, [], None)
        else:  # with an addition it takes no bias of another format
            y = convolve(*given, "none", [], None).add_(other)
            y = y.relu_() if self.relu else y
        return y


class _Linear(nn.Module):
    def __init__(self, like: nn.Linear) -> None:
        super().__init__()
        self.like = like

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.like(x.float())
        return logits
