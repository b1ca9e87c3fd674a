"""Load pretrained weights into a network and report on every tensor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from reslab.errors import WeightsError
from reslab.networks.input_channels import adapt_input_channels, first_convolution
from reslab.text import printable

from .files import fetch_imagenet, read_weights

BATCH_COUNTER = ".num_batches_tracked"


@dataclass(frozen=True)
class WeightsReport:
    """Report on every tensor of a network and of a weights file; `print(report)` shows a summary.

    Names are the network's, in its order, unless noted.

    Attributes:
        source: path of the file.
        prefix: removed from the start of the names in the file, such as "module.".
        loaded: tensors that were copied into the network.
        adapted: those of `loaded` that were converted to another number of input channels.
        renamed: (name, name in the file) of those of `loaded` that have another name in the file.
        missing: tensors that are not in the file; they stay as initialized. Batch counters count as missing
            only if the file has some.
        other_shape: (name, shape in the file, shape in the network); these stay as initialized.
        unused: tensors of the file that the network lacks, by their names in the file.
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
        """True if no tensor is missing or of another shape."""
        return not self.missing and not self.other_shape

    def __str__(self) -> str:
        total = len(self.loaded) + len(self.missing) + len(self.other_shape)
        lines = [f"{self.source}: {len(self.loaded)} of {total} tensors loaded"]
        if self.prefix:
            lines.append(f"  removed '{self.prefix}' from the start of the names in the file")
        if self.adapted:
            lines.append(f"  adapted to the number of input channels: {', '.join(self.adapted)}")
        for ours, theirs in self.renamed:
            lines.append(f"  '{theirs}' in the file was loaded as '{ours}' (same place, same shape)")
        if self.missing:
            lines.append(f"  not in the file, left as initialized: {_by_module(self.missing)}")
        other = [f"{name}, file {theirs}, network {ours}" for name, theirs, ours in self.other_shape]
        if len(other) > 3:
            other = [_by_module(name for name, _, _ in self.other_shape)]
        lines += [f"  another shape, left as initialized: {shapes}" for shapes in other]
        if self.unused:
            lines.append(f"  in the file, but not used: {_by_module(self.unused)}")
        return "\n".join(map(printable, lines))  # the names come from an untrusted file

    def table(self) -> str:
        """Return a line for each tensor: its name, and loaded, adapted, missing, other shape or unused.

        The order is that of the lists `loaded`, `missing`, `other_shape`, `unused`.
        """
        source = {ours: f"loaded from {theirs}" for ours, theirs in self.renamed}
        rows = [
            (name, "adapted" if name in self.adapted else source.get(name, "loaded")) for name in self.loaded
        ]
        rows += [(name, "missing: left as initialized") for name in self.missing]
        rows += [
            (name, f"other shape: file {a}, network {b}; left as initialized")
            for name, a, b in self.other_shape
        ]
        rows += [(name, "unused") for name in self.unused]
        rows = [(printable(name), printable(outcome)) for name, outcome in rows]
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:{width}}  {outcome}" for name, outcome in rows)


def load_pretrained(network: nn.Module, name: str, weights: str | Path) -> WeightsReport:
    """Load weights into a network: all tensors that fit, by name and shape.

    Names are matched without prefixes such as "module." (DataParallel) or "_orig_mod." (torch.compile), a
    last linear layer of the same shape also under another name. A first convolution for another number of
    channels is converted.

    Args:
        network: changed in place.
        name: torchvision's name of the network, such as "resnet18", for weights="imagenet".
        weights: "imagenet" for torchvision's default weights, or a .safetensors or .pth file. Nothing in
            the file is executed.

    Returns:
        A report on every tensor. Tensors that are missing or do not fit stay as initialized.

    Raises:
        WeightsError: the file cannot be read, or no weight in it fits the network.
        DownloadError: the ImageNet weights cannot be downloaded.
    """
    path = fetch_imagenet(name) if str(weights) == "imagenet" else Path(weights)
    return load_into(network, read_weights(path), str(path))


