"""A Classifier as one .safetensors file: the weights, and a JSON header that says what they are.

Nothing in the file is executed. The header's key is "reslab"; any safetensors reader opens the weights.
"""

from __future__ import annotations

import hashlib
import json
import os
import reprlib
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, FailFast, Field, InstanceOf, ValidationError
from torch import Tensor, nn

from reslab import files
from reslab.errors import ClassifierError, ReslabError
from reslab.networks.registry import NetworkSpec
from reslab.networks.weights.safetensors_header import TensorTable, read_table
from reslab.photos.loading.preprocess import Preprocess
from reslab.text import printable
from reslab.untrusted import first_messages, read_json, validation_messages

from .classifier import Classifier
from .model_network import bare_network

VERSION = 1
MODEL_NAME = "model.safetensors"
LONGEST_FIELD = 10_000  # characters of what a network or a preprocessing says


class Header(BaseModel):
    """What stands in the file beside the weights. Fields may be added, never renamed."""

    model_config = ConfigDict(frozen=True, extra="ignore", arbitrary_types_allowed=True)

    version: int
    network: NetworkSpec | None
    network_class: str
    # pydantic's own str refuses a folder name that is no UTF-8
    classes: Annotated[tuple[InstanceOf[str], ...], FailFast()] = Field(min_length=1)
    preprocess: Preprocess
    temperature: float = Field(gt=0)
    figures: dict[str, Any]
    licence: str | None
    checksum: str


def save(classifier: Classifier, path: Path) -> None:
    """Writes the file, whole or not at all."""
    from safetensors.torch import save as to_bytes

    tensors = {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in classifier.network.state_dict().items()
    }
    header = Header(
        version=VERSION,
        network=classifier.spec,
        network_class=type(classifier.network).__name__,
        classes=classifier.classes,
        preprocess=classifier.preprocess,
        temperature=classifier.temperature,
        figures=dict(classifier.figures),
        licence=classifier.licence,
        checksum="",
    )
    content = json.loads(json.dumps(header.model_dump()))  # as a reader will see it: tuples are lists
    content["checksum"] = checksum(tensors, content)
    files.write(path, to_bytes(tensors, {"reslab": json.dumps(content)}))


def load(path: Path, network: nn.Module | None, device: str) -> Classifier:
    """Reads the file, or the best model of a run folder. Raises ClassifierError."""
    if os.path.isdir(path):  # not Path's own, which fails where a folder above is closed to us
        path = path / MODEL_NAME
    if not os.path.isfile(path):
        in_run = path.name == MODEL_NAME and os.path.isdir(path.parent)
        raise ClassifierError(
            f"there is no model {path}",
            "the folder is no run, or its first epoch is not done yet" if in_run else "",
            "give a run folder or a model file; `reslab runs` lists the runs",
        )
    header, table = _look(path)
    tensors = _read(path, header)
    if network is None:
        network = _build(header, table, path)
    _check_numbers(path, tensors, known=header.network is not None)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        why = " ".join(str(error).split())[:300]
        raise ClassifierError(
            f"the weights in {path} do not fit their network", why, "the file is damaged or made for another"
        ) from error
    return Classifier(
        network,
        header.classes,
        header.preprocess,
        header.network,
        header.temperature,
        header.figures,
        header.licence,
        device,
    )


def read_header(path: Path) -> Header:
    """What a model file says of itself. Raises ClassifierError."""
    return _look(path)[0]


def verified_header(path: Path) -> Header:
    """The same of a file that is as it was written, weights included. Raises ClassifierError."""
    header = _look(path)[0]
    _read(path, header)
    return header


def _look(path: Path) -> tuple[Header, TensorTable]:
    """The header and the sizes of all tensors, of which none was read yet."""
    try:
        table = read_table(path)
    except (OSError, ValueError) as error:
        raise ClassifierError(
            f"{path} is no model file", printable(str(error)), "give a model.safetensors that reslab wrote"
        ) from error
    if "reslab" not in table.metadata:
        raise ClassifierError(
            f"{path} has weights, but no header of reslab's",
            "so nothing says which network, classes and preprocessing they belong to",
            "train with `--weights` from it, or give a model.safetensors that reslab wrote",
        )
    return _parse(path, table.metadata["reslab"]), table


