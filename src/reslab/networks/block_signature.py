"""Check that a block takes (in_channels, out_channels, stride), with an adapter to paste if it does not."""

from __future__ import annotations

import copy
import functools
import inspect
import re
from inspect import Parameter

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from reslab.errors import NetworkError
from reslab.randomness import preserve_rng_state

from .blocks import Block

# names of parameters in the code of the literature
GENERIC = re.compile(r"_*([a-z]|arg|x)?_?\d*")
STRIDE = re.compile(r"s|st|.*stride.*")
IN = re.compile(r"i|c_?in|n_?in|in|in_.*|.*in_?(c|p|f|d|put).*")
OUT = re.compile(r"o|oup|.*out.*|planes|(num_)?(channels?|filters|features)|width|dim")
MIDDLE = re.compile(r".*(mid|bottleneck|hidden|inter).*")
SHORTCUT = re.compile(r".*(downsample|shortcut|projection)|use_1x1.*|use_proj.*")
OTHER = re.compile(r".*(kernel|group|dilation|reduction|padding|classes|expan|ratio|bias).*")
USUAL_VALUES = {
    "kernel_size": "3", "groups": "1", "dilation": "1", "reduction": "16", "padding": "1", "expansion": "4",
    "expand_ratio": "4",
}  # fmt: skip
MAX_LISTED_PARAMETERS = 5
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
    given = next((p.name for p in parameters[3:] if _role(p) == "shortcut"), None)
    if given is None:
        return
    try:
        with preserve_rng_state():
            check_block(block(*PROBE_CHANNELS, 2), name, "", *PROBE_CHANNELS, 2)
    except Exception as error:  # the class may raise anything
        why = f"it takes '{given}' from its caller, and cannot change the shape without it"
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
    for parameter, got in zip(positional, ("in_channels", "out_channels"), strict=False):
        wrong = any(pattern.fullmatch(parameter.name) for pattern in (STRIDE, SHORTCUT, OTHER))
        if isinstance(parameter.default, bool) or (wrong and not GENERIC.fullmatch(parameter.name)):
            return f"'{parameter.name}' would get {got}"
    return ""


def _listed(parameters: list[Parameter]) -> str:
    shown = [str(p.replace(annotation=Parameter.empty)) for p in parameters[:MAX_LISTED_PARAMETERS]]
    return ", ".join([*shown, "..."] if len(parameters) > MAX_LISTED_PARAMETERS else shown)


def _refusal(block: Block, name: str, why: str, parameters: list[Parameter]) -> NetworkError:
    file, _, own = name.rpartition(":")
    adapter = make_adapter(own if own.isidentifier() else "your_block", block, parameters)
    indented = "\n".join(f"    {line}" if line else "" for line in adapter.splitlines())
    place = f"paste this into the file, and name {file}:block" if file else "paste this, and use it instead"
    return NetworkError(
        f"{name} is not a block (in_channels, out_channels, stride)", why, f"{place}\n{indented}"
    )


def make_adapter(name: str, block: Block, parameters: list[Parameter]) -> str:
    """Return the source of a function `block` that calls a class or function with arguments that fit it.

    Args:
        name: of the class or function in the source.
        block: the class or function.
        parameters: its parameters.
    """
    roles = _roles(parameters)
    expansion = getattr(block, "expansion", 1)
    out = f"o // {expansion}" if isinstance(expansion, int) and expansion > 1 else "o"
    values = {"in": "i", "out": out, "middle": "o // 4", "stride": "s", "projects": "i != o or s > 1"}
    if "stride" not in roles.values() and "projects" not in roles.values():
        values["in"] = "o"  # a module that keeps the shape, after a block that changes it
    arguments = list[str]()
    for p in parameters:
        role = roles[p.name]
        is_next = p.kind in POSITIONAL and p is parameters[len(arguments)]
        if role in ("in", "out") and is_next and "=" not in "".join(arguments):
            arguments.append(values[role])
        elif role:
            arguments.append(f"{p.name}={values.get(role, role)}")
        elif p.default is Parameter.empty and p.kind in (*POSITIONAL, Parameter.KEYWORD_ONLY):
            arguments.append(f"{p.name}={USUAL_VALUES.get(p.name, '...')}")
    call = f"{name}({', '.join(arguments)})"
    if values["in"] == "o":
        return _lines(
            "import reslab",
            "from torch import nn",
            f"return nn.Sequential(reslab.BasicBlock(i, o, s), {call})",
        )
    if "shortcut" in roles.values():
        return _lines(
            "from torch import nn",
            "shortcut = None",
            "if i != o or s > 1:",
            "    shortcut = nn.Sequential(nn.Conv2d(i, o, 1, s, bias=False), nn.BatchNorm2d(o))",
            f"return {call}",
        )
    if "in" not in roles.values() and "out" in roles.values():  # its layers are lazy
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


def _roles(parameters: list[Parameter]) -> dict[str, str]:
    """Return each parameter's role, see `_role`; each role once. The first of two outputs is the input."""
    roles = {p.name: _role(p) for p in parameters}
    outputs = [name for name, role in roles.items() if role == "out"]
    if "in" not in roles.values() and len(outputs) > 1:
        roles[outputs[0]] = "in"
    names = list(roles)
    return {
        name: "" if roles[name] in [roles[other] for other in names[:i]] else roles[name]
        for i, name in enumerate(names)
    }


def _role(p: Parameter) -> str:
    """Return the role of a parameter by its name: in, out, middle, stride, projects, shortcut, or ""."""
    if p.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD):
        return ""
    if SHORTCUT.fullmatch(p.name):  # a module from the caller, or a flag
        is_module = p.default is None or (p.default is Parameter.empty and not p.name.startswith("use"))
        return "shortcut" if is_module else "projects"
    if MIDDLE.fullmatch(p.name):
        return "middle" if p.default is Parameter.empty else ""
    for role, pattern in (("stride", STRIDE), ("in", IN), ("out", OUT)):
        if pattern.fullmatch(p.name):
            return role
    return ""
