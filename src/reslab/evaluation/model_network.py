"""Network of a model file, allocated only after the file's tensors were found to fit it.

A header of a few bytes could name a network of any size. So the network is first built on torch's device
"meta", where tensors have shapes and no memory, and compared with the file's tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from reslab.errors import ClassifierError, ReslabError
from reslab.networks.registry import NetworkSpec, short_name
from reslab.text import printable

from .model_file import ModelFile

MAX_LISTED_PROBLEMS = 3


def load_network(path: Path, model: ModelFile, network: nn.Module | None) -> nn.Module:
    """Return a network with the weights of a model file.

    Args:
        path: of the file, for messages; it is not read.
        model: content of the file.
        network: gets the weights in place and is returned. With None the network is built by the file's
            header, on the CPU and in eval mode.

    Raises:
        ClassifierError: the weights do not fit the network; or `network` is None and the header names none,
            or one that cannot be built.
    """
    if network is None:
        network = _build(path, model)
    try:
        network.load_state_dict(model.tensors)
    except RuntimeError as error:
        raise _misfit(path, " ".join(str(error).split())[:300]) from error
    return network


def _build(path: Path, model: ModelFile) -> nn.Module:
    header = model.header
    if header.network is None:
        own = printable(header.network_class)[:80]
        raise ClassifierError(
            f"{path} holds weights of a network that is not part of reslab: {own}",
            "a model file holds no code",
            f"load it in Python: reslab.load({str(path)!r}, network={own}(...))",
        )
    if header.network.num_classes != len(header.classes):
        raise _misfit(path, f"{len(header.classes)} classes for {header.network.num_classes} logits")
    try:
        return build_network(header.network, model.tensors)
    except ReslabError as error:
        raise ClassifierError(
            f"the network in {path} cannot be built", error.what, "upgrade reslab"
        ) from error
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
        try:
            with torch.device("meta"), _NoInitialization():
                network = spec.build()
        except NotImplementedError:  # torchvision's RegNet reads its own weights while it is built
            return _build_in_memory(spec, tensors)
        expected = network.state_dict()
        _check_fit(tensors, expected)
        if all(name in expected for name, _ in network.named_buffers()):
            # not Module.to_empty: torch.empty_like of a meta tensor imports torch's compiler
            return network._apply(lambda t: torch.empty(t.shape, dtype=t.dtype, device="cpu")).eval()
        return spec.build().eval()


class _NoInitialization(TorchFunctionMode):
    """Torch mode, as a context, in which normal_ and uniform_ return their tensor unchanged.

    On meta tensors they do nothing anyway, and import torch's compiler.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return (
            args[0]
            if func in (torch.Tensor.normal_, torch.Tensor.uniform_)
            else func(*args, **(kwargs or {}))
        )


def _build_in_memory(spec: NetworkSpec, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Build a torchvision network that cannot be built on "meta", in eval mode, with initial weights.

    Raises:
        ValueError: the file has less than half of the network's usual weights, so that it is not built; or
            the built network has other tensors.
    """
    import torchvision

    weights = torchvision.models.get_model_weights(short_name(spec.name))
    needed = weights.DEFAULT.meta["num_params"] // 2
    stored = sum(tensor.numel() for tensor in tensors.values())
    if stored < needed:
        raise ValueError(f"{spec.name} has over {needed:,} weights, the file {stored:,}")
    network = spec.build().eval()
    _check_fit(tensors, network.state_dict())
    return network


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
