"""Trial passes of a block at the places of a network, with the layer and the line that failed."""

from __future__ import annotations

import linecache
import re
import textwrap
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import reslab
from reslab.networks.blocks import Block
from reslab.networks.resnet import FAMILY
from reslab.randomness import torch_seeded

from .problem import BlockFailedError

TRIAL_SIDE = 8  # pixels: side of the images on which behavior is tested; the last stage has 7 or 8
TRIAL_BATCH = 8  # images
TRAINED_SHIFT = 0.1  # standard deviation of what a training adds to a parameter
SAME = 1e-5  # relative difference of two equal computations: only the order of sums may differ
MAX_REASON_CHARACTERS = 160  # of an error of torch, which may fill a paragraph
Shape = tuple[int, ...]
ADVICE = {  # by torch's message
    r"not implemented for|Low precision": "compute it in fp32: x.float(), torch.autocast(..., enabled=False)",
    r"size of tensor a \(\d+\) must match": "give the shortcut the stride and channels of the other summand",
    r"view size is not compatible": "use reshape instead of view, which needs contiguous memory",
    r"dtype|scalar type|BFloat16": "give both tensors one type: a.to(b.dtype)",
}


@dataclass(frozen=True)
class Place:
    """Place of a block in a network: its three arguments, and the side of its input in pixels."""

    in_channels: int
    out_channels: int
    stride: int
    side: int

    @property
    def arguments(self) -> tuple[int, int, int]:
        """Arguments of the block: (in_channels, out_channels, stride)."""
        return self.in_channels, self.out_channels, self.stride

    def output(self, batch: int) -> Shape:
        """Return the right shape (N, C', H/s, W/s) of the output, sides rounded up."""
        side = -(-self.side // self.stride)
        return batch, self.out_channels, side, side

    def images(self, batch: int, seed: int = 0) -> Tensor:
        """Return a random input (N, C, H, W). The channels of each image differ in mean, as features do."""
        shape = batch, self.in_channels, self.side, self.side
        generator = torch.Generator().manual_seed(seed)
        means = torch.randn(*shape[:2], 1, 1, generator=generator)
        return torch.randn(shape, generator=generator) + means


@dataclass(frozen=True)
class Subject:
    """Block that is checked.

    Attributes:
        block: any callable (in_channels, out_channels, stride) -> module.
        name: as the user's code calls it.
        places: the different places of the network, in its order.
        settings: torch's global settings and the random states before the first check.
    """

    block: Block
    name: str
    places: tuple[Place, ...]
    settings: dict[str, Any]

    @property
    def trials(self) -> list[Place]:
        """Two places for tests of behavior, with small images: one changes the shape, one keeps it."""
        keeps = next(place for place in self.places if place.stride == 1)
        keeps = next((place for place in self.places if place.in_channels == place.out_channels), keeps)
        halves = next((place for place in self.places if place.stride == 2), keeps)
        return [replace(place, side=TRIAL_SIDE) for place in (halves, keeps)]

    def where(
        self, place: Place, layer: str = "", line: str = "", *, attribute: str = "", tensor: str = ""
    ) -> str:
        """Return "MyBlock(64, 128, 2), layer se.fc1, line 12: return x + y", without the empty parts.

        Args:
            place: of the block.
            layer: its path in the block.
            line: number and text of a line, as from `quote`.
            attribute: path of an attribute, in place of a layer.
            tensor: path of a parameter or buffer, in place of its layer.
        """
        layer, own = (layer, "") if not tensor else (tensor.rpartition(".")[0], tensor)
        parts = [f"{self.name}({', '.join(map(str, place.arguments))})"]
        parts += [f"layer {layer}"] if layer else [f"tensor {own}"] * bool(own)
        parts += [f"attribute {attribute}"] * bool(attribute)
        return ", ".join([*parts, *[line] * bool(line)])

    def build(self, place: Place, seed: int = 0) -> nn.Module:
        """Build the block with weights drawn from `seed`.

        Raises:
            BlockFailedError: its constructor fails, or it returns no module.
        """
        try:
            with torch_seeded(seed, "check_block"):
                module = self.block(*place.arguments)
        except (Exception, SystemExit) as error:
            raise BlockFailedError(
                f"the constructor fails: {reason(error)}",
                self.where(place, line=line_of(error)),
                "",
                f"fix it: {self.where(place)} shows the whole error",
            ) from error
        if not isinstance(module, nn.Module):
            raise BlockFailedError(
                f"it returns {type(module).__name__} instead of a module",
                self.where(place),
                "",
                "let it return an nn.Module that is ready to be called",
            )
        return module

    def build_trained(self, place: Place, seed: int = 0) -> nn.Module:
        """Build the block as after some training: with random numbers added to its parameters.

        A gate that starts at zero would hide everything before it.
        """
        module = self.build(place, seed)
        with torch.no_grad():
            for parameter in module.parameters():
                shift(parameter, TRAINED_SHIFT)
        return module

    def run(self, module: nn.Module, x: Tensor, place: Place, during: str = "", seed: int = 0) -> Tensor:
        """Return the block's output for the images `x`, in the module's present mode.

        Args:
            module: from `build`.
            x: (N, C, H, W).
            place: of the module.
            during: condition for the text of an error, such as "in bf16".
            seed: of torch's random numbers in the pass.

        Raises:
            BlockFailedError: the forward fails.
        """
        with record_calls(module) as calls, torch_seeded(seed, "check_block"):
            try:
                output: Tensor = module(x)
            except (Exception, SystemExit) as error:
                raise self._failed(error, calls, x, place, during) from error
        return output

    def _failed(
        self, error: BaseException, calls: list[Call], x: Tensor, place: Place, during: str
    ) -> BlockFailedError:
        unfinished = [call for call in calls if not call.finished]
        layer, came, why = "", tuple(x.shape), reason(error)
        if unfinished:
            failed = unfinished[-1]
            layer, came = f"{failed.name} ({type(failed.module).__name__})", failed.input
            why = _misfit(failed) or why
        cause = f"the forward fails{f' {during}' * bool(during)}: {why}"
        shapes = f"{tuple(x.shape)} comes to the block"
        if unfinished and came != tuple(x.shape):
            shapes += f", {came} to {unfinished[-1].name}"
        do = f"fix it: {self.where(place)}(torch.rand{tuple(x.shape)}) shows the whole error"
        do = next((advice for pattern, advice in ADVICE.items() if re.search(pattern, why)), do)
        return BlockFailedError(cause, self.where(place, layer, line_of(error)), shapes, do)


@dataclass
class Call:
    """Call of a layer inside the block, with the shapes of its first input and output.

    Attributes:
        name: path of the layer, such as "se.fc1".
        module: the layer.
        input: shape of the first tensor that comes in, () without one.
        output: shape of the output, () unless it is one tensor.
        value: the output itself, for comparisons.
        finished: False if the layer raised.
    """

    name: str
    module: nn.Module
    input: Shape
    output: Shape = ()
    value: Any = None
    finished: bool = False


@contextmanager
def record_calls(module: nn.Module) -> Iterator[list[Call]]:
    """Record the calls of all layers inside the block, in their order. The hooks are removed on exit."""
    calls: list[Call] = []
    running: list[Call] = []
    names = {id(layer): name for name, layer in module.named_modules()}

    def enter(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        shapes = [tuple(each.shape) for each in inputs if isinstance(each, Tensor)]
        running.append(Call(names[id(layer)], layer, shapes[0] if shapes else ()))
        calls.append(running[-1])

    def leave(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        while (call := running.pop()).module is not layer:
            pass  # a layer that raised, and whose error the block caught
        call.finished, call.value = True, output
        call.output = tuple(output.shape) if isinstance(output, Tensor) else ()

    handles = []
    for layer in list(module.modules())[1:]:
        handles += [layer.register_forward_pre_hook(enter), layer.register_forward_hook(leave)]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def places_in(network: str) -> tuple[Place, ...]:
    """Return the different places of a block in a network of the family, at 224 pixels or its 32."""
    row = FAMILY[network]
    side, channels = 32 if row.stem == "small" else 56, row.stem_channels
    places: dict[Place, None] = {}
    for i, (size, out_channels) in enumerate(zip(row.stage_sizes, row.stage_channels, strict=True)):
        first = Place(channels, out_channels, 1 if i == 0 else 2, side)
        places[first] = None
        side, channels = first.output(1)[-1], out_channels
        if size > 1:
            places[Place(channels, channels, 1, side)] = None
    return tuple(places)


def reason(error: BaseException) -> str:
    """Return class and first line of an error, cut: "ValueError: channels must be a multiple of 4"."""
    if isinstance(error, SystemExit):
        return "it calls exit()"
    text = ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])
    return textwrap.shorten(text, MAX_REASON_CHARACTERS, placeholder=" ...")


def line_of(error: BaseException) -> str:
    """Return the user's line that is deepest in the traceback, "line 12: return x + y", or "" without one."""
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        file = Path(frame.f_code.co_filename)
        if not library(file):
            return quote(str(file), line)
    return ""


def library(file: Path) -> bool:
    """Return True if the file belongs to torch or reslab, or is not a file."""
    folders = (Path(torch.__file__).parent, Path(reslab.__file__).parent)
    return not file.is_file() or any(file.is_relative_to(folder) for folder in folders)


def quote(file: str, line: int) -> str:
    """Return "line 12: return x + y", for the line with this number (from 1) of a file."""
    return f"line {line}: {linecache.getline(file, line).strip()}"


def shift(parameter: Tensor, size: float = 1.0) -> None:
    """Add random numbers with standard deviation `size` to a parameter, the same in each call."""
    parameter += size * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))


def difference(a: Tensor, b: Tensor) -> float:
    """Return the relative difference of two tensors, |a - b| / |b|; infinite for different shapes."""
    if a.shape != b.shape:
        return float("inf")
    a, b = a.detach().double(), b.detach().double()
    return float((a - b).norm() / b.norm().clamp_min(1e-12))


def _misfit(call: Call) -> str:
    """Return "it takes 64 channels, not 128" if this is why the layer failed, else ""."""
    for attribute, axis in (("in_channels", 1), ("num_features", 1), ("in_features", -1)):
        wanted = getattr(call.module, attribute, None)
        if isinstance(wanted, int) and len(call.input) > 1 and call.input[axis] != wanted:
            return f"it takes {wanted} {'values' if axis == -1 else 'channels'}, not {call.input[axis]}"
    return ""
