"""Weights into a network: pretrained by name, from a file, whole, partial or foreign, and a report of it.

Nothing in a file is ever executed: safetensors, or torch.load(weights_only=True).
"""

from __future__ import annotations

import pickle
import urllib.error
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import DownloadError, WeightsError, nearest

WRAPPERS = ("state_dict", "model_state_dict", "model", "network", "net")
PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.")


@dataclass(frozen=True)
class WeightsReport:
    """What became of every tensor. Shapes: (in the file, in the network)."""

    source: str
    loaded: tuple[str, ...]
    adapted: tuple[str, ...]
    renamed: tuple[tuple[str, str], ...]
    missing: tuple[str, ...]
    other_shape: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]
    unused: tuple[str, ...]

    @property
    def complete(self) -> bool:
        return not self.missing and not self.other_shape

    def __str__(self) -> str:
        total = len(self.loaded) + len(self.missing) + len(self.other_shape)
        lines = [f"{self.source}: {len(self.loaded)} of {total} tensors loaded"]
        if self.adapted:
            lines.append(f"  adapted to the number of input channels: {', '.join(self.adapted)}")
        for ours, theirs in self.renamed:
            lines.append(f"  '{theirs}' in the file was taken for '{ours}' (same place, same shape)")
        if self.missing:
            lines.append(f"  not in the file, left as initialised: {_by_module(self.missing)}")
        for name, theirs_shape, ours_shape in self.other_shape:
            lines.append(
                f"  another shape, left as initialised: {name}, file {theirs_shape}, network {ours_shape}"
            )
        if self.unused:
            lines.append(f"  in the file, but of no use here: {_by_module(self.unused)}")
        return "\n".join(lines)

    def table(self) -> str:
        """One line per tensor, in the network's order of business: loaded, adapted, missing, other shape."""
        source = {ours: f"loaded from {theirs}" for ours, theirs in self.renamed}
        rows = [
            (name, "adapted" if name in self.adapted else source.get(name, "loaded")) for name in self.loaded
        ]
        rows += [(name, "missing: left as initialised") for name in self.missing]
        rows += [(name, f"other shape: file {a}, network {b}") for name, a, b in self.other_shape]
        rows += [(name, "unused") for name in self.unused]
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:{width}}  {fate}" for name, fate in rows)


def load_pretrained(network: nn.Module, name: str, weights: str | Path) -> WeightsReport:
    """Loads `weights`, "imagenet" or a file, into `network`, whose name in torchvision is `name`.

    Raises WeightsError for a file that cannot be read or of which nothing fits, DownloadError offline.
    """
    path = fetch_imagenet(name) if str(weights) == "imagenet" else Path(weights)
    return load_into(network, read_weights(path), str(path))


