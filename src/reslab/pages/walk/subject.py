"""What `walk` is given, as a network with preprocessing, class names and a word on its weights."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from reslab.errors import NetworkError, UsageError
from reslab.evaluation.classifier import Classifier
from reslab.files import user_path
from reslab.networks.from_text import CLASSES, build_named
from reslab.networks.input_channels import input_channels
from reslab.networks.registry import short_name
from reslab.networks.resnet import ResNet
from reslab.networks.weights.load import WeightsReport, load_pretrained
from reslab.photos.loading.preprocess import GREY_MEAN, GREY_STD, IMAGENET_MEAN, IMAGENET_STD, Preprocess
from reslab.randomness import torch_seeded

RANDOM = "The weights are random: this network has learned nothing, and its logits mean nothing."


@dataclass(frozen=True, eq=False)
class Subject:
    """A network that can be shown a photo. `classes` is empty where nothing names them.

    `meaningful` says whether the logits stand for anything, `weights` where they come from, in sentences.
    """

    name: str
    network: nn.Module
    preprocess: Preprocess
    classes: tuple[str, ...]
    temperature: float
    weights: str
    meaningful: bool


def subject_of(
    model: Classifier | nn.Module | Path | str, weights: str | Path | None, preprocess: Preprocess | None
) -> Subject:
    """A Classifier, a module, or what names one: a run folder, a model file, a network's name.

    Raises UsageError, ClassifierError, NetworkError, WeightsError.
    """
    if isinstance(model, str | Path):
        # os.path and not Path, which fails for ~nobody, a name too long, a folder that is closed to us
        path = user_path(model)
        if os.path.isdir(path) or path.suffix == ".safetensors":
            model = Classifier.load(path, device="cpu")
        elif os.path.isfile(path) and path.suffix != ".py":
            raise UsageError(
                f"{path} is no model file of reslab's",
                "weights alone do not say which network they belong to",
                f"name the network, and the file with --weights: reslab walk resnet18 PHOTO --weights {path}",
            )
        else:
            return _named(str(model), weights, preprocess)
    if weights is not None:
        raise UsageError("weights for a network that has its own", "", "leave --weights out")
    if isinstance(model, Classifier):
        return _classifier(model, preprocess)
    network: Any = getattr(model, "_orig_mod", model)  # torch.compile wraps
    usual = preprocess or _preprocess(input_channels(network), _side(network))
    said = "The weights are the network's own; nothing names its classes, so they have numbers."
    return Subject(type(network).__name__, network, usual, (), 1.0, said, meaningful=True)


def _classifier(classifier: Classifier, preprocess: Preprocess | None) -> Subject:
    if preprocess is not None:
        raise UsageError("preprocess with a classifier", "it has its own", "leave preprocess out")
    name = classifier.spec.name if classifier.spec else type(classifier.network).__name__
    return Subject(
        name,
        classifier.network,
        classifier.preprocess,
        classifier.classes,
        classifier.temperature,
        f"A trained classifier of {len(classifier.classes)} classes, with its own preprocessing.",
        meaningful=True,
    )


def _named(text: str, weights: str | Path | None, preprocess: Preprocess | None) -> Subject:
    if text.partition(":")[0] in CLASSES:
        raise UsageError(f"{text} is a block alone", "a photo needs a whole network", f"reslab show {text}")
    with torch_seeded(0, "walk"):  # the same page each time
        named = build_named(text, device="cpu")
    name = short_name(text).partition(":")[0]
    name = "resnet18" if name.endswith(".py") else name  # where a block from a file goes
    classes: tuple[str, ...] = ()
    usual = _preprocess(named.input[0], named.input[1])
    if weights is None:
        return Subject(text, named.network, preprocess or usual, (), 1.0, RANDOM, meaningful=False)
    report = load_pretrained(named.network, name, weights)
    if str(weights) == "imagenet":
        classes, usual = _imagenet(name)
    said = _said(report, Path(weights).name, bool(classes))
    return Subject(text, named.network, preprocess or usual, classes, 1.0, said, meaningful=report.complete)


def _said(report: WeightsReport, name: str, labelled: bool) -> str:
    fresh = [*report.missing, *(tensor for tensor, _, _ in report.other_shape)]
    names = " The classes are ImageNet's." if labelled else " The file does not name its classes."
    if not fresh:
        return f"Weights: {name}, all of them.{names}"
    parts = ", ".join(dict.fromkeys(tensor.partition(".")[0] for tensor in fresh))
    return (
        f"Weights: {name}, which has none for {parts}: there they are random, what comes after works on "
        f"noise, and the logits mean nothing.{names}"
    )


def _imagenet(name: str) -> tuple[tuple[str, ...], Preprocess]:
    """Class names and preprocessing of torchvision's default weights."""
    import torchvision

    default = torchvision.models.get_model_weights(name).DEFAULT
    look = default.transforms()
    size, resize = look.crop_size[0], look.resize_size[0]
    asked = {"size": size, "resize": resize, "mean": look.mean, "std": look.std}
    return tuple(default.meta["categories"]), Preprocess.model_validate(asked)


def _side(network: nn.Module) -> int:
    return 32 if isinstance(network, ResNet) and max(network.conv1.stride) == 1 else 224


def _preprocess(channels: int, side: int) -> Preprocess:
    if channels not in (1, 3):
        raise NetworkError(
            f"the network takes {channels} channels", "a photo has 3, or 1 if it is grey", "take another one"
        )
    mean, std = (IMAGENET_MEAN, IMAGENET_STD) if channels == 3 else (GREY_MEAN, GREY_STD)
    resize = side if side < 64 else round(side * 8 / 7)
    asked = {"size": side, "resize": resize, "channels": channels, "mean": mean, "std": std}
    return Preprocess.model_validate(asked)
