"""Load pretrained weights into a network, whole parts only, and report on every tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from reslab.errors import WeightsError
from reslab.networks.input_channels import adapt_input_channels, first_convolution
from reslab.text import printable

from .files import fetch_imagenet, read_weights
from .identify import likely_network
from .names import BATCH_COUNTER, Reading, best_reading, body_names, last_layer, match_last_layer
from .report import WeightsReport

MIN_USED = 0.5  # of the tensors of the file, and of the network; a network without its last stage has 0.75


def load_pretrained(
    network: nn.Module, name: str, weights: str | Path, *, partial: bool = False
) -> WeightsReport:
    """Load weights into a network: all tensors that fit, by name and shape.

    Names are matched without prefixes such as "module." (DataParallel) or "_orig_mod." (torch.compile), a
    last linear layer of the same shape also under another name. The names of fastai, of Hugging Face
    transformers and of timm for a ResNet are translated. A first convolution for another number of channels
    is converted.

    Each part of the network, such as conv1 or layer3, is loaded whole or not at all. A file that fits a part
    only in part, or leaves more than half of itself or of the network unused, is from another network.

    Args:
        network: changed in place.
        name: torchvision's name of the network, such as "resnet18", for weights="imagenet".
        weights: "imagenet" for torchvision's default weights, or a .safetensors or .pth file. Nothing in
            the file is executed. "FILE#model" takes the entry `model` of a checkpoint, and
            "FILE#module.encoder_q" the tensors under this name. Without it, averaged weights (model_ema,
            state_dict_ema) are taken if the file has them.
        partial: load what fits also from a file of another network.

    Returns:
        A report on every tensor. Tensors that are missing or do not fit stay as initialized.

    Raises:
        WeightsError: the file cannot be read, is from another network, or no weight in it fits.
        DownloadError: the ImageNet weights cannot be downloaded.
    """
    file = read_weights(fetch_imagenet(name) if str(weights) == "imagenet" else weights)
    report = load_into(network, file.tensors, file.source, partial=partial)
    return replace(report, entry=file.entry, is_averaged=file.is_averaged, left_out=file.left_out)


def load_into(
    network: nn.Module, tensors: Mapping[str, Tensor], source: str = "weights", *, partial: bool = False
) -> WeightsReport:
    """Copy the tensors that fit into `network` and report on every tensor; the rest stays as initialized.

    Names are matched as `load_pretrained` describes it.

    Args:
        tensors: by name; the mapping is not changed.
        source: their origin, for the report and for errors.
        partial: load what fits also from a file of another network.

    Raises:
        WeightsError: the file is from another network, or no tensor of two or more dimensions fits.
    """
    ours = {name: value for name, value in network.state_dict().items() if isinstance(value, Tensor)}
    reading = best_reading(ours, tensors, source)
    renamed = match_last_layer(ours, reading)
    tensors = reading.tensors
    adapted = _adapt_first_layer(network, ours, tensors)
    loaded = [name for name in ours if name in tensors and tensors[name].shape == ours[name].shape]
    other_shape = [
        (name, tuple(tensors[name].shape), tuple(ours[name].shape))
        for name in ours
        if name in tensors and name not in loaded
    ]
    # files older than torch 0.4.1 have no batch counters; inference does not use them
    has_no_counters = not any(name.endswith(BATCH_COUNTER) for name in tensors)
    missing = [
        name
        for name in ours
        if name not in tensors and not (has_no_counters and name.endswith(BATCH_COUNTER))
    ]
    unused = [name for name in tensors if name not in ours]
    if problem := _find_problem(ours, loaded, unused, reading, partial):
        raise _other_network(ours, loaded, reading, source, problem)
    with torch.no_grad():
        for name in loaded:
            ours[name].copy_(tensors[name])
    if reading.library:
        inner = {name: theirs.removeprefix(reading.prefix) for name, theirs in reading.file_names.items()}
        renamed = tuple((name, inner[name]) for name in loaded if inner[name] != name)
    return WeightsReport(
        source,
        reading.prefix,
        tuple(loaded),
        adapted,
        renamed,
        tuple(missing),
        tuple(other_shape),
        tuple(reading.file_names[name] for name in unused),
        reading.library,
    )


def _find_problem(
    ours: Mapping[str, Tensor], loaded: list[str], unused: list[str], reading: Reading, partial: bool
) -> str:
    """Return why a file is from another network; "" for the network's own.

    No weights fit; or, unless `partial`, a part of the network fits only in part, or most of the network or
    of the file is unused. A part is a module of the network, such as conv1 or layer3. The last layer does not
    count, nor do integers such as batch counters, nor tensors of the file without its prefix.

    Args:
        ours: the network's tensors by name.
        loaded: names of tensors that fit.
        unused: names of the file's tensors without a place in the network, as `reading` has them.
    """
    if not _has_weights(ours, loaded):
        return f"the file has {_first_three(reading.tensors)}; the network has {_first_three(ours)}"
    if partial:
        return ""
    head, body = last_layer(ours), body_names(ours)
    fits = [name for name in body if name in loaded]
    extra = [
        name
        for name in unused
        if reading.file_names[name].startswith(reading.prefix)
        and reading.tensors[name].is_floating_point()
        and not (head and name.startswith(head))  # layers that replace the last one
    ]
    filled = {_part(name) for name in fits}
    torn = {_part(name) for name in body if name not in fits and _part(name) in filled}
    torn |= {_part(name) for name in extra}.intersection(map(_part, body))
    if torn:
        return f"only in part: {', '.join(sorted(torn))}"
    if len(fits) < MIN_USED * len(body):
        return "most of the network would stay as initialized"
    return "most of the file would be unused" if len(fits) < MIN_USED * (len(fits) + len(extra)) else ""


def _other_network(
    ours: Mapping[str, Tensor], loaded: list[str], reading: Reading, source: str, problem: str
) -> WeightsError:
    likely = likely_network(reading.tensors)
    looks = f"it looks like {likely}: " if likely else ""
    do = f"name its network: {likely}" if likely else "check that the file belongs to this network"
    if not _has_weights(ours, loaded):
        return WeightsError(f"nothing in {source} fits this network", printable(looks + problem), do)
    counts = f"{len(loaded)} of its {len(reading.tensors)} tensors fit the network's {len(ours)}"
    return WeightsError(
        f"{source} is from another network",
        printable(f"{looks}{counts}; {problem}"),
        f"{do}; or load only what fits: train --partial, in Python load_pretrained(..., partial=True)",
    )


def _has_weights(ours: Mapping[str, Tensor], loaded: list[str]) -> bool:
    """Return True if a tensor of two or more dimensions was loaded, not only batch norms and biases."""
    return any(ours[name].dim() > 1 for name in loaded)


def _part(name: str) -> str:
    return name.partition(".")[0]


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


def _first_three(tensors: Mapping[str, Tensor]) -> str:
    shown = [f"{name} {tuple(tensor.shape)}" for name, tensor in list(tensors.items())[:3]]
    return ", ".join(shown) + (f" and {len(tensors) - 3} more" if len(tensors) > 3 else "")