def imagenet_url(name: str) -> str:
    """Where torchvision keeps its default ImageNet weights of `name`. Raises WeightsError if it has none."""
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise WeightsError(
            f"there are no ImageNet weights for '{name}'",
            f"torchvision has some for {len(known)} networks, under its own names",
            nearest(name, ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")),
        )
    return str(torchvision.models.get_model_weights(name).DEFAULT.url)


def fetch_imagenet(name: str) -> Path:
    """torchvision's ImageNet weights, in torch's own cache; fetched once, with a bar and a checked hash."""
    url = imagenet_url(name)
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    if path.exists():
        return path
    by_hand = f"fetch it elsewhere and put it at {path}, or train from scratch without --weights"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # torchvision's file names end in the first eight digits of the file's SHA-256
        torch.hub.download_url_to_file(url, str(path), hash_prefix=path.stem.rsplit("-", 1)[-1])
    except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
        raise DownloadError(f"{url} could not be fetched", str(error), by_hand) from error
    except RuntimeError as error:  # torch's word for a hash that does not match
        raise DownloadError(f"{url} did not arrive whole", str(error), f"try again, or {by_hand}") from error
    except OSError as error:
        raise DownloadError(
            f"{path} could not be written", str(error), "make room there, or set TORCH_HOME"
        ) from error
    return path


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors or .pth file by name, freed of wrappers and prefixes.

    Raises WeightsError if the file is missing, is no weights file or would execute code.
    """
    if not path.is_file():
        raise WeightsError(
            f"there is no weights file {path}", "", "give a .safetensors or .pth file, or 'imagenet'"
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        why = str(error).splitlines()[0]
        raise WeightsError(
            f"{path} was not loaded",
            f"it is damaged, or holds more than tensors, and loading that could execute code: {why}",
            "save only the state dict: torch.save(network.state_dict(), path)",
        ) from error
    except Exception as error:  # noqa: BLE001  both readers raise a dozen types for a damaged file
        why = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no details'}"
        raise WeightsError(f"{path} is no weights file that can be read", why, "check the file") from error
    return _unwrap(content, path)


def _unwrap(content: Any, path: Path) -> dict[str, Tensor]:
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    tensors = (
        {k: v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, Mapping) else {}
    )
    if not tensors:
        raise WeightsError(
            f"{path} holds no tensors by name",
            f"looked at the top and under {', '.join(WRAPPERS)}",
            "save the state dict: torch.save(network.state_dict(), path)",
        )
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def load_into(network: nn.Module, tensors: Mapping[str, Tensor], source: str = "weights") -> WeightsReport:
    """Copies what fits into `network` and reports on every tensor. What does not fit stays as initialised.

    Raises WeightsError if not one tensor with weights fits: then it is a file for another network.
    """
    tensors = dict(tensors)
    ours = network.state_dict()
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
    missing = [name for name in ours if name not in tensors and not name.endswith("num_batches_tracked")]
    unused = [name for name in tensors if name not in ours]
    return WeightsReport(
        source, tuple(loaded), adapted, renamed, tuple(missing), tuple(other_shape), tuple(unused)
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


def _adapt_first_layer(
    network: nn.Module, ours: Mapping[str, Tensor], tensors: dict[str, Tensor]
) -> tuple[str, ...]:
    first = next((name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)), None)
    name = f"{first}.weight"
    if first is None or name not in tensors:
        return ()
    theirs, shape = tensors[name], ours[name].shape
    same_but_for_channels = (
        theirs.dim() == 4 and theirs.shape[0] == shape[0] and theirs.shape[2:] == shape[2:]
    )
    if not same_but_for_channels or theirs.shape == shape:
        return ()
    tensors[name] = adapt_input_channels(theirs, shape[1])
    return (name,)


def _match_head(ours: Mapping[str, Tensor], tensors: dict[str, Tensor]) -> tuple[tuple[str, str], ...]:
    """Gives the file's last matrix the name of ours, if the names differ and the place and shape agree."""
    matrices = [name for name, tensor in ours.items() if tensor.dim() == 2]
    theirs = [name for name, tensor in tensors.items() if tensor.dim() == 2]
    if not matrices or not theirs or matrices[-1] in tensors or theirs[-1] in ours:
        return ()
    renamed = []
    for kind in ("weight", "bias"):
        new, old = (f"{name.rpartition('.')[0]}.{kind}" for name in (matrices[-1], theirs[-1]))
        if new in ours and old in tensors and tensors[old].shape == ours[new].shape:
            tensors[new] = tensors.pop(old)
            renamed.append((new, old))
    return tuple(renamed)


def _some(names: Mapping[str, Tensor]) -> str:
    shown = [f"{name} {tuple(tensor.shape)}" for name, tensor in list(names.items())[:3]]
    return ", ".join(shown) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _by_module(names: tuple[str, ...]) -> str:
    counts: dict[str, int] = {}
    for name in names:
        top = name.split(".")[0]
        counts[top] = counts.get(top, 0) + 1
    return ", ".join(f"{top} ({count} tensor{'s' * (count > 1)})" for top, count in counts.items())
