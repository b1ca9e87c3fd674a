"""A weights file by its name or its path, and the tensors in it.

Nothing in a file is ever executed: safetensors, or torch.load(weights_only=True).
"""

from __future__ import annotations

import http.client
import pickle
import re
import urllib.error
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import DownloadError, WeightsError

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
    if path.exists():
        return path
    by_hand = f"fetch it elsewhere and put it at {path}, or train from scratch, without weights"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # torchvision's file names end in the first eight digits of the file's SHA-256
        torch.hub.download_url_to_file(url, str(path), hash_prefix=path.stem.rsplit("-", 1)[-1])
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
        reason = str(error).strip("<>").removeprefix("urlopen error ")
        raise DownloadError(f"{url} could not be fetched", reason, by_hand) from error
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
    if not path.is_file():
        raise WeightsError(
            f"there is no weights file {path}",
            "it is a folder" if path.is_dir() else "nothing is there",
            "give a .safetensors or .pth file, or 'imagenet'",
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, about the kinds of file that are refused below
            content = _read(path)
    except Exception as error:  # both readers raise a dozen types for a damaged file
        raise _refusal(path, error) from error
    content = _unwrap(content)
    entries = content.items() if isinstance(content, Mapping) else ()
    tensors = {name: tensor for name, tensor in entries if isinstance(tensor, Tensor)}
    if not tensors:
        raise WeightsError(
            f"{path} holds no tensors by name",
            f"looked at the top and under {', '.join(WRAPPERS)}",
            "save the state dict: torch.save(network.state_dict(), path)",
        )
    return tensors


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _refusal(path: Path, error: Exception) -> WeightsError:
    """Our own words, because torch's recommend to load the file without the protection."""
    text = str(error)
    code = re.search(r"GLOBAL (\S+)|(TorchScript)", text)
    if code is not None:
        return WeightsError(
            f"{path} was not loaded",
            f"it holds more than tensors ({code[1] or code[2]}), and loading that could execute code",
            "where you trust its source, load it there and save only the state dict: "
            "torch.save(network.state_dict(), path)",
        )
    said = "" if isinstance(error, pickle.UnpicklingError) else re.split(r"\.\s|\n", text)[0]
    reason = type(error).__name__ + (f": {said}" if said else "")
    return WeightsError(
        f"{path} is no weights file that can be read",
        f"it is empty, damaged, cut short or of another kind ({reason})",
        "fetch or save it again; known are .safetensors and what torch.save writes",
    )


def _unwrap(content: Any) -> Any:
    if isinstance(content, Mapping):
        for wrapper in WRAPPERS:
            if isinstance(content.get(wrapper), Mapping):
                return _unwrap(content[wrapper])
    return content
