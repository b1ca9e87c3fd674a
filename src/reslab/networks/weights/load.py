"""Weights into a network: pretrained by name, from a file, whole, partial or foreign, and a report of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from reslab.errors import WeightsError
from reslab.text import printable

from .files import fetch_imagenet, read_weights

COUNTER = ".num_batches_tracked"


@dataclass(frozen=True)
class WeightsReport:
    """What became of every tensor, by the network's names and in its order.

    `prefix` stood before the names in the file; `adapted` and `renamed` (here, in the file) are among the
    `loaded`; `other_shape` is (name, shape in the file, shape in the network); `unused` by the file's names.
    """

    source: str
    prefix: str
    loaded: tuple[str, ...]
    adapted: tuple[str, ...]
    renamed: tuple[tuple[str, str], ...]
    missing: tuple[str, ...]
    other_shape: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]
    unused: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether the file gave the network every weight."""
        return not self.missing and not self.other_shape

    def __str__(self) -> str:
        total = len(self.loaded) + len(self.missing) + len(self.other_shape)
        lines = [f"{self.source}: {len(self.loaded)} of {total} tensors loaded"]
        if self.prefix:
            lines.append(f"  '{self.prefix}' before the names in the file was left out")
        if self.adapted:
            lines.append(f"  adapted to the number of input channels: {', '.join(self.adapted)}")
        for ours, theirs in self.renamed:
            lines.append(f"  '{theirs}' in the file was taken for '{ours}' (same place, same shape)")
        if self.missing:
            lines.append(f"  not in the file, left as initialised: {_by_module(self.missing)}")
        if len(self.other_shape) > 3:
            names = _by_module(name for name, _, _ in self.other_shape)
            lines.append(f"  another shape, left as initialised: {names}")
        else:
            for name, theirs_shape, ours_shape in self.other_shape:
                shapes = f"{name}, file {theirs_shape}, network {ours_shape}"
                lines.append(f"  another shape, left as initialised: {shapes}")
        if self.unused:
            lines.append(f"  in the file, but of no use here: {_by_module(self.unused)}")
        return "\n".join(map(printable, lines))  # the names in a file are a stranger's

    def table(self) -> str:
        """One line per tensor: first what was loaded, then what is missing, differs or was not needed."""
        source = {ours: f"loaded from {theirs}" for ours, theirs in self.renamed}
        rows = [
            (name, "adapted" if name in self.adapted else source.get(name, "loaded")) for name in self.loaded
        ]
        rows += [(name, "missing: left as initialised") for name in self.missing]
        rows += [
            (name, f"other shape: file {a}, network {b}; left as initialised")
            for name, a, b in self.other_shape
        ]
        rows += [(name, "unused") for name in self.unused]
        rows = [(printable(name), printable(fate)) for name, fate in rows]
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:{width}}  {fate}" for name, fate in rows)


def load_pretrained(network: nn.Module, name: str, weights: str | Path) -> WeightsReport:
    """Loads `weights`, "imagenet" or a file, into `network`, whose name in torchvision is `name`.

    Raises WeightsError for a file that cannot be read or of which nothing fits, DownloadError offline.
    """
    path = fetch_imagenet(name) if str(weights) == "imagenet" else Path(weights)
    return load_into(network, read_weights(path), str(path))


def load_into(network: nn.Module, tensors: Mapping[str, Tensor], source: str = "weights") -> WeightsReport:
    """Copies what fits into `network` and reports on every tensor. What does not fit stays as initialised.

    Raises WeightsError if not one tensor with weights fits: then it is a file for another network.
    """
    ours = {name: value for name, value in network.state_dict().items() if isinstance(value, Tensor)}
    prefix, tensors = _without_prefix(ours, tensors)
    renamed = _match_head(ours, tensors)
    adapted = _adapt_first_layer(network, ours, tensors)
    loaded = [name for name in ours if name in tensors and tensors[name].shape == ours[name].shape]
    other_shape = [
        (name, tuple(tensors[name].shape), tuple(ours[name].shape))
        for name in ours
        if name in tensors and name not in loaded
    ]
    if not any(ours[name].dim() > 1 for name in loaded):
        raise WeightsError(
            f"nothing in {source} fits this network",
            f"the file has {_some(tensors)}; the network has {_some(ours)}",
            "check that the file belongs to this network",
        )
    with torch.no_grad():
        for name in loaded:
            ours[name].copy_(tensors[name])
    # older files were saved before batch norm counted its batches, a number that inference never uses
    old = not any(name.endswith(COUNTER) for name in tensors)
    missing = [name for name in ours if name not in tensors and not (old and name.endswith(COUNTER))]
    unused = [name for name in tensors if name not in ours]
    return WeightsReport(
        source, prefix, tuple(loaded), adapted, renamed, tuple(missing), tuple(other_shape), tuple(unused)
    )


