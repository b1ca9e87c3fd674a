"""Check that a block takes (in_channels, out_channels, stride), with an adapter to paste if it does not."""

from __future__ import annotations

import copy
import functools
import inspect
import re
from collections.abc import Callable
from inspect import Parameter
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from reslab.errors import NetworkError
from reslab.randomness import preserve_rng_state

from .blocks import Block

# names of parameters as the literature's code has them
GENERIC = re.compile(r"_*([a-z]|arg|x)?_?\d*")
STRIDE = re.compile(r"s|st|.*stride.*")
OUT = re.compile(r"o|.*out.*|planes|(num_)?(channels?|filters|features)|width|dim|.*hidden.*")
IN = re.compile(r"i|c|.*in_?(c|p|f|d|planes|put|$).*|c_?in|n_?in|in|in_.*")
PROJECTS = re.compile(r"use_1x1.*|use_proj.*|.*(projection|downsample|shortcut)")
USUAL_VALUES = {"kernel_size": "3", "groups": "1", "dilation": "1", "reduction": "16", "padding": "1"}
PROBE_CHANNELS = 64, 128
PROBE_SHAPE = 2, 8, 12  # images, height and width: even, as a network may never meet odd sides
POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


def check_signature(block: Block, name: str) -> None:
    """Check that `block` can be called as block(in_channels, out_channels, stride). Nothing else is called.

    A block whose projection is to be given by its caller (`downsample=None`) is built and run once.

    Args:
        block: a class or any other callable.
        name: of the block, for the message.

    Raises:
        NetworkError: its first three parameters are others, or it cannot change the shape by itself. The
            error shows an adapter to paste.
    """
    if is_own(block):
        return
    try:
        parameters = list(inspect.signature(block).parameters.values())
    except (TypeError, ValueError):  # some callables that are written in C have no signature
        return
    if problem := _problem(parameters):
        raise _refusal(block, name, f"its parameters are ({_listed(parameters)}): {problem}", parameters)
    if any(p.name in ("downsample", "shortcut") and p.default is None for p in parameters[3:]):
        try:
            check_block(block(*PROBE_CHANNELS, 2), name, "", *PROBE_CHANNELS, 2)
        except (NetworkError, TypeError, RuntimeError, ValueError) as error:
            why = f"its shortcut is left to the caller, as {_listed(parameters)} shows"
            raise _refusal(block, name, why, parameters) from error


def is_own(block: object) -> bool:
    """Return True for a block of reslab's, also with arguments set by functools.partial."""
    while isinstance(block, functools.partial):
        block = block.func
    return (getattr(block, "__module__", None) or "").partition(".")[0] == "reslab"


