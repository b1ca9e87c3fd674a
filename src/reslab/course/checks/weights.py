"""Exercise 4: torchvision's weights carried into the reader's own network."""

from __future__ import annotations

from typing import Any

from reslab.course.feedback import NotSolvedError, call, expect

from .network import PARAMETERS, build, check_output


def check_carry(answer: Any) -> str:
    """Raises NotSolvedError unless carry() makes the reader's Network compute what torchvision's does."""
    import torch

    source, target = _trained_like(), build(answer.Network, "Network()")
    count = sum(parameter.numel() for parameter in target.parameters())
    expect(count == PARAMETERS, f"Network() has {count:,} parameters, expected ResNet-18's {PARAMETERS:,}")
    before = {name: tensor.clone() for name, tensor in source.state_dict().items()}
    call("carry(source, target)", answer.carry, source, target, hint=_order_hint)
    after = source.state_dict()
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    expect(
        not changed,
        f"carry() changes the source: {changed[0] if changed else ''}",
        "copy from source to target",
    )
    _check_arrived(source, target)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        wanted = source.eval()(x)
        got = call("the network with the carried weights", target.eval(), x)
        check_output(got, (2, 1000), "Network()")
        off = float((wanted - got).abs().max())
        expect(
            off < 1e-3 * float(wanted.abs().max()),
            f"the logits differ by up to {off:.3g}, at most {float(wanted.abs().max()):.3g} themselves",
            "every tensor is somewhere in the target, so two of the same shape have changed places:",
            "in a block conv1 and bn1 come first, conv2 and bn2 second; compare your map name by name",
        )
        next(source.parameters()).add_(1)
        expect(
            torch.equal(got, target(x)),
            "source and target share their tensors: a change of the source changes the target",
            "copy the values, target_tensor.copy_(source_tensor) or load_state_dict, not the tensor itself",
        )
    return f"all {len(before)} tensors arrived, logits equal to torchvision's, nothing shared"


def _trained_like() -> Any:
    """torchvision's ResNet-18 with no two tensors alike and none at its start, as after a training."""
    import torch
    import torchvision

    torch.manual_seed(1)
    network = torchvision.models.resnet18(weights=None)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point() and tensor.dim() == 1:
                tensor.add_(torch.rand_like(tensor) * 0.2)
            elif "num_batches" in name:
                tensor.fill_(7)
    return network


def _check_arrived(source: Any, target: Any) -> None:
    import torch

    there = [t for t in target.state_dict().values() if t.is_floating_point()]
    missing = [
        name
        for name, tensor in source.state_dict().items()
        if tensor.is_floating_point()
        and not any(t.shape == tensor.shape and torch.equal(t, tensor) for t in there)
    ]
    if not missing:
        return
    total = sum(t.is_floating_point() for t in source.state_dict().values())
    lines = [
        f"{len(missing)} of {total} tensors of the source are nowhere in the target: "
        f"{', '.join(missing[:4])}{', ...' if len(missing) > 4 else ''}"
    ]
    if all("running_" in name for name in missing):
        lines.append(
            "these are the buffers of batch norm: parameters() leaves them out, state_dict() has them, and "
            "in eval mode batch norm divides by them"
        )
    elif len(missing) == total:
        lines.append(
            "nothing arrived: load_state_dict(..., strict=False) skips every name that it does not know"
        )
    raise NotSolvedError("\n".join(lines))


def _order_hint(message: str) -> str:
    if "size of tensor" in message or "size mismatch" in message or "broadcast shape" in message:
        return (
            "two tensors of different shapes met: the two networks list their tensors in another order, "
            "so go by their names and not by their places"
        )
    if "Missing key" in message or "Unexpected key" in message:
        return "the names differ: give each of torchvision's names its name in the target first"
    return ""
