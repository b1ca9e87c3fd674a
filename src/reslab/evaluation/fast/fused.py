"""Fused copy of a network: convolution, addition and ReLU as one oneDNN operation.

Batch norm is folded into the convolution before it. oneDNN then adds the shortcut and applies the ReLU while
it writes the convolution's output, which saves a pass over memory for each. Its weights are stored in the
order that the kernel needs. torch reaches these kernels through the operators that its compiler emits. They
are undocumented, so callers must compare the results with the network's.
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
    """Return a traced copy of `network` in eval mode, with batch norm folded into the convolutions.

    Return None if the network has hooks, which the copy would not run. An exception of torch.fx passes
    through, for example for a branch that depends on the input.
    """
    if any(module._forward_hooks or module._forward_pre_hooks for module in network.modules()):
        return None
    from torch.fx.experimental.optimization import fuse as fold_batch_norm

    return cast(fx.GraphModule, fold_batch_norm(copy.deepcopy(network).eval(), inplace=True))


def fuse(network: fx.GraphModule, dtype: torch.dtype) -> nn.Module:
    """Change a network from `fold` to compute in `dtype` and channels_last, and return it.

    It takes images (N, C, H, W) in `dtype` and returns logits (N, num_classes). Linear layers compute in
    fp32. Only for a CPU.
    """
    for node in list(network.graph.nodes):
        module = _module(network, node)
        if type(module) is nn.Conv2d and module.padding_mode == "zeros" and isinstance(module.padding, tuple):
            _fuse_convolution(network, node, module, dtype)
        elif type(module) is nn.Linear:
            module.register_forward_pre_hook(lambda _, inputs: (inputs[0].float(),))
    network.delete_all_unused_submodules()
    network.recompile()
    return network


def _fuse_convolution(network: fx.GraphModule, node: fx.Node, module: nn.Conv2d, dtype: torch.dtype) -> None:
    """Replace a convolution in the graph of `network` by one `_Convolution`, in place.

    It includes an addition that follows directly, and a ReLU after either, if nothing else uses the results
    between them.

    Args:
        network: traced network.
        node: the call of the convolution in its graph.
        module: the convolution itself.
        dtype: of the computation.
    """
    inputs, steps = [node.args[0]], [node]
    if (user := _only_user(node)) and (other := _other_summand(user, node)) is not None:
        inputs.append(other)
        steps.append(user)
    last = _only_user(steps[-1])
    relu = last is not None and _is_relu(network, last)
    if last is not None and relu:
        steps.append(last)
    name = "fused_" + node.name
    network.add_submodule(name, _Convolution(module, dtype, relu))
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
    """Return the node that `addition` adds to `summand`.

    Return None if `addition` is not a plain sum of two tensors, or adds `summand` to itself.
    """
    if addition.op != "call_function" or addition.target not in ADDITIONS or addition.kwargs:
        return None
    others = [arg for arg in addition.args if arg is not summand and isinstance(arg, fx.Node)]
    return others[0] if len(addition.args) == 2 and len(others) == 1 else None


def _is_relu(network: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_function":
        return node.target in RELUS
    return type(_module(network, node)) is nn.ReLU


class _Convolution(nn.Module):
    """Convolution, bias, addition of `other` if given, and ReLU if asked for, in `dtype`; the bias is fp32.

    The bias holds the folded batch norm. Rounding it to bf16 shifts a whole channel, an error three times as
    large as all others together.
    """

    def __init__(self, convolution: nn.Conv2d, dtype: torch.dtype, relu: bool) -> None:
        super().__init__()
        c = convolution
        self.geometry = c.padding, c.stride, c.dilation, c.groups
        self.dtype, self.relu = dtype, "relu" if relu else None
        weight = c.weight.detach().to(dtype)
        self.weight = torch.ops.mkldnn._reorder_convolution_weight(weight, *self.geometry)
        self.bias = None if c.bias is None else c.bias.detach()

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        x = x.to(self.dtype).contiguous(memory_format=torch.channels_last)
        arguments = x, self.weight, self.bias, *self.geometry
        convolve = torch.ops.mkldnn._convolution_pointwise
        if other is None:
            y: Tensor = convolve(*arguments, self.relu or "none", [], None)
        elif self.dtype == torch.float32:
            y = convolve.binary(x, other, *arguments[1:], "add", 1.0, self.relu, [], None)
        else:  # the fused addition needs a bias of the same dtype
            y = convolve(*arguments, "none", [], None).add_(other)
            y = y.relu_() if self.relu else y
        return y
