"""Exercise 3: ResNet-18 stacked from blocks, compared with reslab's layer by layer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from reslab.course.feedback import NotSolvedError, call, expect, formula, shown

PARAMETERS = 11_689_512  # of ResNet-18 at 1,000 classes: torchvision's documentation


@dataclass
class Walk:
    """What a network does on its way, in the order in which it does it."""

    main: list[tuple[Any, tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)  # layer, in, out
    projections: list[tuple[Any, tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    output: Any = None


def check_stack(answer: Any) -> str:
    """Raises NotSolvedError at the first convolution where the reader's network is not ResNet-18."""
    import torch

    torch.manual_seed(0)
    network = build(answer.resnet18, "resnet18(1000)", 1000)
    walk, ours = follow(network, "resnet18(1000)", 224), follow(reference(), "reslab's", 224)
    _compare("3x3 or larger", walk.main, ours.main)
    _compare("1x1", walk.projections, ours.projections)
    check_output(walk.output, (2, 1000), "resnet18(1000)")
    _check_count(network)
    small = build(answer.resnet18, "resnet18(2)", 2)
    for size in (32, 160):
        what = f"resnet18(2) on (2, 3, {size}, {size})"
        output = call(what, small, torch.rand(2, 3, size, size), hint=_size_hint)
        check_output(output, (2, 2), what)
    _check_function(network)
    return f"20 convolutions shape by shape, {PARAMETERS:,} parameters, logits equal to ResNet-18's"


def build(make: Any, text: str, *values: int) -> Any:
    """The reader's network. Raises NotSolvedError if there comes none out."""
    from torch import nn

    network = call(text, make, *values)
    expect(isinstance(network, nn.Module), f"{text} gives {shown(network)}", "expected a module")
    return network


def reference() -> Any:
    """reslab's own ResNet-18."""
    from reslab.networks.resnet import create_resnet

    return create_resnet("resnet18")