def _parse(path: Path, text: str) -> Header:
    again = "make the model file again"
    try:
        content = read_json(text)
        version = content.get("version") if isinstance(content, dict) else None
        if isinstance(version, int) and version > VERSION:
            raise ClassifierError(
                f"{path} was written by a later reslab",
                f"its header has version {reprlib.repr(version)}, this one reads {VERSION}",
                "upgrade reslab",
            )
        for name in ("network", "preprocess"):  # a complaint about each of a million fields would fill memory
            if isinstance(content, dict) and len(json.dumps(content.get(name))) > LONGEST_FIELD:
                raise ValueError(f"its {name} is far too long")
        header = Header.model_validate(content)
        json.dumps(header.figures)
    except RecursionError as error:
        raise ClassifierError(f"the header of {path} is damaged", "it is nested too deeply", again) from error
    except ValidationError as error:
        raise ClassifierError(
            f"the header of {path} is damaged", first_messages(validation_messages(error)), again
        ) from error
    except ValueError as error:
        raise ClassifierError(f"the header of {path} is damaged", printable(str(error)), again) from error
    if len(set(header.classes)) < len(header.classes):
        names = sorted(header.classes)
        twice = next(name for name, after in pairwise(names) if name == after)
        raise ClassifierError(
            f"the header of {path} is damaged", f"two classes are called {reprlib.repr(twice)}", again
        )
    return header


def checksum(tensors: Mapping[str, Tensor], header: Mapping[str, Any] | None = None) -> str:
    """A digest of names, shapes, types and bytes, and of the header: a swapped class is no lesser damage."""
    digest = hashlib.blake2b(digest_size=16)
    said = {name: value for name, value in (header or {}).items() if name != "checksum"}
    digest.update(json.dumps(said, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _read(path: Path, header: Header) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            said = (file.metadata() or {}).get("reslab", "")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:  # torch's own, if it cannot open
        raise ClassifierError(
            f"{path} cannot be read", printable(str(error)), "make the model file again"
        ) from error
    if checksum(tensors, json.loads(said)) != header.checksum:
        raise ClassifierError(
            f"{path} is not as it was written",
            "the checksum of its weights and header differs: the file was damaged or edited",
            "copy it again from where it came",
        )
    return tensors


def _check_numbers(path: Path, tensors: Mapping[str, Tensor], known: bool) -> None:
    """Raises ClassifierError for numbers that spoil every answer. A network of one's own may hold inf."""
    for name, tensor in tensors.items():
        fault = ""
        if tensor.is_floating_point() and not tensor.isfinite().all():
            fault = "NaN" if tensor.isnan().any() else "an infinite number" if known else ""
        elif name.endswith("running_var") and bool((tensor < 0).any()):
            fault = "a negative variance"
        if fault:
            raise ClassifierError(
                f"{path} holds {fault} in {printable(name)}",
                "no answer of such a network means anything; the training that made it diverged",
                "train again with a lower learning rate",
            )


def _build(header: Header, table: TensorTable, path: Path) -> nn.Module:
    """The network that the header names, empty; only if every tensor of the file fits it."""
    if header.network is None:
        own = printable(header.network_class)[:80]
        raise ClassifierError(
            f"{path} holds the weights of a network of somebody's own: {own}",
            "a model file holds no code",
            f"load it in Python: Classifier.load(path, network={own}(...))",
        )
    if header.network.num_classes != len(header.classes):
        raise ClassifierError(
            f"{path} names {len(header.classes)} classes for {header.network.num_classes} logits",
            "",
            "the file is damaged",
        )
    try:
        return bare_network(header.network, table)
    except ReslabError as error:
        raise ClassifierError(
            f"the network in {path} cannot be built", error.what, "upgrade reslab"
        ) from error
    except ValueError as error:
        raise ClassifierError(
            f"the weights in {path} do not fit their network",
            printable(str(error)),
            "the file is damaged or made for another",
        ) from error
