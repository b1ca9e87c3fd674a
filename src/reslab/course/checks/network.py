"""Check exercise 3: ResNet-18 built from blocks, compared with reslab's layer by layer."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from reslab.course.feedback import NotSolvedError, call, expect, formula, shown
from reslab.networks.resnet import create_resnet

PARAMETERS = 11_689_512  # ResNet-18 at 1,000 classes, from torchvision's documentation
CONVOLUTIONS = {
    "3x3 or larger": "1 in the stem and 4 stages · 2 blocks · 2 = 17",
    "1x1": "1 in each of layer2, 3, 4",
}


class LayerCall(NamedTuple):
    """One call of a layer that has weights.

    Attributes:
        layer: nn.Conv2d, nn.BatchNorm2d or nn.Linear.
        input: shape of its input.
        output: shape of its output.
        projects: it is a 1x1 convolution, or the batch norm after one.
    """

    layer: Any
    input: tuple[int, ...]
    output: tuple[int, ...]
    projects: bool


def check(answer: Any) -> str:
    """Compare resnet18 of the learner's module with ResNet-18: layers, parameters, and logits.

    Return what was compared. Raise NotSolvedError at the first difference.
    """
    torch.manual_seed(0)
    network, right = build(answer.resnet18, "resnet18(1000)", 1000), create_resnet("resnet18")
    calls, output = _record(network)
    right_calls, _ = _record(right)
    for kind in CONVOLUTIONS:
        _compare(kind, _convolutions(calls, kind), _convolutions(right_calls, kind))
    check_output(output, (2, 1000), "resnet18(1000)")
    _check_count(network)
    small = build(answer.resnet18, "resnet18(2)", 2)
    why = "average over the whole map with nn.AdaptiveAvgPool2d(1), which fits every size"
    for size in (32, 160):
        what = f"resnet18(2) on (2, 3, {size}, {size})"
        check_output(call(what, small, torch.rand(2, 3, size, size), hint=lambda _: why), (2, 2), what)
    for layer in (nn.Conv2d, nn.BatchNorm2d, nn.Linear):
        _copy_weights(layer.__name__, _layers(calls, layer), _layers(right_calls, layer))
    _check_logits(network, right)
    return f"20 convolutions shape by shape, {PARAMETERS:,} parameters, logits equal to ResNet-18's"


def build(make: Any, text: str, *values: int) -> nn.Module:
    """Call the learner's class or function and return its module.

    Args:
        make: the class or function.
        text: the call as the learner would write it, for the feedback.
        values: positional arguments.

    Raises:
        NotSolvedError: it fails, or does not return an nn.Module.
    """
    network = call(text, make, *values)
    expect(
        isinstance(network, nn.Module),
        f"{text} gives {shown(network)}",
        "expected a module: an nn.Module, or a function that returns one",
    )
    return network


def check_tensor(output: Any, what: str) -> None:
    """Raise NotSolvedError unless `output`, the result of the call `what`, is a tensor."""
    expect(
        isinstance(output, Tensor), f"{what} gives {shown(output)}", "expected a tensor: is a return missing?"
    )


def check_output(output: Any, right: tuple[int, ...], what: str) -> None:
    """Raise NotSolvedError unless `output`, the result of the call `what`, is a tensor of shape `right`."""
    check_tensor(output, what)
    expect(
        output.shape == right,
        f"{what} returns {tuple(output.shape)}, expected logits {right}",
        "flatten the output of the average, nn.Flatten(), before the linear layer"
        if output.dim() > 2
        else "",
    )


def _record(network: nn.Module) -> tuple[list[LayerCall], Any]:
    """Run two images of 224 x 224 through `network` in eval mode, where it stays.

    Returns:
        The calls of convolutions, batch norms and linear layers in order, and the network's output.

    Raises:
        NotSolvedError: the network fails.
    """
    calls: list[LayerCall] = []

    def record(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(layer, nn.Conv2d | nn.BatchNorm2d | nn.Linear):
            projects = (
                layer.kernel_size == (1, 1)
                if isinstance(layer, nn.Conv2d)
                else bool(calls) and calls[-1].projects
            )
            calls.append(LayerCall(layer, tuple(inputs[0].shape), tuple(output.shape), projects))

    hooks = [module.register_forward_hook(record) for module in network.modules()]
    try:
        with torch.no_grad():
            images = torch.rand(2, 3, 224, 224)
            what = "resnet18(1000) on (2, 3, 224, 224)"
            output = call(what, network.eval(), images, hint=lambda _: _last_convolution(calls))
    finally:
        for hook in hooks:
            hook.remove()
    return calls, output


def _convolutions(calls: list[LayerCall], kind: str) -> list[LayerCall]:
    return [c for c in calls if isinstance(c.layer, nn.Conv2d) and c.projects == (kind == "1x1")]


def _layers(calls: list[LayerCall], kind: type[nn.Module]) -> list[Any]:
    """Return the layers of class `kind` in order of use, those of 1x1 convolutions last."""
    return [c.layer for c in sorted(calls, key=lambda c: c.projects) if isinstance(c.layer, kind)]


def _last_convolution(calls: list[LayerCall]) -> str:
    found = _convolutions(calls, "3x3 or larger")
    if not found:
        return "it fails before its first convolution larger than 1x1"
    shapes = f"{found[-1].input} -> {found[-1].output}"
    return f"the last convolution larger than 1x1 that worked was number {len(found)}: {shapes}"


def _compare(kind: str, calls: list[LayerCall], right_calls: list[LayerCall]) -> None:
    for number, (mine, right) in enumerate(zip(calls, right_calls, strict=False), 1):
        settings, right_settings = _settings(mine.layer), _settings(right.layer)
        layer = right.layer
        expect(
            (settings, mine.input[1:], mine.output[1:])
            == (right_settings, right.input[1:], right.output[1:]),
            f"convolution {number} of those that are {kind} is {settings}: {mine.input} -> {mine.output}",
            f"expected {right_settings}: {right.input} -> {right.output}",
            formula(right.input[-1], layer.kernel_size[0], layer.stride[0], layer.padding[0]),
            _place(kind, number),
        )
    expect(
        len(calls) == len(right_calls),
        f"there are {len(calls)} convolutions that are {kind}, "
        f"expected {len(right_calls)}: {CONVOLUTIONS[kind]}",
    )


def _settings(layer: nn.Conv2d) -> str:
    padding = layer.padding if isinstance(layer.padding, str) else layer.padding[0]
    return (
        f"{layer.in_channels} -> {layer.out_channels} channels, kernel {layer.kernel_size[0]}, "
        f"stride {layer.stride[0]}, padding {padding}"
    )


def _place(kind: str, number: int) -> str:
    """Describe the position of a convolution in ResNet-18 in a sentence.

    Args:
        kind: key of CONVOLUTIONS.
        number: position among those of its kind, from 1.
    """
    if kind == "1x1":
        return f"this is the projection of the first block of layer{number + 1}"
    if number == 1:
        return "this is the stem"
    stage, within = divmod(number - 2, 4)
    rule = (
        "; the first block of layer2, 3 and 4 has stride 2, that of layer1 has stride 1"
        if within == 0
        else ""
    )
    return f"this is convolution {within % 2 + 1} of block {within // 2 + 1} of layer{stage + 1}{rule}"


def _check_count(network: nn.Module) -> None:
    count = sum(parameter.numel() for parameter in network.parameters())
    reasons = {
        4_800: "4,800 too many is a bias for each of 4,800 output channels: bias=False before batch norm.",
        -128: "128 too few is 64 + 64: the batch norm of the stem is missing.",
        -1000: "1,000 too few are the biases of the last linear layer.",
        -1_792: "1,792 too few is 2·(128 + 256 + 512): the projections have no batch norm.",
        -896: "896 too few is 128 + 256 + 512: the projections have a bias in place of a batch norm.",
        -9_600: "9,600 too few: no batch norm at all.",
    }
    difference = count - PARAMETERS
    expect(
        difference == 0,
        f"resnet18(1000) has {count:,} parameters, expected {PARAMETERS:,}: {difference:+,}",
        reasons.get(difference, "count stem, stages and head one by one: 9,536 + 11,166,976 + 513,000"),
    )


def _copy_weights(kind: str, layers: list[Any], right_layers: list[Any]) -> None:
    """Copy the weights of ResNet-18's layers into the learner's layers of the same kind, in place.

    Args:
        kind: name of their class, for messages.
        layers: of the learner, in order of use.
        right_layers: of ResNet-18, in order of use.

    Raises:
        NotSolvedError: two layers in the same place differ in more than a bias, or their numbers differ.
    """
    for number, (mine, right) in enumerate(zip(layers, right_layers, strict=False), 1):
        expect(
            repr(mine).replace("bias=True", "") == repr(right).replace("bias=True", ""),
            f"{kind} number {number} is {mine}",
            f"expected {right}",
        )
        mine.load_state_dict(right.state_dict(), strict=False)
    expect(
        len(layers) == len(right_layers),
        f"a pass goes through {len(layers)} layers {kind}, expected {len(right_layers)}",
        "every convolution is followed by a batch norm of its own, projections included",
    )


def _check_logits(network: nn.Module, right: nn.Module) -> None:
    """Raise NotSolvedError unless two networks with equal weights give equal logits, in eval mode."""
    with torch.no_grad():
        x = torch.rand(2, 3, 64, 64)
        wanted, got = right.eval()(x), network.eval()(x)
    if torch.allclose(got, wanted, rtol=1e-3, atol=1e-3 * float(wanted.abs().max())):
        return
    why = "check what has no weights: ReLU after the stem's batch norm and after every sum, the max pool"
    for name, function in (("soft-max", torch.softmax), ("log-soft-max", torch.log_softmax)):
        if torch.allclose(got, function(wanted, 1), rtol=1e-3, atol=1e-4):
            why = f"they are its {name}: a network ends in logits, the loss does the rest"
    raise NotSolvedError(
        "every layer has the right shape, yet with equal weights the logits are not ResNet-18's", why
    )
