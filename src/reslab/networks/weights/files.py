"""Read .safetensors and .pth files, and download ImageNet weights. Nothing in a file is executed."""

from __future__ import annotations

import os
import pickle
import re
import stat
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from reslab.errors import DownloadError, WeightsError
from reslab.text import printable
from reslab.untrusted import server_timeout

WRAPPERS = ("state_dict", "model_state_dict", "model", "network", "net")


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


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a .safetensors or .pth file by name, on the CPU and without gradients.

    Wrappers such as {"state_dict": ...} are removed. Other entries are left out, and so are sparse and
    quantized tensors.

    Raises:
        WeightsError: the file is missing or not a weights file, needs code to be executed, or has no tensor
            to return.
    """
    from safetensors.torch import load_file

    if not os.path.isfile(path):
        raise WeightsError(
            f"there is no weights file {path}",
            _why_not_a_file(path),
            "give a .safetensors or .pth file, or 'imagenet'",
        )
    try:
        with path.open("rb"):  # load_file calls a file without read permission missing
            content = load_file(path) if path.suffix == ".safetensors" else _load_pth(path)
    except _NeedsCodeError as error:
        raise WeightsError(
            f"{path} was not loaded",
            f"it holds more than tensors ({printable(str(error))}), and loading that could execute code",
            "if you trust its source, load it there and save only the state dict: "
            "torch.save(network.state_dict(), path)",
        ) from error
    except Exception as error:  # a damaged file raises many types
        reason = printable(next(iter(str(error).splitlines()), "")) or type(error).__name__
        raise WeightsError(
            f"{path} is not a weights file that can be read",
            f"it is empty, damaged, truncated or of another format ({reason[:300]})",
            "fetch or save it again as .safetensors, or with torch.save",
        ) from error
    content = _unwrap(content)
    entries = content.items() if isinstance(content, Mapping) else ()
    tensors = {name: value.detach() for name, value in entries if isinstance(name, str) and _is_dense(value)}
    if not tensors:
        raise WeightsError(
            f"{path} holds no tensors by name",
            f"they are expected at the top level or under {', '.join(WRAPPERS)}",
            "save the state dict: torch.save(network.state_dict(), path)",
        )
    return tensors


def _why_not_a_file(path: Path) -> str:
    try:
        return "it is a folder" if stat.S_ISDIR(os.stat(path).st_mode) else "it is not a regular file"
    except (FileNotFoundError, NotADirectoryError):
        return "nothing is there"
    except (OSError, ValueError) as error:  # a parent folder is not readable, or the name is invalid
        return f"it cannot be opened: {getattr(error, 'strerror', None) or error}"


class _NeedsCodeError(Exception):
    """A .pth file names a class or function that torch does not load; the argument is its name."""


def _load_pth(path: Path) -> Any:
    # not mapped into memory: torch would take compressed bytes for tensors, and the name has to be UTF-8
    with path.open("rb") as file, warnings.catch_warnings(action="ignore"):
        if file.read(4) == b"PK\3\4":  # otherwise the format before torch 1.6
            _check_archive(file)
        file.seek(0)
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, LookupError) as error:
            if wanted := re.search(r"GLOBAL (\S+)", str(error)):
                raise _NeedsCodeError(wanted[1]) from error
            raise ValueError("it is not a pickle of tensors") from error


def _check_archive(file: IO[bytes]) -> None:
    with zipfile.ZipFile(file) as archive:
        if any(name.endswith("/constants.pkl") for name in archive.namelist()):
            raise _NeedsCodeError("TorchScript")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise ValueError("it is compressed, unlike the files of torch.save")
        if damaged := archive.testzip():  # torch does not compare checksums
            raise ValueError(f"the checksum of {damaged} is wrong")


def _unwrap(content: Any) -> Any:
    for _ in range(4):  # a wrapper can contain itself
        inside = content if isinstance(content, Mapping) else {}
        found = [inside[name] for name in WRAPPERS if isinstance(inside.get(name), Mapping)]
        content = found[0] if found else content
    return content


def _is_dense(value: Any) -> bool:
    return (
        isinstance(value, Tensor)
        and value.device.type == "cpu"
        and value.layout == torch.strided
        and not value.is_quantized
    )
