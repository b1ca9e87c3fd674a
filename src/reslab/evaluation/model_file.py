"""A Classifier as one .safetensors file: the weights, and a JSON header that says what they are.

Nothing in the file is executed. The header's key is "reslab"; any safetensors reader opens the weights.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, InstanceOf, ValidationError
from torch import Tensor, nn

from .. import files
from ..errors import ClassifierError, ReslabError
from ..networks.named import NetworkSpec
from ..photos.preprocess import Preprocess
from .classifier import Classifier

VERSION = 1
MODEL_NAME = "model.safetensors"


class Header(BaseModel):
    """What stands in the file beside the weights. Fields may be added, never renamed."""

    model_config = ConfigDict(frozen=True, extra="ignore", arbitrary_types_allowed=True)

    version: int
    network: NetworkSpec | None
    network_class: str
    # pydantic's own str refuses a folder name that is no UTF-8
    classes: tuple[InstanceOf[str], ...] = Field(min_length=1)
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
    if path.is_dir():
        path = path / MODEL_NAME
    if not path.is_file():
        in_run = path.name == MODEL_NAME and path.parent.is_dir()
        raise ClassifierError(
            f"there is no model {path}",
            "the folder is no run, or its first epoch is not done yet" if in_run else "",
            "give a run folder or a model file; `reslab runs` lists the runs",
        )
    header, tensors = _read(path)
    network = network if network is not None else _build(header, path).eval()
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
    return _parse(path, _metadata(path))


def _metadata(path: Path) -> str:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise ClassifierError(
            f"{path} is no model file", str(error), "give a model.safetensors that reslab wrote"
        ) from error
    if "reslab" not in metadata:
        raise ClassifierError(
            f"{path} has weights, but no header of reslab's",
            "so nothing says which network, classes and preprocessing they belong to",
            "train with `--weights` from it, or give a model.safetensors that reslab wrote",
        )
    return metadata["reslab"]


def _parse(path: Path, text: str) -> Header:
    try:
        content = json.loads(text)
        if (
            isinstance(content, dict)
            and isinstance(content.get("version"), int)
            and content["version"] > VERSION
        ):
            raise ClassifierError(
                f"{path} was written by a later reslab",
                f"its header has version {content['version']}, this one reads {VERSION}",
                "upgrade reslab",
            )
        return Header.model_validate(content)
    except (ValidationError, json.JSONDecodeError, RecursionError) as error:
        why = " ".join(str(error).split())[:300]
        raise ClassifierError(f"the header of {path} is damaged", why, "make the model file again") from error


def checksum(tensors: Mapping[str, Tensor], header: Mapping[str, Any] | None = None) -> str:
    """A digest of names, shapes, types and bytes, and of the header: a swapped class is no lesser damage."""
    digest = hashlib.blake2b(digest_size=16)
    said = {name: value for name, value in (header or {}).items() if name != "checksum"}
    digest.update(json.dumps(said, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _read(path: Path) -> tuple[Header, dict[str, Tensor]]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    text = _metadata(path)
    header = _parse(path, text)
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise ClassifierError(f"{path} cannot be read", str(error), "make the model file again") from error
    if checksum(tensors, json.loads(text)) != header.checksum:
        raise ClassifierError(
            f"{path} is not as it was written",
            "the checksum of its weights and header differs: the file was damaged or edited",
            "copy it again from where it came",
        )
    return header, tensors


def _build(header: Header, path: Path) -> nn.Module:
    if header.network is None:
        raise ClassifierError(
            f"{path} holds the weights of a network of somebody's own: {header.network_class}",
            "a model file holds no code",
            f"load it in Python: Classifier.load(path, network={header.network_class}(...))",
        )
    if header.network.num_classes != len(header.classes):
        raise ClassifierError(
            f"{path} names {len(header.classes)} classes for {header.network.num_classes} logits",
            "",
            "the file is damaged",
        )
    try:
        with torch.random.fork_rng(devices=[]):  # the fresh weights are overwritten: they cost no draws
            return header.network.build()
    except ReslabError as error:
        raise ClassifierError(
            f"the network in {path} cannot be built", error.what, "upgrade reslab"
        ) from error
