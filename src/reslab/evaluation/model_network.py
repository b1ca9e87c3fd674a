"""Network of a model file, allocated only after the file's tensors were found to fit it.

A header of a few bytes could name a network of any size. So the network is first built on torch's device
"meta", where tensors have shapes and no memory, and compared with the file's tensors. The code of a user's
network is in the header for reading. It is never run; the user names its file again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from reslab.errors import ClassifierError, CodeNeededError, ReslabError
from reslab.networks.input_channels import input_channels
from reslab.networks.registry import NetworkSpec, make_spec
from reslab.networks.without_weights import build_without_weights
from reslab.text import printable

from .model_file import ModelFile

MAX_LISTED_PROBLEMS = 3


def load_network(path: Path, model: ModelFile, network: nn.Module | str | None) -> nn.Module:
    """Return a network with the weights of a model file.

    Args:
        path: of the file, for messages; it is not read.
        model: content of the file.
        network: a module gets the weights in place and is returned. A text names the user's file, which is
            run, for a network from such a file. With None or a text the network is built by the file's
            header, on the CPU and in eval mode.

    Raises:
        ClassifierError: the weights do not fit the network; or `network` is None and the header names none,
            or one that cannot be built.
        CodeNeededError: the network is from a user's file that `network` has to name.
        NetworkError: the named file fails, or is not the one that the network was trained with.
    """
    if not isinstance(network, nn.Module):
        network = _build(path, model, network)
        channels = model.header.preprocess.channels
        if (needed := input_channels(network, channels)) != channels:  # code of the user's own ignored it
            raise _misfit(path, f"photos of {channels} channels for a network that takes {needed}")
    try:
        network.load_state_dict(model.tensors)
    except RuntimeError as error:
        raise _misfit(path, " ".join(str(error).split())[:300]) from error
    return network


def _build(path: Path, model: ModelFile, text: str | None) -> nn.Module:
    header = model.header
    if header.network is None and text is not None:
        return make_spec(text, len(header.classes), header.preprocess.channels).build().eval()
    if header.network is None:
        own = printable(header.network_class)[:80]
        raise ClassifierError(
            f"{path} holds weights of a network that is not part of reslab: {own}",
            "a model file holds no code",
            f"load it in Python: reslab.load({str(path)!r}, network={own}(...))",
        )
    if header.network.num_classes != len(header.classes):
        raise _misfit(path, f"{len(header.classes)} classes for {header.network.num_classes} logits")
    if header.network.in_channels != header.preprocess.channels:
        counts = f"{header.network.in_channels} channels for photos of {header.preprocess.channels}"
        raise _misfit(path, counts)
    if text is not None:
        header.network.use_file(text)
    try:
        return build_network(header.network, model.tensors)
    except CodeNeededError as error:
        call = f"reslab.load({str(path)!r}, network={error.network!r})"
        raise CodeNeededError(
            f"{path}: {printable(error.what)}", error.why, f"name the file again: {call}", error.network
        ) from error
    except ReslabError as error:
        if header.network.code is not None:
            raise
        do = error.do if "pip install" in error.do else "upgrade reslab"
        raise ClassifierError(f"the network in {path} cannot be built", error.what, do) from error
    except ValueError as error:
        raise _misfit(path, printable(str(error))) from error


def _misfit(path: Path, why: str) -> ClassifierError:
    do = "copy or create the file again: it is damaged, or was made for another network"
    return ClassifierError(f"the weights in {path} do not fit their network", why, do)


def build_network(spec: NetworkSpec, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Build a network on the CPU, in eval mode, that fits the given state dict, with undefined weights.

    The state dict is compared, not loaded. torch's random state stays as it was.

    Args:
        spec: name and sizes of the network.
        tensors: state dict of a model file.

    Raises:
        ValueError: a tensor is missing, unexpected, or of another shape; or one has floating-point numbers
            and the other integers.
        NetworkError: there is no such network.
    """
    with torch.random.fork_rng(devices=[]):  # initial weights are overwritten, so they use no random numbers
        network = build_without_weights(spec.build)
        expected = network.state_dict()
        _check_fit(tensors, expected)
        if all(name in expected for name, _ in network.named_buffers()):
            # not Module.to_empty: torch.empty_like of a meta tensor imports torch's compiler
            return network._apply(lambda t: torch.empty(t.shape, dtype=t.dtype, device="cpu")).eval()
        return spec.build().eval()


def _check_fit(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise ValueError if names, shapes or kinds of tensors differ; it names the first differences."""
    problems = [f"{name} is unexpected" for name in tensors if name not in expected]
    for name, wanted in expected.items():
        stored = tensors.get(name)
        if stored is None:
            problems.append(f"{name} is missing")
        elif stored.shape != wanted.shape:
            problems.append(
                f"{name}: {tuple(stored.shape)} in the file, {tuple(wanted.shape)} in the network"
            )
        elif stored.is_floating_point() != wanted.is_floating_point():
            problems.append(f"{name}: {stored.dtype} in the file, {wanted.dtype} in the network")
    if problems:
        more = len(problems) - MAX_LISTED_PROBLEMS
        text = "; ".join(problems[:MAX_LISTED_PROBLEMS])
        raise ValueError(text + (f"; and {more} more" if more > 0 else ""))