def load_into(network: nn.Module, tensors: Mapping[str, Tensor], source: str = "weights") -> WeightsReport:
    """Copy the tensors that fit into `network` and report on every tensor; the rest stays as initialized.

    Names are matched as `load_pretrained` describes it.

    Args:
        tensors: by name; the mapping is not changed.
        source: their origin, for the report and for errors.

    Raises:
        WeightsError: no tensor of two or more dimensions fits, so the file belongs to another network.
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
            f"the file has {_first_three(tensors)}; the network has {_first_three(ours)}",
            "check that the file belongs to this network",
        )
    with torch.no_grad():
        for name in loaded:
            ours[name].copy_(tensors[name])
    # files older than torch 0.4.1 have no batch counters; inference does not use them
    has_no_counters = not any(name.endswith(BATCH_COUNTER) for name in tensors)
    missing = [
        name
        for name in ours
        if name not in tensors and not (has_no_counters and name.endswith(BATCH_COUNTER))
    ]
    unused = [name for name in tensors if name not in ours]
    return WeightsReport(
        source, prefix, tuple(loaded), adapted, renamed, tuple(missing), tuple(other_shape), tuple(unused)
    )


def _without_prefix(
    ours: Mapping[str, Tensor], tensors: Mapping[str, Tensor]
) -> tuple[str, dict[str, Tensor]]:
    """Return the prefix under which most of the network's names are found, and the tensors without it.

    The prefix is "" if the names fit as they are. Tensors outside it keep their names, or are left out if
    one inside has the same name.
    """
    hits = Counter({"": 0})
    for name in tensors:
        parts = name.split(".")
        for i in range(len(parts)):
            if ".".join(parts[i:]) in ours:
                hits["".join(f"{part}." for part in parts[:i])] += 1
    prefix = max(hits, key=lambda p: hits[p])  # of equal counts the first, which is ""
    inside = {n.removeprefix(prefix): tensor for n, tensor in tensors.items() if n.startswith(prefix)}
    outside = {n: tensor for n, tensor in tensors.items() if not n.startswith(prefix) and n not in inside}
    return prefix, inside | outside


def _adapt_first_layer(
    network: nn.Module, ours: Mapping[str, Tensor], tensors: dict[str, Tensor]
) -> tuple[str, ...]:
    """Convert the first convolution's weights in `tensors`, in place, to the input channels of `ours`.

    Return their name in a tuple, or () if the channels are equal already, the filters do not fit, or either
    side lacks them.

    Args:
        network: holds the first convolution.
        ours: the network's own tensors by name.
        tensors: the pretrained ones.
    """
    first = first_convolution(network)
    name = f"{first[0]}.weight" if first else ""
    if name not in ours or name not in tensors:
        return ()
    theirs, shape = tensors[name], ours[name].shape
    same_filters = theirs.dim() == 4 and theirs.shape[0] == shape[0] and theirs.shape[2:] == shape[2:]
    if not same_filters or theirs.shape[1] in (0, shape[1]):
        return ()
    tensors[name] = adapt_input_channels(theirs.to(ours[name]), shape[1])
    return (name,)


def _match_head(ours: Mapping[str, Tensor], tensors: dict[str, Tensor]) -> tuple[tuple[str, str], ...]:
    """Give the network's name of the last linear layer to the file's last matrix of its shape, and its bias.

    Only if `tensors`, which is changed, lacks that name.

    Returns:
        (new name, old name) of each renamed tensor; () if nothing is renamed.
    """
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


def _first_three(tensors: Mapping[str, Tensor]) -> str:
    shown = [f"{name} {tuple(tensor.shape)}" for name, tensor in list(tensors.items())[:3]]
    return ", ".join(shown) + (f" and {len(tensors) - 3} more" if len(tensors) > 3 else "")


def _by_module(names: Iterable[str]) -> str:
    counts = Counter(name.split(".")[0] for name in names)
    return ", ".join(f"{top} ({count} tensor{'s' * (count > 1)})" for top, count in counts.items())
