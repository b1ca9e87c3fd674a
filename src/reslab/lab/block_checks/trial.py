"""Trial of a block at one place of a network: build it, run it, and name the layer where it fails."""

from __future__ import annotations

import textwrap
import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from reslab.networks.blocks import Block
from reslab.networks.resnet import FAMILY
from reslab.randomness import torch_seeded

BATCH = 8  # images
SMALL_SIDE = 8  # pixels of the images on which behavior is tested; the last stage has 7 or 8
TRAINED_SHIFT = 0.1  # standard deviation of what a training adds to a parameter
SAME = 1e-4  # relative difference of two equal computations: kernels differ by the size of a batch
MAX_REASON_CHARACTERS = 160  # of an error of torch, which may fill a paragraph


@dataclass(frozen=True)
class Problem:
    """Cause for which a block cannot be compared.

    Attributes:
        cause: what is wrong, as a short sentence without a period.
        where: block and layer, as in "MyBlock(64, 128, 2), layer se.fc1 (Linear)".
        shapes: the tensors' shapes (N, C, H, W) that show it; "" where no shape matters.
        do: what to change.
    """

    cause: str
    where: str
    shapes: str
    do: str


class BlockFailedError(Exception):
    """A check found a problem, which is `problem`."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem = problem


@dataclass(frozen=True)
class Pass:
    """Result of one forward pass.

    Attributes:
        output: (N, out_channels, H/stride, W/stride), if the block is right.
        layers: first output of each layer that gives a tensor, in their order, by "layer se.fc1 (Linear)".
        is_random: torch's random numbers were used.
    """

    output: Tensor
    layers: dict[str, Tensor]
    is_random: bool


@dataclass(frozen=True)
class Trial:
    """Block at one place of a network.

    Attributes:
        block: any callable (in_channels, out_channels, stride) -> module.
        name: of the block, for messages.
        in_channels: first argument.
        out_channels: second argument.
        stride: third argument.
        side: of the block's input, in pixels.
    """

    block: Block
    name: str
    in_channels: int
    out_channels: int
    stride: int
    side: int

    @property
    def call(self) -> str:
        """Call that builds the block, such as "MyBlock(64, 128, 2)"."""
        return f"{self.name}({self.in_channels}, {self.out_channels}, {self.stride})"

    def failed(self, cause: str, do: str, at: str = "", shapes: str = "") -> BlockFailedError:
        """Return the error for a problem at a layer, parameter or line `at`. See `Problem`."""
        return BlockFailedError(Problem(cause, f"{self.call}, {at}" if at else self.call, shapes, do))

    def differs(self, cause: str, do: str, first: Pass, second: Pass) -> BlockFailedError:
        """Return the error for two passes that should agree, at the first layer that differs."""
        names = [n for n in first.layers if n in second.layers]
        at = next((n for n in names if difference(first.layers[n], second.layers[n]) > SAME), "")
        how_much = difference(first.output, second.output)
        return self.failed(cause, do, at, f"the outputs {tuple(first.output.shape)} differ by {how_much:.1%}")

    def build(self, seed: int = 0) -> nn.Module:
        """Build the block with weights drawn from `seed`.

        Raises:
            BlockFailedError: its constructor fails, or it returns no module.
        """
        try:
            with torch_seeded(seed, "check_block"):
                module = self.block(self.in_channels, self.out_channels, self.stride)
        except Exception as error:  # the user's code may raise anything
            raise self.failed(
                f"the constructor fails: {reason(error)}",
                f"{self.call} shows the whole error",
                line_of(error),
            ) from error
        if not isinstance(module, nn.Module):
            raise self.failed(
                f"it returns {type(module).__name__} instead of a module",
                "let it return an nn.Module that is ready to be called",
            )
        return module

    def build_trained(self, seed: int = 0) -> nn.Module:
        """Build the block as after some training. A gate that starts at zero would hide what is before it."""
        module = self.build(seed)
        with torch_seeded(0, "check_block training"), torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(TRAINED_SHIFT * torch.randn(parameter.shape))
        return module

    def images(self, count: int = BATCH, seed: int = 0) -> Tensor:
        """Return random images (count, in_channels, side, side); the last of several is all zeros.

        A ReLU can leave zeros. The channels of each image differ in mean, as features do.
        """
        with torch_seeded(seed, "check_block images"):
            means = torch.randn(count, self.in_channels, 1, 1)
            images = means + torch.randn(count, self.in_channels, self.side, self.side)
        if count > 1:
            images[-1] = 0
        return images

    def run(
        self, module: nn.Module, x: Tensor, *, seed: int = 0, during: str = "", gradients: bool = False
    ) -> Pass:
        """Run the module, in its present mode.

        Args:
            module: from `build`.
            x: images (N, in_channels, H, W).
            seed: of torch's random numbers in the pass.
            during: condition for the text of an error, such as " in bf16".
            gradients: compute what a backward pass needs.

        Raises:
            BlockFailedError: the forward fails.
        """
        running: list[str] = []
        layers: dict[str, Tensor] = {}
        handles = []
        for name, layer in list(module.named_modules())[1:]:
            handles += _record(layer, f"layer {name} ({type(layer).__name__})", running, layers)
        with torch_seeded(seed, "check_block"), torch.set_grad_enabled(gradients):
            before = torch.get_rng_state()
            try:
                output = module(x)
            except Exception as error:  # the user's code may raise anything
                raise self.failed(
                    f"the forward fails{during}: {reason(error)}",
                    f"{self.call}(torch.rand{tuple(x.shape)}) shows the whole error",
                    ", ".join(filter(None, [*running[-1:], line_of(error)])),
                    f"{tuple(x.shape)} comes to the block",
                ) from error
            finally:
                for handle in handles:
                    handle.remove()
            return Pass(output, layers, is_random=not torch.equal(before, torch.get_rng_state()))

    def backward(self, module: nn.Module, x: Tensor, *, seed: int = 0, during: str = "") -> Pass:
        """Run the module in train mode, and compute the gradients of the images and of all parameters.

        Raises:
            BlockFailedError: the forward or the backward pass fails, or a gradient is not finite.
        """
        module.train().zero_grad()
        x.requires_grad_()
        run = self.run(module, x * 1, seed=seed, during=during, gradients=True)  # in a network x is no leaf
        shapes = f"{tuple(x.shape)} -> {tuple(run.output.shape)}"
        with torch_seeded(seed, "check_block loss"):
            weights = torch.randn(run.output.shape)
        try:
            if run.output.requires_grad:
                (run.output.float() * weights).mean().backward()
        except RuntimeError as error:
            raise self.failed(
                f"the backward pass fails{during}: {reason(error)}",
                "change no tensor in place that a gradient needs: x = x + y, not x += y",
                shapes=shapes,
            ) from error
        for name, tensor in [("the input", x), *module.named_parameters()]:
            if tensor.grad is not None and not tensor.grad.isfinite().all():
                raise self.failed(
                    f"the gradient of {name} is not finite{during}",
                    "add 1e-5 to what is divided by, and to the arguments of sqrt, norm, std and log: "
                    "an image may be all zeros",
                    shapes=shapes,
                )
        return run


def trials_in(network: str, block: Block, name: str) -> list[Trial]:
    """Return a trial for each different place of a network of the family, at 224 pixels or its 32."""
    row = FAMILY[network]
    side, channels = 32 if row.stem == "small" else 56, row.stem_channels
    trials: list[Trial] = []
    for i, (size, out_channels) in enumerate(zip(row.stage_sizes, row.stage_channels, strict=True)):
        stride = 1 if i == 0 else 2
        trials.append(Trial(block, name, channels, out_channels, stride, side))
        side, channels = -(-side // stride), out_channels
        if size > 1:
            trials.append(Trial(block, name, channels, channels, 1, side))
    return list(dict.fromkeys(trials))


def small_trials(trials: list[Trial]) -> list[Trial]:
    """Return two trials with small images: the first place that halves the sides, and one that keeps them."""
    halves = next(trial for trial in trials if trial.stride == 2)
    keeps = replace(halves, out_channels=halves.in_channels, stride=1)
    return [replace(trial, side=SMALL_SIDE) for trial in (halves, keeps)]


def reason(error: BaseException) -> str:
    """Return class and text of an error, cut: "ValueError: channels must be a multiple of 4"."""
    return textwrap.shorten(f"{type(error).__name__}: {error}", MAX_REASON_CHARACTERS, placeholder=" ...")


def line_of(error: BaseException) -> str:
    """Return the last line outside torch that an error passed, as "my_block.py line 12", or ""."""
    frames = traceback.extract_tb(error.__traceback__)[1:]  # the first is in this file
    frames = [frame for frame in frames if "torch" not in Path(frame.filename).parts]
    return f"{Path(frames[-1].filename).name} line {frames[-1].lineno}" if frames else ""


def difference(a: Tensor, b: Tensor) -> float:
    """Return the relative difference |a - b| / |b| for the images of both, infinite for different shapes."""
    if a.shape[1:] != b.shape[1:]:
        return float("inf")
    count = min(len(a), len(b))
    a, b = a[:count].detach().double(), b[:count].detach().double()
    return float((a - b).norm() / b.norm().clamp_min(1e-12))


def _record(layer: nn.Module, name: str, running: list[str], layers: dict[str, Tensor]) -> list[Any]:
    """Add hooks that keep the names of the layers that run, and the first output of each layer."""

    def enter(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        running.append(name)

    def leave(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        running.pop()
        if isinstance(output, Tensor) and output.dim():
            layers.setdefault(name, output)

    return [layer.register_forward_pre_hook(enter), layer.register_forward_hook(leave)]