def follow(network: Any, text: str, size: int) -> Walk:
    """One pass of two pictures, with the convolutions written down."""
    import torch
    from torch import nn

    walk = Walk()

    def write_down(layer: Any, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(layer, nn.Conv2d):
            row = (layer, tuple(inputs[0].shape), tuple(output.shape))
            (walk.projections if layer.kernel_size == (1, 1) else walk.main).append(row)

    hooks = [module.register_forward_hook(write_down) for module in network.modules()]
    try:
        what = f"{text} on (2, 3, {size}, {size})"
        with torch.no_grad():
            walk.output = call(what, network.eval(), torch.rand(2, 3, size, size), hint=lambda _: _last(walk))
    finally:
        for hook in hooks:
            hook.remove()
    return walk


def _size_hint(message: str) -> str:
    return "average over all that is left with nn.AdaptiveAvgPool2d(1), which fits every size"


def _last(walk: Walk) -> str:
    rows = [*walk.main, *walk.projections]
    if not rows:
        return "it fails before its first convolution"
    layer, took, gave = walk.main[-1] if walk.main else rows[-1]
    return f"the last convolution larger than 1x1 that worked was number {len(walk.main)}: {took} -> {gave}"


def _compare(kind: str, theirs: list[Any], ours: list[Any]) -> None:
    for number, ((mine, took, gave), (right, took_right, gave_right)) in enumerate(
        zip(theirs, ours, strict=False), 1
    ):
        if (_settings(mine), took[1:], gave[1:]) == (_settings(right), took_right[1:], gave_right[1:]):
            continue
        lines = [
            f"convolution {number} of those that are {kind} is {_settings(mine)}: {took} -> {gave}",
            f"expected {_settings(right)}: {took_right} -> {gave_right}",
            formula(took_right[-1], right.kernel_size[0], right.stride[0], right.padding[0]),
        ]
        lines.append(_place(kind, number))
        raise NotSolvedError("\n".join(lines))
    counts = {
        "3x3 or larger": "1 in the stem and 4 stages · 2 blocks · 2 = 17",
        "1x1": "1 in each of layer2, 3, 4",
    }
    expect(
        len(theirs) == len(ours),
        f"there are {len(theirs)} convolutions that are {kind}, expected {len(ours)}: {counts[kind]}",
    )


def _place(kind: str, number: int) -> str:
    """Where in ResNet-18 a convolution stands."""
    if kind == "1x1":
        return f"this is the projection of the first block of layer{number + 1}"
    if number == 1:
        return "this is the stem"
    stage, within = divmod(number - 2, 4)
    rule = "; the first block of layer2, 3 and 4 has stride 2, layer1 has none" if within == 0 else ""
    return f"this is convolution {within % 2 + 1} of block {within // 2 + 1} of layer{stage + 1}{rule}"


def _settings(layer: Any) -> str:
    (k, _), (s, _), (p, _) = layer.kernel_size, layer.stride, _pair(layer.padding)
    return f"{layer.in_channels} -> {layer.out_channels} channels, kernel {k}, stride {s}, padding {p}"


def _pair(padding: Any) -> Any:
    return (padding, padding) if isinstance(padding, str) else padding


def check_output(output: Any, right: tuple[int, ...], what: str) -> None:
    import torch

    expect(isinstance(output, torch.Tensor), f"{what} returns {shown(output)}", f"expected logits {right}")
    expect(
        tuple(output.shape) == right,
        f"{what} returns {tuple(output.shape)}, expected logits {right}",
        "flatten what the average leaves, nn.Flatten(), before the linear layer" if output.dim() > 2 else "",
    )


def _check_count(network: Any) -> None:
    count = sum(parameter.numel() for parameter in network.parameters())
    difference = count - PARAMETERS
    reasons = {
        4_800: "4,800 too many is a bias for each of 4,800 output channels: bias=False before batch norm.",
        -128: "128 too few is 64 + 64: the batch norm of the stem is missing.",
        -1000: "1,000 too few are the biases of the last linear layer.",
        -1_792: "1,792 too few is 2·(128 + 256 + 512): the projections have no batch norm.",
        -896: "896 too few is 128 + 256 + 512: the projections have a bias in place of a batch norm.",
        -9_600: "9,600 too few: no batch norm at all.",
    }
    near = next((text for off, text in reasons.items() if off == difference), "")
    expect(
        difference == 0,
        f"resnet18(1000) has {count:,} parameters, expected {PARAMETERS:,}: {difference:+,}",
        near or "count stem, stages and head one by one: 9,536 + 11,166,976 + 513,000",
    )


def _check_function(network: Any) -> None:
    """With reslab's weights put in, layer for layer, the logits must be reslab's."""
    import torch
    from torch import nn

    right = reference().eval()
    kinds = (nn.Conv2d, nn.BatchNorm2d, nn.Linear)
    theirs, ours = ({kind: _in_order(n, kind) for kind in kinds} for n in (network, right))
    for kind in theirs:
        for number, (mine, other) in enumerate(zip(theirs[kind], ours[kind], strict=False), 1):
            expect(
                repr(mine).replace("bias=True", "") == repr(other).replace("bias=True", ""),
                f"{kind.__name__} number {number} is {mine}",
                f"expected {other}",
            )
            mine.load_state_dict(other.state_dict(), strict=False)
        expect(
            len(theirs[kind]) == len(ours[kind]),
            f"a pass goes through {len(theirs[kind])} layers {kind.__name__}, expected {len(ours[kind])}",
            "every convolution is followed by a batch norm of its own, projections included",
        )
    with torch.no_grad():
        x = torch.rand(2, 3, 64, 64)
        wanted, got = right(x), network.eval()(x)
    if torch.allclose(got, wanted, rtol=1e-3, atol=1e-3 * float(wanted.abs().max())):
        return
    lines = ["every layer has the right shape, yet with equal weights the logits are not ResNet-18's"]
    for name, function in (("soft-max", torch.softmax), ("log-soft-max", torch.log_softmax)):
        if torch.allclose(got, function(wanted, 1), rtol=1e-3, atol=1e-4):
            lines.append(f"they are its {name}: a network ends in logits, the loss does the rest")
    if len(lines) == 1:
        lines.append(
            "look at what has no weights: ReLU after the stem's batch norm and after every sum, the max pool"
        )
    raise NotSolvedError("\n".join(lines))


def _in_order(network: Any, kind: type) -> list[Any]:
    """Layers of a kind in the order in which a pass uses them; those of projections last."""
    import torch
    from torch import nn

    found: list[Any] = []
    projecting = [False]

    def write_down(layer: Any, inputs: Any, output: Any) -> None:
        if isinstance(layer, nn.Conv2d):
            projecting[0] = layer.kernel_size == (1, 1)
        if isinstance(layer, kind):
            found.append((projecting[0], layer))

    hooks = [module.register_forward_hook(write_down) for module in network.modules()]
    try:
        with torch.no_grad():
            network.eval()(torch.rand(2, 3, 64, 64))
    finally:
        for hook in hooks:
            hook.remove()
    return [layer for projects, layer in sorted(found, key=lambda pair: pair[0])]