def adapt_input_channels(weight: Tensor, in_channels: int) -> Tensor:
    """First-layer weights (C_out, C, K, K) for another number of channels.

    Summed for one channel, so that a grey photo excites a filter as its three equal channels did; else
    repeated and scaled by C / in_channels.
    """
    if in_channels == 1:
        return weight.sum(dim=1, keepdim=True)
    channels = weight.shape[1]
    repeats = -(-in_channels // channels)
    return weight.repeat(1, repeats, 1, 1)[:, :in_channels] * (channels / in_channels)


def _without_prefix(
    ours: Mapping[str, Tensor], tensors: Mapping[str, Tensor]
) -> tuple[str, dict[str, Tensor]]:
    """Leaves out what DataParallel, torch.compile, Lightning and others put before the names.

    It is the prefix under which the file has most of the network's names; none, if the names agree as is.
    """
    hits = Counter({"": 0})
    for name in tensors:
        parts = name.split(".")
        for i in range(len(parts)):
            if ".".join(parts[i:]) in ours:
                hits["".join(f"{part}." for part in parts[:i])] += 1
    prefix = max(hits, key=lambda p: hits[p])  # the first of the best, and "" comes first
    inside = {n.removeprefix(prefix): tensor for n, tensor in tensors.items() if n.startswith(prefix)}
    outside = {n: tensor for n, tensor in tensors.items() if not n.startswith(prefix) and n not in inside}
    return prefix, inside | outside


def _adapt_first_layer(
    network: nn.Module, ours: Mapping[str, Tensor], tensors: dict[str, Tensor]
) -> tuple[str, ...]:
    first = next((name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)), None)
    name = f"{first}.weight"
    if name not in ours or name not in tensors:
        return ()
    theirs, shape = tensors[name], ours[name].shape
    same_but_for_channels = (
        theirs.dim() == 4 and theirs.shape[0] == shape[0] and theirs.shape[2:] == shape[2:]
    )
    if not same_but_for_channels or theirs.shape[1] in (0, shape[1]):  # of no channels none can be made
        return ()
    tensors[name] = adapt_input_channels(theirs.to(ours[name]), shape[1])
    return (name,)


def _match_head(ours: Mapping[str, Tensor], tensors: dict[str, Tensor]) -> tuple[tuple[str, str], ...]:
    """Gives the file's last matrix of our head's shape our head's name, if the file lacks that name."""
    matrices = [name for name, tensor in ours.items() if tensor.dim() == 2]
    if not matrices or matrices[-1] in tensors:
        return ()
    head = matrices[-1]
    theirs = [n for n, tensor in tensors.items() if n not in ours and tensor.shape == ours[head].shape]
    if not theirs:
        return ()
    renamed = []
    for kind in ("weight", "bias"):
        new, old = (f"{name.rpartition('.')[0]}.{kind}" for name in (head, theirs[-1]))
        if new in ours and old in tensors and tensors[old].shape == ours[new].shape:
            tensors[new] = tensors.pop(old)
            renamed.append((new, old))
    return tuple(renamed)


def _some(names: Mapping[str, Tensor]) -> str:
    shown = [f"{name} {tuple(tensor.shape)}" for name, tensor in list(names.items())[:3]]
    return ", ".join(shown) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _by_module(names: Iterable[str]) -> str:
    counts = Counter(name.split(".")[0] for name in names)
    return ", ".join(f"{top} ({count} tensor{'s' * (count > 1)})" for top, count in counts.items())
