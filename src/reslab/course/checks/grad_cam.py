"""Check exercise 6: Grad-CAM, scaled to 0..1 and enlarged to the size of the image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from reslab.course.feedback import NotSolvedError, call, expect, shown
from reslab.networks.blocks import BasicBlock
from reslab.networks.resnet import ResNet

SIZE = 64


def check(answer: Any) -> str:
    """Compare grad_cam of the learner's module with Grad-CAM (Selvaraju et al. 2017, section 3).

    Return what was checked. Raise NotSolvedError at the first difference.
    """
    torch.manual_seed(0)
    network, images = _network(), [torch.randn(1, 3, SIZE, SIZE), torch.randn(1, 3, 48, SIZE)]
    for image in images:
        for label, stage in ((0, 4), (2, 3)):
            what = f"grad_cam(net, net.layer{stage}, image {tuple(image.shape)}, {label})"
            got = call(what, answer.grad_cam, network, network[stage + 3], image, label)
            _check_form(what, got, image)
            _check_values(what, got.float(), network, stage, image, label)
    _check_hooks_removed(network)
    _check_zero_map(answer, images[0])
    return "size, range and values for two photos, two classes and two layers, no hook left, no 0/0"


def _network() -> ResNet:
    network = ResNet(BasicBlock, (1, 1, 1, 1), (8, 16, 32, 64), num_classes=3, stem_channels=8)
    return network.eval()


def _check_form(what: str, got: Any, image: Tensor) -> None:
    height, width = image.shape[2:]
    expect(isinstance(got, Tensor), f"{what} gives {shown(got)}", f"expected a tensor ({height}, {width})")
    if got.shape != (height, width):
        small = (-(-height // 32), -(-width // 32))
        why = ""
        if got.shape[-2:] == small:
            why = (
                f"layer4 has one value for 32 x 32 pixels, {height}/32 = {small[0]}: enlarge the map to the "
                "photo with torch.nn.functional.interpolate(map, size=image.shape[2:], mode='bilinear')"
            )
        elif got.numel() == height * width:
            why = "the size is right, but the axes of batch and channel are still there: map[0, 0]"
        elif got.dim() == 3 or (got.dim() == 4 and got.shape[1] > 1):
            why = "sum over the channels: one map for the class, not one for each channel"
        raise NotSolvedError(f"{what} gives {tuple(got.shape)}, expected ({height}, {width})", why)
    expect(not got.requires_grad, "the map still carries gradients", "return map.detach()")


def _check_values(what: str, got: Tensor, network: ResNet, stage: int, image: Tensor, label: int) -> None:
    features = network[: stage + 4](image).detach().requires_grad_()  # (1, C, h, w)
    logits = network[stage + 4 :](features)[0]  # (num_classes,)

    def grad_cam(score: Tensor, weights: Callable[[Tensor], Tensor] = _channel_mean) -> Tensor:
        (gradient,) = torch.autograd.grad(score, features, retain_graph=True)
        small = (weights(gradient) * features).sum(1, keepdim=True).relu().detach()
        large = interpolate(small, size=image.shape[2:], mode="bilinear")[0, 0]
        return large / large.max().clamp_min(1e-8)

    right = grad_cam(logits[label])
    if torch.allclose(got, right, atol=1e-3):
        return
    mistakes = [
        (
            "this is the map of all classes together: backward from the logit of the class, logits[0, label]",
            grad_cam(logits.sum()),
        ),
        (
            "this is the plain mean of the activations: weight each channel by the mean of its gradient",
            grad_cam(logits[label], torch.ones_like),
        ),
        (
            "each pixel has its own weight here: Grad-CAM averages the gradient over the map, one weight for "
            "each channel",
            grad_cam(logits[label], torch.clone),
        ),
        (
            "the gradient is that of the probability: take the logit, before the soft-max",
            grad_cam(logits.softmax(0)[label]),
        ),
    ]
    low, high = float(got.min()), float(got.max())
    if low < -1e-6:
        why = "negative values speak against the class: Grad-CAM keeps what speaks for it, ReLU(sum)"
    elif _proportional(got, right):
        why = (
            f"expected 0 to 1: divide by its largest value, {high:.3g}"
            if abs(high - 1) > 1e-3
            else "nearly right: enlarge with mode='bilinear', then divide by the largest value of all"
        )
    else:
        why = next((text for text, wrong in mistakes if _proportional(got, wrong)), "") or (
            "the values are not those of Grad-CAM: weight of a channel = mean of the class's gradient over "
            "its map; map = ReLU(sum over channels of weight · activation)"
        )
    raise NotSolvedError(f"{what} goes from {low:.3f} to {high:.3f}", why)


def _channel_mean(gradient: Tensor) -> Tensor:
    return gradient.mean((2, 3), keepdim=True)  # (1, C, 1, 1)


def _proportional(got: Tensor, wanted: Tensor) -> bool:
    """Return True if two maps are equal after division by their maxima, and `got` is positive somewhere."""
    first, second = (m / m.max().clamp_min(1e-8) for m in (got, wanted))
    return torch.allclose(first, second, atol=1e-3) and bool(got.max() > 0)


def _check_hooks_removed(network: ResNet) -> None:
    hooked = [
        name
        for name, module in network.named_modules()
        if module._forward_hooks or module._backward_hooks or module._forward_pre_hooks
    ]
    expect(
        not hooked,
        f"after grad_cam a hook is still on {', '.join(hooked)}",
        "it would run in every later pass: keep the handle that register_forward_hook returns and call "
        "handle.remove()",
    )


def _check_zero_map(answer: Any, image: Tensor) -> None:
    network = _network()
    network.fc.weight.data.zero_()  # every gradient is 0: no channel speaks for any class
    what = "grad_cam for a class that nothing speaks for"
    got = call(what, answer.grad_cam, network, network.layer4, image, 0)
    _check_form(what, got, image)
    expect(
        bool(torch.isfinite(got).all()),
        "for a class that nothing speaks for the map holds NaN: 0/0",
        "divide by the largest value only if it is not 0, or by max(largest, 1e-8)",
    )
    low, high = float(got.min()), float(got.max())
    expect(
        max(-low, high) < 1e-6,
        f"for a class that nothing speaks for the map goes from {low:.3g} to {high:.3g}, expected all 0",
        "where the largest value is 0 there is nothing to divide: return the map as it is",
    )
