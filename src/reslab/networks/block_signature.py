"""Check that a block takes (in_channels, out_channels, stride), with an adapter to paste if it does not."""

from __future__ import annotations

import copy
import functools
import inspect
import re
import textwrap
from collections.abc import Callable
from inspect import Parameter
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from reslab.errors import NetworkError
from reslab.randomness import preserve_rng_state

from .blocks import Block

GENERIC = re.compile(r"_*([a-z]|arg)?_?\d*")
# roles of parameters by their names in the code of the literature
ROLES = {
    "stride": re.compile(r"s|st|.*stride.*"),
    "shortcut": re.compile(r".*(downsample|shortcut|projection)"),
    "projects": re.compile(r"use_(1x1|proj).*"),
    "in": re.compile(r"i|c_?in|n_?in|in_.*|.*in_?(c|p|f|d|put).*"),
    "out": re.compile(r"o|oup|.*out.*|planes|(num_)?(channels?|filters)"),
}
SHORTCUT_ADAPTER = """\
from torch import nn

def block(i, o, s):
    shortcut = None
    if i != o or s > 1:
        shortcut = nn.Sequential(nn.Conv2d(i, o, 1, s, bias=False), nn.BatchNorm2d(o))
    return {call}"""
LAZY_ADAPTER = """\
import torch

def block(i, o, s):
    lazy = {call}.eval()
    lazy(torch.zeros(1, i, 8, 8))  # gives the lazy layers their sizes
    return lazy.train()"""
MAX_LISTED_CHARACTERS = 90
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
    parameters = parameters_of(block)
    if problem := _problem(parameters):
        text = ", ".join(str(p.replace(annotation=Parameter.empty)) for p in parameters)
        text = textwrap.shorten(text, MAX_LISTED_CHARACTERS, placeholder=" ...")
        raise _refusal(block, name, f"its parameters are ({text}): {problem}", parameters)
    given = _roles(parameters[3:]).get("shortcut")
    if given is None:
        return
    try:
        with preserve_rng_state():
            check_output(block(*PROBE_CHANNELS, 2), name, "", *PROBE_CHANNELS, 2)
    except Exception as error:  # the class may raise anything
        why = f"it takes '{given}' from its caller, and cannot change the shape without it"
        raise _refusal(block, name, why, parameters) from error


def parameters_of(function: Callable[..., Any]) -> list[Parameter]:
    """Return the parameters of a class or function; any, if it is written in C and has no signature."""
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return [Parameter("arguments", Parameter.VAR_POSITIONAL)]


def is_own(block: object) -> bool:
    """Return True for a block of reslab's, also with arguments set by functools.partial."""
    while isinstance(block, functools.partial):
        block = block.func
    return (getattr(block, "__module__", None) or "").partition(".")[0] == "reslab"


def check_output(
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
        why = "they have no weights before they are run, so these cannot be initialized"
        do = "give the layers their in_channels, as in nn.Conv2d(in_channels, out_channels, 3)"
        raise NetworkError(f"{what} has lazy layers", why, do)
    count, height, width = PROBE_SHAPE
    device = tensors[0].device if tensors else torch.device("cpu")
    images = torch.zeros(count, in_channels, height, width, device=device)
    expected = (count, out_channels, -(-height // stride), -(-width // stride))
    try:
        with torch.no_grad(), preserve_rng_state():
            output = copy.deepcopy(block).eval()(images)
    except Exception as error:
        why = next(iter(str(error).splitlines()), type(error).__name__)
        do = f"let {call} accept every height and width, and give its shortcut the shape of its sum"
        raise NetworkError(f"{what} fails on an input of shape {tuple(images.shape)}", why, do) from error
    shape = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
    if shape != expected:
        why = f"{call} has to give {expected}: {out_channels} channels, sides divided by {stride}"
        do = "let the first convolution and the shortcut have the block's stride and out_channels"
        raise NetworkError(f"{what} gives {shape} for an input of shape {tuple(images.shape)}", why, do)


def _problem(parameters: list[Parameter]) -> str:
    """Return the reason why a callable with these parameters is not a block; "" if it may be one."""
    positional = [p for p in parameters if p.kind in POSITIONAL]
    takes_more = any(p.kind is Parameter.VAR_POSITIONAL for p in parameters)
    if len(positional) < 3 and not takes_more:
        return "a block takes three numbers, in_channels, out_channels and stride"
    if extra := [p.name for p in parameters if p not in positional[:3] and _is_required(p)]:
        return f"'{extra[0]}' has no default"
    first = positional[:3]
    if len(first) < 3 or all(GENERIC.fullmatch(p.name) for p in first):
        return ""
    if not ROLES["stride"].fullmatch(first[2].name):
        return f"the third, '{first[2].name}', would get the stride"
    flag = next((p.name for p in first if isinstance(p.default, bool)), "")
    return f"'{flag}' would get a number" if flag else ""


def _refusal(block: Block, name: str, why: str, parameters: list[Parameter]) -> NetworkError:
    what = f"{name} is not a block (in_channels, out_channels, stride)"
    file, _, own = name.rpartition(":")
    if not {"stride", "projects"} & _roles(parameters).keys():
        return NetworkError(what, why, "write a block that contains it, and that has a stride")
    adapter = _adapter(own if own.isidentifier() else "your_block", block, parameters)
    place = f"paste this into the file, and name {file}:block" if file else "paste this, and use it instead"
    return NetworkError(what, why, f"{place}\n{textwrap.indent(adapter, '    ')}")


def _adapter(name: str, block: Block, parameters: list[Parameter]) -> str:
    """Return the source of a function `block` that calls a class with arguments that fit it."""
    roles = _roles(parameters)
    expansion = getattr(block, "expansion", 1)  # of the output channels, as in torchvision's Bottleneck
    out = f"o // {expansion}" if expansion != 1 else "o"
    values = {"in": "i", "out": out, "stride": "s", "projects": "i != o or s > 1", "shortcut": "shortcut"}
    by_name = {parameter: values[role] for role, parameter in roles.items()}
    called = [p.name for p in parameters if p.name in by_name or _is_required(p)]
    arguments = ", ".join(f"{each}={by_name.get(each, '...')}" for each in called)
    call = f"{name}({arguments})"
    if "shortcut" in roles:
        return SHORTCUT_ADAPTER.format(call=call)
    if "in" not in roles:
        return LAZY_ADAPTER.format(call=call)
    return f"def block(i, o, s):\n    return {call}"


def _roles(parameters: list[Parameter]) -> dict[str, str]:
    """Return the name of the first parameter of each role."""
    found = dict[str, str]()
    for p in parameters:
        role = next((role for role, pattern in ROLES.items() if pattern.fullmatch(p.name)), "")
        is_flag = role == "shortcut" and isinstance(p.default, bool)  # the block makes its own
        if role and not is_flag:
            found.setdefault(role, p.name)
    return found


def _is_required(p: Parameter) -> bool:
    return p.default is Parameter.empty and p.kind in (*POSITIONAL, Parameter.KEYWORD_ONLY)
