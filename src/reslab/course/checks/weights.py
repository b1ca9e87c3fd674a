"""Check exercise 4: torchvision's weights copied into the learner's own network."""

from __future__ import annotations

from typing import Any

import torch
import torchvision
from torch import nn

from reslab.course.feedback import call, expect

from .network import PARAMETERS, build, check_output


def check(answer: Any) -> str:
    """Check that carry() of the learner's module copies torchvision's weights into its Network.

    Tensors and logits must be equal, the source unchanged, and no tensor shared. Return what was checked.
    Raise NotSolvedError at the first failure.
    """
    source, target = _trained_source(), build(answer.Network, "Network()")
    count = sum(parameter.numel() for parameter in target.parameters())
    expect(count == PARAMETERS, f"Network() has {count:,} parameters, expected ResNet-18's {PARAMETERS:,}")
    before = {name: tensor.clone() for name, tensor in source.state_dict().items()}
    call("carry(source, target)", answer.carry, source, target, hint=_name_hint)
    changed = [name for name, tensor in source.state_dict().items() if not torch.equal(before[name], tensor)]
    expect(not changed, f"carry() changes the source: {''.join(changed[:1])}", "copy from source to target")
    _check_copied(source, target)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        wanted = source.eval()(x)
        got = call("the network with the copied weights", target.eval(), x)
        check_output(got, (2, 1000), "Network()")
        difference, largest = float((wanted - got).abs().max()), float(wanted.abs().max())
        expect(
            difference < 1e-3 * largest,
            f"the logits differ by up to {difference:.3g}; the largest is {largest:.3g}",
            "every tensor is somewhere in the target, so two of the same shape are swapped:",
            "in a block conv1 and bn1 come first, conv2 and bn2 second; compare your map name by name",
        )
        next(source.parameters()).add_(1)
        expect(
            torch.equal(got, target(x)),
            "source and target share their tensors: a change of the source changes the target",
            "copy the values, target_tensor.copy_(source_tensor) or load_state_dict, not the tensor itself",
        )
    return f"all {len(before)} tensors copied, logits equal to torchvision's, nothing shared"


def _trained_source() -> nn.Module:
    """Return torchvision's ResNet-18 with random weights, and batch norms changed as if it were trained."""
    torch.manual_seed(1)
    network = torchvision.models.resnet18(weights=None)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point() and tensor.dim() == 1:
                tensor.add_(torch.rand_like(tensor) * 0.2)
            elif "num_batches" in name:
                tensor.fill_(7)
    return network


def _check_copied(source: nn.Module, target: nn.Module) -> None:
    tensors = {name: t for name, t in source.state_dict().items() if t.is_floating_point()}
    found = [t for t in target.state_dict().values() if t.is_floating_point()]
    missing = [name for name, tensor in tensors.items() if not any(torch.equal(t, tensor) for t in found)]
    why = ""
    if all("running_" in name for name in missing):
        why = (
            "these are the buffers of batch norm: parameters() leaves them out, state_dict() has them, and "
            "in eval mode batch norm divides by them"
        )
    elif len(missing) == len(tensors):
        why = "nothing arrived: load_state_dict(..., strict=False) skips every name that it does not know"
    expect(
        not missing,
        f"{len(missing)} of {len(tensors)} tensors of the source are nowhere in the target: "
        f"{', '.join(missing[:4])}{', ...' if len(missing) > 4 else ''}",
        why,
    )


def _name_hint(message: str) -> str:
    if "size of tensor" in message or "size mismatch" in message or "broadcast shape" in message:
        return (
            "two tensors have different shapes: the two networks list their tensors in different orders, so "
            "match them by name and not by position"
        )
    if "Missing key" in message or "Unexpected key" in message:
        return "the names differ: translate each of torchvision's names to its name in the target first"
    return ""
