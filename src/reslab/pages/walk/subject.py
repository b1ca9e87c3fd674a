"""Model given to `walk`: its network with preprocessing, class names and a note on its weights."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from reslab.errors import UsageError
from reslab.evaluation.classifier import Classifier
from reslab.files import user_path
from reslab.networks.from_text import BLOCK_CLASSES, network_from_text, parse_name
from reslab.networks.input_channels import check_photo_channels
from reslab.networks.usual_input import usual_input
from reslab.networks.weights.load import load_pretrained
from reslab.networks.weights.report import WeightsReport
from reslab.photos.loading.preprocess import GREY_MEAN, GREY_STD, IMAGENET_MEAN, IMAGENET_STD, Preprocess
from reslab.randomness import torch_seeded


@dataclass(frozen=True, eq=False)
class Subject:
    """A network ready for a photo.

    Args:
        name: shown on the page.
        network: the network, in any mode.
        preprocess: preprocessing of the photo.
        classes: names of the classes; () if they are unknown.
        temperature: the logits are divided by it; 1 without a calibration.
        weights: sentences for the page on where the weights come from.
        meaningful: all weights are given or loaded, so the logits can be read; False if some are random.
    """

    name: str
    network: nn.Module
    preprocess: Preprocess
    classes: tuple[str, ...]
    temperature: float
    weights: str
    meaningful: bool


def load_subject(
    model: Classifier | nn.Module | Path | str,
    weights: str | Path | None,
    preprocess: Preprocess | None,
    network: nn.Module | str | None = None,
) -> Subject:
    """Load what `walk` is given: a classifier, a module, a run folder, a model file or a network's name.

    Args:
        weights: only for a network's name: "imagenet", or a .safetensors or .pth file; None: random weights.
        preprocess: not for a classifier, run or model file; None: as for ImageNet, at the network's usual
            size.
        network: only for a run or a model file, as `reslab.load` takes it.

    Raises:
        UsageError: the arguments do not fit each other.
        ClassifierError: the model file cannot be read.
        NetworkError: the network is unknown or takes no photos.
        WeightsError: the weights cannot be read or do not fit.
        DownloadError: the ImageNet weights cannot be downloaded.
    """
    if isinstance(model, str | Path):
        path = user_path(model)
        if os.path.isdir(path) or path.suffix == ".safetensors":
            model, network = Classifier.load(path, network=network, device="cpu"), None
        elif os.path.isfile(path) and path.suffix != ".py":
            raise UsageError(
                f"{path} is not a model file of reslab",
                "a file of weights does not name its network",
                f"name the network: reslab walk resnet18 PHOTO --weights {path}",
            )
        elif network is None:
            return _from_name(str(model), weights, preprocess)
    if network is not None:
        raise UsageError("network for a model that is not a file", "it has its own", "leave network out")
    if weights is not None:
        raise UsageError("weights for a model that has its own", "", "omit --weights")
    if isinstance(model, Classifier):
        return _from_classifier(model, preprocess)
    module: Any = getattr(model, "_orig_mod", model)  # torch.compile wraps the network
    channels, side, _ = usual_input(module)
    return Subject(
        name=type(module).__name__,
        network=module,
        preprocess=preprocess or _default_preprocess(channels, side),
        classes=(),
        temperature=1.0,
        weights="The weights are the network's own. Its classes have no names, only numbers.",
        meaningful=True,
    )


def _from_classifier(classifier: Classifier, preprocess: Preprocess | None) -> Subject:
    if preprocess is not None:
        raise UsageError("preprocess for a classifier", "it has its own", "omit preprocess")
    return Subject(
        name=classifier.spec.name if classifier.spec else type(classifier.network).__name__,
        network=classifier.network,
        preprocess=classifier.preprocess,
        classes=classifier.classes,
        temperature=classifier.temperature,
        weights=f"A trained classifier of {len(classifier.classes)} classes, with its own preprocessing.",
        meaningful=True,
    )


def _from_name(text: str, weights: str | Path | None, preprocess: Preprocess | None) -> Subject:
    if text.partition(":")[0] in BLOCK_CLASSES:
        raise UsageError(f"{text} is a single block", "a photo needs a whole network", f"reslab show {text}")
    with torch_seeded(0, "walk"):  # the same page every time
        named = network_from_text(text)
    classes: tuple[str, ...] = ()
    default = _default_preprocess(named.input_shape[0], named.input_shape[1])
    note, meaningful = "The weights are random: the network is untrained, and its logits mean nothing.", False
    if weights is not None:
        name = parse_name(text).pretrained
        report = load_pretrained(named.network, name, weights)
        if str(weights) == "imagenet":
            classes, default = _imagenet(name)
        note, meaningful = _weights_note(report, Path(weights).name, bool(classes)), report.complete
    return Subject(text, named.network, preprocess or default, classes, 1.0, note, meaningful)


def _weights_note(report: WeightsReport, name: str, has_classes: bool) -> str:
    names = "The classes are ImageNet's." if has_classes else "The file does not name its classes."
    if report.complete:
        return f"Weights: {name}, complete. {names}"
    random = [*report.missing, *(tensor for tensor, _, _ in report.other_shape)]
    parts = ", ".join(dict.fromkeys(tensor.partition(".")[0] for tensor in random))
    return (
        f"Weights: {name}, without {parts}. There the weights are random, so all later layers and the logits "
        f"mean nothing. {names}"
    )


def _imagenet(name: str) -> tuple[tuple[str, ...], Preprocess]:
    """Return the class names and the preprocessing of torchvision's default weights of network `name`."""
    import torchvision

    default = torchvision.models.get_model_weights(name).DEFAULT
    transforms = default.transforms()
    settings = {
        "size": transforms.crop_size[0],
        "resize": transforms.resize_size[0],
        "mean": transforms.mean,
        "std": transforms.std,
    }
    return tuple(default.meta["categories"]), Preprocess.model_validate(settings)


def _default_preprocess(channels: int, side: int) -> Preprocess:
    """Return a preprocessing to a center crop of `side` pixels. From 64 on it resizes to 8/7 of it before.

    Raises:
        NetworkError: `channels` is not 1 or 3.
    """
    channels = check_photo_channels(channels)
    mean, std = (IMAGENET_MEAN, IMAGENET_STD) if channels == 3 else (GREY_MEAN, GREY_STD)
    resize = side if side < 64 else round(side * 8 / 7)
    settings = {"size": side, "resize": resize, "channels": channels, "mean": mean, "std": std}
    return Preprocess.model_validate(settings)
