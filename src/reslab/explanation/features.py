"""Features of photos: the input of a network's last layer, one row per photo."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from reslab.errors import ClassifierError
from reslab.evaluation.classifier import Classifier
from reslab.evaluation.inference import (
    Photo,
    batch_size_for,
    decode_ahead,
    evaluating,
    stack,
    without_errors,
)
from reslab.hardware import catch_out_of_memory, choose_device


def pooled_features(network: nn.Module, images: Tensor) -> Tensor:
    """Return the input of the network's last layer for each image: (N, D), float32 on the CPU.

    The last layer is the last one to be called that owns a weight of two or more dimensions: the linear layer
    of a ResNet, or the last convolution of a network that pools logits. Maps and tokens are averaged, so that
    one row remains per image. The network computes in eval mode; its modes and hooks are as before.

    Args:
        network: any module; images (N, C, H, W) -> logits (N, num_classes).
        images: (N, C, H, W), normalized, on the network's device.

    Raises:
        ClassifierError: no layer inside the network owns such a weight, or its input is not one per image.
    """
    last: list[tuple[nn.Module, Tensor]] = []

    def keep(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        last[:] = [(module, tensors[0])] if tensors else last

    inside = [module for module in network.modules() if module is not network]
    layers = [m for m in inside if any(p.dim() > 1 for p in m.parameters(recurse=False))]
    hooks = [layer.register_forward_pre_hook(keep, with_kwargs=True) for layer in layers]
    try:
        with evaluating(network):
            network(images)
    finally:
        for hook in hooks:
            hook.remove()
    if not last:
        raise ClassifierError(
            f"{type(network).__name__} has no features",
            "no layer inside it owns a weight of two or more dimensions",
            "end the network with a layer of its own, such as torch.nn.Linear",
        )
    layer, values = last[0]
    if values.dim() < 2 or len(values) != len(images):
        raise ClassifierError(
            f"the last layer of {type(network).__name__} gives no features",
            f"its input has shape {tuple(values.shape)} for {len(images)} images",
            "give it one row per image",
        )
    return _pool(values, channels_first=isinstance(layer, _ConvNd)).float().cpu()


def _pool(values: Tensor, *, channels_first: bool) -> Tensor:
    """Average maps (N, D, H, W), or with the channels last tokens (N, T, D), over all places: (N, D)."""
    places = tuple(range(2, values.dim())) if channels_first else tuple(range(1, values.dim() - 1))
    return values.mean(places) if places else values.clone()


def photo_features(
    classifier: Classifier, photos: Sequence[Photo], progress: bool = False
) -> NDArray[np.float32]:
    """Return the features of photos, see `pooled_features`: (N, D) float32.

    Args:
        classifier: its preprocessing is used as for predictions.
        photos: N paths, or contents of files as bytes. All cores decode them.
        progress: True shows a bar on standard error if this is a terminal, or in a notebook.

    Returns:
        A row per photo, in order; NaN for a photo that cannot be read. (N, 0) if none can be read.

    Raises:
        ClassifierError: the network has no features, or there is not enough memory.
    """
    from tqdm.auto import tqdm

    rows: NDArray[np.float32] | None = None  # (N, D)
    batches = decode_ahead(photos, classifier.preprocess, batch_size_for(classifier.preprocess.size))
    start, disable = 0, None if progress else True
    with tqdm(total=len(photos), desc="features", unit=" photos", leave=False, disable=disable) as bar:
        for decoded in batches:
            if images := without_errors(decoded):
                features = _batch_features(classifier, stack(images))  # (images, D)
                if rows is None:
                    rows = np.full((len(photos), features.shape[1]), np.nan, np.float32)
                read = [start + i for i, item in enumerate(decoded) if isinstance(item, Tensor)]
                rows[read] = features
            start += len(decoded)
            bar.update(len(decoded))
    return np.empty((len(photos), 0), np.float32) if rows is None else rows


def _batch_features(classifier: Classifier, images: Tensor) -> NDArray[np.float32]:
    """Return the features of images uint8 (N, C, size, size): (N, D). Raise ClassifierError."""
    what = f"there is not enough memory for {len(images)} photos of {images.shape[-1]} pixels at once"
    with catch_out_of_memory(lambda why: ClassifierError(what, why, "end other programs")):
        batch = classifier.preprocess.normalize(images).to(choose_device(classifier.device))
        return pooled_features(classifier.network, batch).numpy()