def check_block(
    block: nn.Module, name: str, place: str, in_channels: int, out_channels: int, stride: int
) -> None:
    """Check the shape of a block's output. A copy of it is run on zeros; the random state stays as it was.

    Args:
        block: a new block, on any device.
        name: of the block, for the message.
        place: its name in the network, such as layer2.0; "" outside one.
        in_channels: channels of its input.
        out_channels: channels that its output should have.
        stride: factor by which it should reduce each side.

    Raises:
        NetworkError: the output is not (N, out_channels, H/stride, W/stride); or the block fails, or has
            layers that learn their sizes when they are first run.
    """
    what = f"{name} is not a block" + (f": {place}" if place else "")
    call = f"block({in_channels}, {out_channels}, {stride})"
    if not isinstance(block, nn.Module):
        raise NetworkError(what, f"{call} gave {type(block).__name__}", "let it return a torch.nn.Module")
    tensors = [*block.parameters(), *block.buffers()]
    if any(is_lazy(tensor) for tensor in tensors):
        raise NetworkError(
            f"{what} has lazy layers",
            "they have no weights before they are run, so these cannot be initialized",
            "give the layers their in_channels, as in nn.Conv2d(in_channels, out_channels, 3)",
        )
    count, height, width = PROBE_SHAPE
    device = tensors[0].device if tensors else torch.device("cpu")
    images = torch.zeros(count, in_channels, height, width, device=device)
    expected = (count, out_channels, -(-height // stride), -(-width // stride))
    try:
        with torch.no_grad(), preserve_rng_state():
            output = copy.deepcopy(block).eval()(images)
    except Exception as error:
        raise NetworkError(
            f"{what} fails on an input of shape {tuple(images.shape)}",
            next(iter(str(error).splitlines()), type(error).__name__),
            f"let {call} accept every height and width, and give its shortcut the shape of its sum",
        ) from error
    shape = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
    if shape != expected:
        raise NetworkError(
            f"{what} gives {shape} for an input of shape {tuple(images.shape)}",
            f"{call} has to give {expected}: {out_channels} channels, sides divided by {stride}",
            "let the first convolution and the shortcut have the block's stride and out_channels",
        )


def _problem(parameters: list[Parameter]) -> str:
    """Return the reason why a callable with these parameters is not a block; "" if it may be one."""
    positional = [p for p in parameters if p.kind in POSITIONAL]
    takes_more = any(p.kind is Parameter.VAR_POSITIONAL for p in parameters)
    if len(positional) < 3 and not takes_more:
        return "a block takes three numbers, in_channels, out_channels and stride"
    for p in parameters:
        is_extra = p not in positional[:3] and p.kind in (*POSITIONAL, Parameter.KEYWORD_ONLY)
        if is_extra and p.default is Parameter.empty:
            return f"'{p.name}' has no default"
    names = [p.name for p in positional[:3]]
    if len(names) < 3 or all(GENERIC.fullmatch(each) for each in names):
        return ""
    if STRIDE.fullmatch(names[2]) is None:
        return f"the third, '{names[2]}', would get the stride"
    for position, got in ((0, "in_channels"), (1, "out_channels")):
        if STRIDE.fullmatch(names[position]) and not GENERIC.fullmatch(names[position]):
            return f"'{names[position]}' would get {got}"
        default = positional[position].default
        if PROJECTS.fullmatch(names[position]) or isinstance(default, bool):
            return f"'{names[position]}' would get {got}"
    return ""


def _listed(parameters: list[Parameter]) -> str:
    return ", ".join(str(p.replace(annotation=Parameter.empty)) for p in parameters)


def _refusal(block: Block, name: str, why: str, parameters: list[Parameter]) -> NetworkError:
    adapter = "\n".join(f"    {line}" for line in make_adapter(block, parameters).splitlines())
    return NetworkError(
        f"{name} is not a block (in_channels, out_channels, stride)",
        why,
        f"paste this adapter below it, and name it instead, as in my_block.py:block\n{adapter}",
    )


def make_adapter(block: Callable[..., Any], parameters: list[Parameter]) -> str:
    """Return the source of a function `block` that calls a class or function with arguments that fit it."""
    own = getattr(block, "__qualname__", type(block).__qualname__)
    roles = {p.name: _role(p) for p in parameters}
    expansion = getattr(block, "expansion", 1)
    out = f"o // {expansion}" if isinstance(expansion, int) and expansion > 1 else "o"
    if "stride" not in roles.values() and "projects" not in roles.values():
        channels = ["o" for role in roles.values() if role in ("in", "out")][:2]
        return _lines(
            "import reslab", "from torch import nn", f"return nn.Sequential(reslab.BasicBlock(i, o, s), "
            f"{own}({', '.join([*channels, *_required(parameters, roles)])}))",
        )  # fmt: skip
    arguments = {"in": "i", "out": out, "stride": "s", "projects": "i != o or s > 1", "shortcut": "shortcut"}
    given = [f"{n}={arguments[role]}" for n, role in roles.items() if role in arguments]
    call = f"{own}({', '.join([*given, *_required(parameters, roles)])})"
    if "shortcut" in roles.values():
        return _lines(
            "from torch import nn",
            "shortcut = None",
            "if i != o or s > 1:",
            "    shortcut = nn.Sequential(nn.Conv2d(i, o, 1, s, bias=False), nn.BatchNorm2d(o))",
            f"return {call}",
        )
    if "in" not in roles.values():  # its layers are lazy
        return _lines(
            "import torch",
            f"lazy = {call}.eval()",
            "lazy(torch.zeros(1, i, 8, 8))  # gives the lazy layers their sizes",
            "return lazy.train()",
        )
    return _lines(f"return {call}")


def _lines(*lines: str) -> str:
    imports = [line for line in lines if line.startswith(("import ", "from "))]
    body = [f"    {line}" for line in lines if line not in imports]
    return "\n".join([*imports, "", "def block(i, o, s):", *body]).lstrip("\n")


def _role(p: Parameter) -> str:
    """Return the use of a parameter by its name: in, out, stride, projects, shortcut, or "" for another."""
    if p.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD):
        return ""
    if PROJECTS.fullmatch(p.name):
        return "shortcut" if p.default is None else "projects"
    for role, pattern in (("stride", STRIDE), ("in", IN), ("out", OUT)):
        if pattern.fullmatch(p.name):
            return role
    return ""


def _required(parameters: list[Parameter], roles: dict[str, str]) -> list[str]:
    """Return "name=value" for other parameters without a default; the value is ... if none is usual."""
    return [
        f"{p.name}={USUAL_VALUES.get(p.name, '...')}"
        for p in parameters
        if not roles[p.name]
        and p.default is Parameter.empty
        and p.kind not in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    ]
