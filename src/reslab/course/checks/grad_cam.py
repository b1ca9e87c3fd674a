"""Exercise 6: Grad-CAM, normalised and as large as the photo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from reslab.course.feedback import NotSolvedError, call, expect, shown

SIZE = 64


@dataclass(frozen=True)
class Case:
    """One question to grad_cam; the layer asked about is the last of network[:cut]."""

    network: Any
    cut: int
    image: Any
    label: int


def check(answer: Any) -> str:
    """Raises NotSolvedError where the reader's grad_cam is not Grad-CAM (Selvaraju 2017, section 3)."""
    import torch

    torch.manual_seed(0)
    network, images = _network(), [torch.randn(1, 3, SIZE, SIZE), torch.randn(1, 3, 48, SIZE)]
    for image in images:
        for label, number in ((0, 4), (2, 3)):
            what = f"grad_cam(net, net.layer{number}, image {tuple(image.shape)}, {label})"
            got = call(what, answer.grad_cam, network, network[number + 3], image, label)
            _check_form(what, got, image)
            _check_values(what, got.float(), Case(network, number + 4, image, label))
    _check_left_alone(network)
    _check_dark(answer, images[0])
    return "size, range and values for two photos, two classes and two layers, no hook left behind, no 0/0"


def _network() -> Any:
    from reslab.networks.blocks import BasicBlock
    from reslab.networks.resnet import ResNet

    network = ResNet(BasicBlock, (1, 1, 1, 1), (8, 16, 32, 64), num_classes=3, stem_channels=8)
    return network.eval()


def _check_form(what: str, got: Any, image: Any) -> None:
    import torch

    height, width = image.shape[2:]
    expect(
        isinstance(got, torch.Tensor), f"{what} gives {shown(got)}", f"expected a tensor ({height}, {width})"
    )
    if tuple(got.shape) != (height, width):
        lines = [f"{what} gives {tuple(got.shape)}, expected ({height}, {width})"]
        small = (-(-height // 32), -(-width // 32))
        if tuple(got.shape[-2:]) == small:
            lines.append(
                f"layer4 has one value for 32 x 32 pixels, {height}/32 = {small[0]}: enlarge the map to the "
                "photo with torch.nn.functional.interpolate(map, size=image.shape[2:], mode='bilinear')"
            )
        elif got.numel() == height * width:
            lines.append("the size is right, the axes of batch and channel are still there: map[0, 0]")
        elif got.dim() == 3 or (got.dim() == 4 and got.shape[1] > 1):
            lines.append("sum over the channels: one map for the class, not one for each channel")
        raise NotSolvedError("\n".join(lines))
    expect(not got.requires_grad, "the map still carries gradients", "return map.detach()")


def _check_values(what: str, got: Any, case: Case) -> None:
    import torch

    wanted = _right(case)
    low, high = float(got.min()), float(got.max())
    if bool(torch.allclose(got, wanted, atol=1e-3)):
        return
    lines = [f"{what} goes from {low:.3f} to {high:.3f}"]
    if low < -1e-6:
        lines.append("negative values speak against the class: Grad-CAM keeps what speaks for it, ReLU(sum)")
    elif abs(high - 1) > 1e-3 and _alike(got, wanted):
        lines.append(f"expected 0 to 1: divide by its largest value, {high:.3g}")
    elif why := next((text for text, wrong in _mistakes(case) if _alike(got, wrong)), ""):
        lines.append(why)
    elif _alike(got, wanted):
        lines.append("nearly right: enlarge with mode='bilinear', then divide by the largest value of all")
    else:
        lines.append(
            "the values are not those of Grad-CAM: weight of a channel = mean of the class's gradient over "
            "its map; map = ReLU(sum over channels of weight · activation)"
        )
    raise NotSolvedError("\n".join(lines))


def _right(case: Case, **slip: bool) -> Any:
    """Grad-CAM, with a slip that people make or without one."""
    import torch
    from torch.nn.functional import interpolate

    features = case.network[: case.cut](case.image).detach().requires_grad_()
    logits = case.network[case.cut :](features)
    target = (logits.softmax(1) if slip.get("probability") else logits)[0, case.label]
    target = logits.sum() if slip.get("every_class") else target
    (gradient,) = torch.autograd.grad(target, features)
    weights = gradient.mean((2, 3), keepdim=True)
    if slip.get("no_gradient"):
        weights = torch.ones_like(weights)
    if slip.get("no_mean"):
        weights = gradient
    small = (weights * features).sum(1, keepdim=True).relu().detach()
    large = interpolate(small, size=case.image.shape[2:], mode="bilinear")[0, 0]
    return large / large.max().clamp_min(1e-8)


def _mistakes(case: Case) -> list[tuple[str, Any]]:
    return [
        (
            "this is the map of all classes together: backward from the logit of the class, logits[0, label]",
            _right(case, every_class=True),
        ),
        (
            "this is the plain mean of the activations: weigh each channel by the mean of its gradient",
            _right(case, no_gradient=True),
        ),
        (
            "each pixel has its own gradient here: Grad-CAM takes its mean over the map, one a channel",
            _right(case, no_mean=True),
        ),
        (
            "the gradient is that of the probability: take the logit, before the soft-max",
            _right(case, probability=True),
        ),
    ]


def _alike(got: Any, wanted: Any) -> bool:
    """Whether two maps are the same up to their scale."""
    import torch

    first, second = (m / m.max().clamp_min(1e-8) for m in (got, wanted))
    return bool(torch.allclose(first, second, atol=1e-3)) and bool(got.max() > 0)


def _check_dark(answer: Any, image: Any) -> None:
    import torch

    silent = _network()
    silent.fc.weight.data.zero_()  # no channel speaks for any class: every gradient is 0
    what = "grad_cam for a class that nothing speaks for"
    dark = call(what, answer.grad_cam, silent, silent.layer4, image, 0)
    _check_form(what, dark, image)
    expect(
        bool(torch.isfinite(dark).all()),
        "for a class that nothing speaks for the map holds NaN: 0/0",
        "divide by the largest value only if it is not 0, or by max(largest, 1e-8)",
    )
    low, high = float(dark.min()), float(dark.max())
    expect(
        max(-low, high) < 1e-6,
        f"for a class that nothing speaks for the map goes from {low:.3g} to {high:.3g}, expected all 0",
        "where the largest value is 0 there is nothing to divide: return the map as it is",
    )


def _check_left_alone(network: Any) -> None:
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
