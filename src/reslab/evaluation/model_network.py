"""The network that a model file names, built without weights, and only if the file brings every one of them.

A name and a number cost a file nothing, and could ask for any amount of memory. So the network is first
built on torch's device "meta", where tensors have shapes and no numbers, and held against the file's table.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from reslab.networks.registry import TORCHVISION, NetworkSpec, short_name
from reslab.networks.weights.safetensors_header import Entry, TensorTable

DRAWS = {torch.Tensor.normal_, torch.Tensor.uniform_}
WHOLE = {"BOOL", "U8", "I8", "I16", "U16", "I32", "U32", "I64", "U64"}


def bare_network(spec: NetworkSpec, table: TensorTable) -> nn.Module:
    """The network in eval mode, its numbers still undefined.

    Raises ValueError, naming tensors, if the table does not fit, NetworkError if there is no such network.
    """
    with torch.random.fork_rng(devices=[]):  # what is drawn is overwritten: it costs no draws
        try:
            with torch.device("meta"), _WithoutDraws():
                network = spec.build()
        except NotImplementedError:  # torchvision's RegNet looks at its own numbers while it is built
            return _build_with_numbers(spec, table)
        expected = network.state_dict()
        _compare(table, {name: (tensor, tuple(tensor.shape)) for name, tensor in expected.items()})
        if all(name in expected for name, _ in network.named_buffers()):
            # not to_empty: torch.empty_like of a meta tensor imports torch's compiler, too
            return network._apply(lambda t: torch.empty(t.shape, dtype=t.dtype, device="cpu")).eval()
        return spec.build().eval()


class _WithoutDraws(TorchFunctionMode):
    """Weights are not filled: there is nothing to fill here, and to try it imports torch's compiler."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return args[0] if func in DRAWS else func(*args, **(kwargs or {}))


def _build_with_numbers(spec: NetworkSpec, table: TensorTable) -> nn.Module:
    import torchvision

    weights = torchvision.models.get_model_weights(short_name(spec.name))
    needed = weights.DEFAULT.meta["num_params"] // 2 if spec.name.startswith(TORCHVISION) else 0
    has = sum(math.prod(entry.shape) for entry in table.tensors.values())
    if has < needed:
        raise ValueError(f"{spec.name} has over {needed:,} numbers, the file {has:,}")
    network = spec.build().eval()
    _compare(table, {name: (t, tuple(t.shape)) for name, t in network.state_dict().items()})
    return network


def _compare(table: TensorTable, expected: dict[str, tuple[torch.Tensor, tuple[int, ...]]]) -> None:
    faults = [f"{name} is missing" for name in expected if name not in table.tensors]
    faults += [f"{name} has no place" for name in table.tensors if name not in expected]
    for name, (tensor, shape) in expected.items():
        entry = table.tensors.get(name)
        if entry is not None and entry.shape != shape:
            faults.append(f"{name}: {entry.shape} in the file, {shape} in the network")
        elif entry is not None and not _same_kind(entry, tensor):
            faults.append(f"{name}: {entry.dtype} in the file, {tensor.dtype} in the network")
    if faults:
        more = f"; and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise ValueError("; ".join(faults[:3]) + more)


def _same_kind(entry: Entry, tensor: torch.Tensor) -> bool:
    return (entry.dtype in WHOLE) != tensor.is_floating_point()
