"""Model file: one .safetensors file with a classifier's weights and a JSON header.

Nothing in the file is executed. The header is the metadata "reslab"; any safetensors reader can open it.
"""

from __future__ import annotations

import hashlib
import json
import os
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, FailFast, Field, InstanceOf, ValidationError, field_validator
from torch import Tensor, nn

from reslab import files
from reslab.errors import ClassifierError
from reslab.networks.registry import NetworkSpec
from reslab.networks.user_code import MAX_SOURCE_CHARACTERS
from reslab.photos.loading.preprocess import Preprocess
from reslab.text import printable
from reslab.untrusted import first_messages, read_json, validation_messages

VERSION = 1
MODEL_NAME = "model.safetensors"
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.01, 100.0  # a calibration gives 0.05 to 20
MAX_WIDTH_MULT = 16.0  # as in a recipe
MAX_FIELD_CHARACTERS = 10_000  # of "network" without its code, and of "preprocess"


class Header(BaseModel):
    """JSON header of a model file. Fields may be added in later versions, never renamed.

    Attributes:
        version: of this format.
        network: how to build the network; None for a network of the user's own.
        network_class: its class name, for error messages.
        classes: unique class names, in the order of the logits; at least one.
        preprocess: from a photo to the network's input.
        temperature: divides the logits before the softmax; MIN_TEMPERATURE to MAX_TEMPERATURE.
        figures: measured when the classifier was trained.
        licence: of the training data; None if unknown.
        reject_below: photos whose best class has a lower probability are "not sure"; 0 for no threshold.
        checksum: of the weights and all other fields; "" before it is written.

    Raises:
        pydantic.ValidationError: a field is missing or invalid. Unknown fields are ignored.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", arbitrary_types_allowed=True)

    version: int = Field(default=VERSION, ge=0)
    network: NetworkSpec | None
    network_class: str
    # InstanceOf since pydantic's str refuses folder names that are not UTF-8
    classes: Annotated[tuple[InstanceOf[str], ...], FailFast()] = Field(min_length=1)
    preprocess: Preprocess
    temperature: float = Field(ge=MIN_TEMPERATURE, le=MAX_TEMPERATURE)
    figures: dict[str, Any]
    licence: str | None
    reject_below: float = Field(default=0.0, ge=0, le=1)
    checksum: str = ""

    @field_validator("network")
    @classmethod
    def _has_a_width(cls, network: NetworkSpec | None) -> NetworkSpec | None:
        if network is not None and not 0 < network.width_mult <= MAX_WIDTH_MULT:
            raise ValueError(f"width_mult: {network.width_mult} is not above 0 and up to {MAX_WIDTH_MULT}")
        return network

    @field_validator("classes")
    @classmethod
    def _are_unique(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        for name, following in pairwise(sorted(classes)):
            if name == following:
                raise ValueError(f"two classes are called {reprlib.repr(name)}")
        return classes


@dataclass(frozen=True)
class ModelFile:
    """Content of a model file: its header, and its state dict on the CPU."""

    header: Header
    tensors: Mapping[str, Tensor]


def save_model(path: Path, header: Header, network: nn.Module) -> None:
    """Write a model file with the network's state dict, completely or not at all.

    Args:
        path: file to write or replace.
        header: is not changed; the file's copy of it gets the checksum.
        network: on any device; it is not changed.

    Raises:
        OSError: the file cannot be written.
    """
    from safetensors.torch import save

    tensors = {
        name: tensor.detach().cpu().contiguous().clone() for name, tensor in network.state_dict().items()
    }
    content = json.loads(json.dumps(header.model_dump()))  # turns tuples into lists, as a reader gets them
    content["checksum"] = checksum(tensors, content)
    files.write(path, save(tensors, {"reslab": json.dumps(content)}))


def read_model(path: Path) -> ModelFile:
    """Read a model file, or the best model of a run folder, onto the CPU. No network is built.

    Args:
        path: a model file or a run folder.

    Raises:
        ClassifierError: the file is missing, damaged, changed, of another kind or from a later version; or
            weights are NaN, or infinite in a network of reslab's, or a variance is negative.
    """
    from safetensors import SafetensorError, safe_open

    path = find_model(path)
    try:
        # safe_open calls a file without read permission missing, open does not
        with open(path, "rb"), safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            header = _parse_header(path, metadata)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        why, do = error.strerror or str(error), "check its permissions and its disk, and try again"
        raise ClassifierError(f"{path} cannot be read", why, do) from error
    except (SafetensorError, RuntimeError) as error:
        raise ClassifierError(
            f"{path} is not a model file", printable(str(error)), "give a model.safetensors that reslab wrote"
        ) from error
    if checksum(tensors, json.loads(metadata["reslab"])) != header.checksum:
        raise ClassifierError(
            f"{path} was changed after it was written",
            "the checksum of its weights and header differs: the file was damaged or edited",
            "copy it again from its source",
        )
    is_own = header.network is None or header.network.code is not None
    _check_numbers(path, tensors, allow_infinite=is_own)
    return ModelFile(header, tensors)


def find_model(path: Path) -> Path:
    """Return the path of a model file: `path` itself, or the best model in a run folder.

    Raises:
        ClassifierError: there is no such file.
    """
    if os.path.isdir(path):  # Path.is_dir raises where a parent folder is not readable
        path = path / MODEL_NAME
    if not os.path.isfile(path):
        in_folder = path.name == MODEL_NAME and os.path.isdir(path.parent)
        raise ClassifierError(
            f"there is no model {path}",
            "the folder is not a run, or its first epoch is not finished yet" if in_folder else "",
            "give a run folder or a model file; `reslab runs` lists the runs",
        )
    return path


def checksum(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> str:
    """Return 32 hexadecimal digits: a digest of the tensors and of the header.

    Args:
        tensors: contiguous tensors on the CPU. Names, shapes, dtypes and bytes count, their order does not.
        header: JSON values; its entry "checksum" does not count.
    """
    digest = hashlib.blake2b(digest_size=16)
    content = {name: value for name, value in header.items() if name != "checksum"}
    digest.update(json.dumps(content, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _parse_header(path: Path, metadata: Mapping[str, str]) -> Header:
    if "reslab" not in metadata:
        raise ClassifierError(
            f"{path} has weights, but no reslab header",
            "so its network, classes and preprocessing are unknown",
            "train with `--weights` from it, or give a model.safetensors that reslab wrote",
        )
    try:
        content = read_json(metadata["reslab"])
        version = content.get("version") if isinstance(content, dict) else None
        if isinstance(version, int) and version > VERSION:
            raise ClassifierError(
                f"{path} was written by a later reslab",
                f"its header has version {reprlib.repr(version)}, this reslab reads up to {VERSION}",
                "upgrade reslab",
            )
        for name in ("network", "preprocess"):  # a message for each of a million fields would fill memory
            field = content.get(name) if isinstance(content, dict) else None
            if isinstance(field, dict):
                code = field.get("code")
                if len(json.dumps(code)) > MAX_FIELD_CHARACTERS + MAX_SOURCE_CHARACTERS:
                    raise ValueError(f"code has more than {MAX_SOURCE_CHARACTERS:,} characters")
                field = {key: value for key, value in field.items() if key != "code"}
            if len(json.dumps(field)) > MAX_FIELD_CHARACTERS:
                raise ValueError(f"{name} has more than {MAX_FIELD_CHARACTERS:,} characters")
        return Header.model_validate(content)
    except (ValueError, RecursionError) as error:
        messages = (
            validation_messages(error) if isinstance(error, ValidationError) else [printable(str(error))]
        )
        raise ClassifierError(
            f"the header of {path} is damaged", first_messages(messages), "create the model file again"
        ) from error


def _check_numbers(path: Path, tensors: Mapping[str, Tensor], allow_infinite: bool) -> None:
    """Raise ClassifierError for weights that make every prediction NaN: NaN, inf or a negative variance.

    Args:
        path: of the file, for the message.
        tensors: state dict.
        allow_infinite: accept inf, which a network of the user's own may hold.
    """
    for name, tensor in tensors.items():
        problem = ""
        if tensor.is_floating_point() and not tensor.isfinite().all():
            problem = "NaN" if tensor.isnan().any() else "" if allow_infinite else "an infinite number"
        elif name.endswith("running_var") and bool((tensor < 0).any()):
            problem = "a negative variance"
        if problem:
            raise ClassifierError(
                f"{path} holds {problem} in {printable(name)}",
                "its predictions would be meaningless; the training diverged",
                "train again with a lower learning rate",
            )
