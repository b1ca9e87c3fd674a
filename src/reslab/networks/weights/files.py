"""A weights file by its name or its path, and the tensors in it.

Nothing in a file is ever executed: see tensor_table.py and saved_tensors.py.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reslab.errors import DownloadError, WeightsError
from reslab.text import printable
from reslab.untrusted import patient

from .safetensors_header import read_table
from .torch_pickle import HoldsCodeError, read_saved

WRAPPERS = ("state_dict", "model_state_dict", "model", "network", "net")


def imagenet_url(name: str) -> str:
    """Where torchvision keeps its default ImageNet weights of `name`. Raises WeightsError if it has none."""
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise WeightsError(
            f"there are no ImageNet weights for '{name}'",
            f"torchvision has some for {len(known)} networks, under its own names",
            "take one of those, such as resnet18 or resnet50, or train from scratch, without weights",
        )
    return str(torchvision.models.get_model_weights(name).DEFAULT.url)


def fetch_imagenet(name: str) -> Path:
    """torchvision's ImageNet weights, in torch's own cache; fetched once, with a bar and a checked hash.

    Raises WeightsError if torchvision has none of this name, DownloadError if they cannot be fetched.
    """
    url = imagenet_url(name)
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    if os.path.exists(path):  # not Path's own, which fails where a folder above is closed to us
        return path
    by_hand = f"fetch it elsewhere and put it at {path}, or train from scratch, without weights"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with patient():
            # torchvision's file names end in the first eight digits of the file's SHA-256
            torch.hub.download_url_to_file(url, str(path), hash_prefix=path.stem.rsplit("-", 1)[-1])
    except ConnectionError as error:
        raise DownloadError(f"{url} could not be fetched", str(error), by_hand) from error
    except RuntimeError as error:  # torch's word for a hash that does not match
        raise DownloadError(
            f"{url} did not arrive whole", f"its hash is wrong: {error}", f"try again, or {by_hand}"
        ) from error
    except OSError as error:
        raise DownloadError(
            f"{path} could not be written", str(error), "make room there, or set TORCH_HOME to another folder"
        ) from error
    return path


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors or .pth file by name, freed of wrappers such as {"state_dict": ...}.

    Raises WeightsError if the file is missing, is no weights file or would execute code.
    """
    if not os.path.isfile(path):
        raise WeightsError(
            f"there is no weights file {path}",
            _what_is_there(path),
            "give a .safetensors or .pth file, or 'imagenet'",
        )
    try:
        content = _read(path)
    except HoldsCodeError as error:
        raise WeightsError(
            f"{path} was not loaded",
            f"it holds more than tensors ({printable(str(error))}), and loading that could execute code",
            "where you trust its source, load it there and save only the state dict: "
            "torch.save(network.state_dict(), path)",
        ) from error
    except Exception as error:  # a damaged file raises a dozen types
        said = printable(str(error) if isinstance(error, ValueError | OSError) else type(error).__name__)
        raise WeightsError(
            f"{path} is no weights file that can be read",
            f"it is empty, damaged, cut short or of another kind ({said[:300]})",
            "fetch or save it again; known are .safetensors and what torch.save writes",
        ) from error
    content = _unwrap(content)
    entries = content.items() if isinstance(content, Mapping) else ()
    tensors = {
        name: tensor for name, tensor in entries if isinstance(name, str) and isinstance(tensor, Tensor)
    }
    if not tensors:
        raise WeightsError(
            f"{path} holds no tensors by name",
            f"looked at the top and under {', '.join(WRAPPERS)}",
            "save the state dict: torch.save(network.state_dict(), path)",
        )
    return tensors


def _what_is_there(path: Path) -> str:
    """In words, in the place of a file."""
    try:
        return "it is a folder" if stat.S_ISDIR(os.stat(path).st_mode) else "it is no file"
    except (FileNotFoundError, NotADirectoryError):
        return "nothing is there"
    except (OSError, ValueError) as error:  # a folder above is closed to us, or no file can have this name
        return f"it cannot be looked at: {getattr(error, 'strerror', None) or error}"


def _read(path: Path) -> Any:
    if path.suffix != ".safetensors":
        return read_saved(path)
    from safetensors.torch import load_file

    read_table(path)
    return load_file(path)


def _unwrap(content: Any) -> Any:
    for _ in range(4):  # a wrapper can hold itself
        inside = content if isinstance(content, Mapping) else {}
        found = [inside[name] for name in WRAPPERS if isinstance(inside.get(name), Mapping)]
        content = found[0] if found else content
    return content
