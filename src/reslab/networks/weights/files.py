"""Read .safetensors and .pth files, and download ImageNet weights. Nothing in a file is executed."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from reslab.errors import DownloadError, WeightsError
from reslab.text import printable
from reslab.untrusted import server_timeout

from .entries import WRAPPERS, entries, find_tensors
from .not_weights import START_BYTES, check_kind
from .pickled import NeedsCodeError, load_pickle

MAX_LISTED_ENTRIES = 8


def imagenet_url(name: str) -> str:
    """Return the URL of torchvision's default ImageNet weights of network `name`.

    Raises:
        WeightsError: torchvision has no weights of this name.
    """
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise WeightsError(
            f"there are no ImageNet weights for '{name}'",
            f"torchvision has weights for {len(known)} networks, under its own names",
            "take one of those, such as resnet18 or resnet50, or train from scratch, without weights",
        )
    return str(torchvision.models.get_model_weights(name).DEFAULT.url)


def fetch_imagenet(name: str) -> Path:
    """Return the path of torchvision's ImageNet weights of network `name` in torch's cache.

    If there is no such file yet, it is downloaded with a progress bar, and its hash is checked.

    Raises:
        WeightsError: torchvision has no weights of this name.
        DownloadError: the weights cannot be downloaded or stored, or their hash is wrong.
    """
    url = imagenet_url(name)
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    if os.path.exists(path):  # Path.exists raises where a parent folder is not readable
        return path
    by_hand = f"fetch it elsewhere and put it at {path}, or train from scratch, without weights"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with server_timeout():
            # torchvision's file names end in the first eight digits of the file's SHA-256
            torch.hub.download_url_to_file(url, str(path), hash_prefix=path.stem.rsplit("-", 1)[-1])
    except ConnectionError as error:
        raise DownloadError(f"{url} could not be fetched", str(error), by_hand) from error
    except RuntimeError as error:  # raised by torch if the hash does not match
        raise DownloadError(
            f"{url} did not arrive complete", f"its hash is wrong: {error}", f"try again, or {by_hand}"
        ) from error
    except OSError as error:
        raise DownloadError(
            f"{path} could not be written", str(error), "make room there, or set TORCH_HOME to another folder"
        ) from error
    return path


@dataclass(frozen=True)
class WeightsFile:
    """Tensors of a weights file.

    Attributes:
        source: path of the file, with its entry if one was chosen.
        tensors: by name, on the CPU and without gradients.
        entry: entry of the file that they are from, "" for the file itself.
        is_averaged: True if this is an entry of averaged weights.
        left_out: classes and functions that the file names. They were not run, and what they stand for was
            not read.
    """

    source: str
    tensors: Mapping[str, Tensor]
    entry: str = ""
    is_averaged: bool = False
    left_out: tuple[str, ...] = ()


def read_weights(weights: Path | str) -> WeightsFile:
    """Read the tensors of a .safetensors or .pth file. Nothing in it is executed.

    Wrappers such as {"state_dict": ...} are removed. Other entries are left out, and so are sparse and
    quantized tensors. Objects next to the tensors, such as the arguments of a training script, are replaced
    by empty ones.

    Args:
        weights: path of the file. After it "#model" chooses the entry `model`, "#model.encoder" an entry
            inside it, or the tensors whose names start with `encoder.`.

    Raises:
        WeightsError: the file is missing or not a weights file, needs code to be executed, has no tensor
            to return, or lacks the entry.
    """
    path, entry = split_entry(weights)
    if not os.path.isfile(path):
        raise WeightsError(
            f"there is no weights file {path}",
            _why_not_a_file(path),
            "give a .safetensors or .pth file, or 'imagenet'",
        )
    left_out: tuple[str, ...] = ()
    try:
        with path.open("rb") as file:
            start = file.read(START_BYTES)
            check_kind(path, start)
            if start[8:9] == b"{" or path.suffix == ".safetensors":
                content = _load_safetensors(path)
            else:
                content, left_out = load_pickle(file)
    except WeightsError:
        raise
    except NeedsCodeError as error:
        raise _needs_code(path, str(error)) from error
    except Exception as error:  # a damaged file raises many types
        reason = printable(next(iter(str(error).splitlines()), "")) or type(error).__name__
        raise WeightsError(
            f"{path} is not a weights file that can be read",
            f"it is empty, damaged, truncated or of another format ({reason[:300]})",
            "fetch or save it again as .safetensors, or with torch.save",
        ) from error
    found = find_tensors(content, entry)
    if found is not None:
        source = f"{path}#{entry}" if entry else str(path)
        return WeightsFile(source, found.tensors, found.entry, found.is_averaged, left_out)
    if listed := [printable(name) for name in entries(content)[:MAX_LISTED_ENTRIES]]:
        asked = f"no tensors in {printable(entry)}" if entry else "no tensors that can be chosen for you"
        why, do = f"it has tensors in {', '.join(listed)}", f"choose one: {path}#{listed[0]}"
        raise WeightsError(f"{path} holds {asked}", why, do)
    if left_out:
        raise _needs_code(path, ", ".join(left_out[:MAX_LISTED_ENTRIES]))
    raise WeightsError(
        f"{path} holds no tensors by name",
        f"they are expected at the top level or under {', '.join(WRAPPERS)}",
        "save the state dict: torch.save(network.state_dict(), path)",
    )


def split_entry(weights: Path | str) -> tuple[Path, str]:
    """Return the path of a weights file, and the entry after the last # unless a file has this name."""
    path, sign, entry = str(weights).rpartition("#")
    return (Path(weights), "") if not sign or os.path.exists(weights) else (Path(path), entry)


def _load_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(path)


def _needs_code(path: Path, name: str) -> WeightsError:
    return WeightsError(
        f"{path} was not loaded",
        f"it holds more than tensors ({printable(name)}), and loading that could execute code",
        "if you trust its source, load it there and save only the state dict: "
        "torch.save(network.state_dict(), path)",
    )


def _why_not_a_file(path: Path) -> str:
    try:
        return "it is a folder" if stat.S_ISDIR(os.stat(path).st_mode) else "it is not a regular file"
    except (FileNotFoundError, NotADirectoryError):
        return "nothing is there"
    except (OSError, ValueError) as error:  # a parent folder is not readable, or the name is invalid
        return f"it cannot be opened: {getattr(error, 'strerror', None) or error}"
