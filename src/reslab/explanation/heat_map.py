"""Heat maps by Grad-CAM: the parts of an image that raise the logit of a class."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from reslab.errors import NetworkError, UsageError, nearest
from reslab.evaluation.inference import batch_size_for, evaluating
from reslab.hardware import catch_out_of_memory
from reslab.inspection.tracer import device_and_dtype
from reslab.randomness import preserve_rng_state

MIN_MAP_SIDE = 5  # positions; measured, see benchmarks/RESULTS.md


@dataclass(frozen=True, eq=False)
class HeatMaps:
    """Heat maps of N images, one for each, on the CPU.

    Attributes:
        maps: float32 (N, h, w), 0 to 1, in the size of the layer's maps. The largest value of a map is 1. A
            map is 0 everywhere if nothing in the layer speaks for the class.
        layer: name of the layer that they come from.
        classes: int64 (N,), the class that each map explains, as an index of the logits.
        logits: float32 (N, num_classes), of the same pass.
    """

    maps: Tensor
    layer: str
    classes: Tensor
    logits: Tensor

    @property
    def empty(self) -> Tensor:
        """Bool (N,): True where the map is 0 everywhere."""
        return self.maps.flatten(1).amax(1) == 0


def heat_maps(
    network: nn.Module, images: Tensor, classes: Tensor | None = None, layer: str | None = None
) -> HeatMaps:
    """Return the Grad-CAM heat map of each image (Selvaraju et al. 2017, section 3).

    A channel of the layer is weighted by the mean of the class's gradient over its map. The heat map is the
    weighted sum of the channels. Its negative values, which speak against the class, become 0.

    The network computes in eval mode, on its own device. Its modes, gradients and hooks stay as they were.

    Args:
        network: images -> logits (N, num_classes).
        images: (N, C, H, W), normalized, on any device.
        classes: (N,) class to explain, as an index of the logits; None: the predicted one of each image.
        layer: name of a module with an output (N, C, h, w) or (N, h, w, C), such as "layer3"; None: the last
            one, see `default_layer`.

    Raises:
        NetworkError: the layer is unknown or has no maps; the output is not (N, num_classes) or not finite;
            or there is not enough memory.
        UsageError: `classes` does not have one index of the logits for each image.
    """
    if classes is not None and classes.shape != images.shape[:1]:
        raise UsageError(
            f"classes of shape {tuple(classes.shape)} for {len(images)} images", "each image needs one", ""
        )
    network = getattr(network, "_orig_mod", network)  # torch.compile wraps the network
    device, dtype = device_and_dtype(network)
    what = f"there is not enough memory for the heat maps of images of {images.shape[-1]} pixels"
    with (
        torch.inference_mode(False),  # the caller may be in inference mode, where there are no gradients
        preserve_rng_state(),
        catch_out_of_memory(lambda why: NetworkError(what, why, "name a later layer, or use smaller images")),
    ):
        network = _differentiable(network)
        layer = default_layer(network, images) if layer is None else _checked_layer(network, layer)
        module = network.get_submodule(layer)
        parts, logits = list[Tensor](), list[Tensor]()
        for batch in images.split(batch_size_for(max(images.shape[2:]))):
            done = sum(len(part) for part in parts)
            wanted = None if classes is None else classes[done : done + len(batch)]
            features, scores = _features_and_logits(network, module, layer, batch.to(device, dtype))
            parts.append(_grad_cam(features, scores, wanted, layer, batch))
            logits.append(scores.detach().float().cpu())
    all_logits = torch.cat(logits)  # (N, num_classes)
    chosen = all_logits.argmax(1) if classes is None else classes.cpu().long()
    return HeatMaps(torch.cat(parts), layer, chosen, all_logits)


def upsample(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Return maps (N, h, w) enlarged bilinearly to `size`, (height, width)."""
    return interpolate(maps[:, None], size, mode="bilinear")[:, 0]


def default_layer(network: nn.Module, images: Tensor) -> str:
    """Return the name of the last module with maps: "layer4" at 224 pixels.

    Where these have fewer than 5 positions a side, it is the last module with larger ones: "layer3" at 128
    pixels. Maps of one position do not count. Of modules that end with the same maps it is the outermost. The
    network itself does not count.

    Args:
        network: images -> logits.
        images: (N, C, H, W), normalized. One of them is run: with smaller images, maps are smaller.

    Raises:
        NetworkError: there is no such module; or tokens follow it, as in a vision transformer.
    """
    device, dtype = device_and_dtype(network)
    last_of, tokens = dict[int, str](), ""  # {shorter side of the maps: last module with them}, in order

    def note(name: str, output: Any) -> None:
        nonlocal tokens
        if isinstance(output, Tensor) and output.dim() == 4 and (side := min(_map_size(output, images))) > 1:
            last_of.pop(side, None)
            last_of[side], tokens = name, ""
        elif isinstance(output, Tensor) and output.dim() == 3 and min(output.shape[1:]) > 1:
            tokens = name

    hooks = [
        module.register_forward_hook(lambda _, args, output, name=name: note(name, output))
        for name, module in network.named_modules()
        if name and not isinstance(module, nn.Identity)
    ]
    try:
        with evaluating(network), preserve_rng_state():
            network(images[:1].to(device, dtype))
    finally:
        for hook in hooks:
            hook.remove()
    if not last_of or tokens:
        sides = " x ".join(map(str, images.shape[2:]))
        why = (
            f"{tokens} and later layers have tokens, and Grad-CAM needs maps of channels"
            if tokens
            else f"with images of {sides} pixels none of its layers has maps of more than one position"
        )
        raise NetworkError(
            f"{type(network).__name__} has no layer for a heat map",
            why,
            "choose a convolutional network",
        )
    side, last = last_of.popitem()
    larger = [name for larger_side, name in last_of.items() if larger_side > side]
    return larger[-1] if larger and side < MIN_MAP_SIDE else last


def _differentiable(network: nn.Module) -> nn.Module:
    """Return the network, or a copy if it was made in inference mode, whose tensors have no gradients."""
    tensors = chain(network.parameters(), network.buffers())
    return copy.deepcopy(network) if any(tensor.is_inference() for tensor in tensors) else network


def _checked_layer(network: nn.Module, layer: str) -> str:
    names = [name for name, _ in network.named_modules() if name]
    if layer in names:
        return layer
    top = [name for name in names if name.count(".") <= layer.count(".")]
    raise NetworkError(f"{type(network).__name__} has no layer '{layer}'", "", nearest(layer, top))


def _features_and_logits(
    network: nn.Module, module: nn.Module, layer: str, images: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the layer's output (N, C, h, w), a leaf with a gradient, and the logits that depend on it."""
    kept: list[Any] = []

    def begin_gradients(_: nn.Module, args: Any, output: Any) -> Tensor | None:
        kept[:] = [output]
        if not isinstance(output, Tensor):
            return None
        # only the layers from here on keep their activations, and frozen weights do not matter
        torch.set_grad_enabled(True)  # `evaluating` restores it
        kept[:] = [output.detach().clone().requires_grad_()]
        features: Tensor = kept[0].clone()  # a later layer may change it in place
        return features

    hook = module.register_forward_hook(begin_gradients)
    try:
        with evaluating(network):
            logits = network(images)
    finally:
        hook.remove()
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != len(images):
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise NetworkError(
            f"{type(network).__name__} gives {got} for {len(images)} images",
            "a heat map explains a logit, so it needs (N, num_classes)",
            "choose a classifier",
        )
    if not kept:
        raise NetworkError(f"layer '{layer}' takes no part in the prediction", "a pass does not call it", "")
    features = kept[0]
    is_map = isinstance(features, Tensor) and features.dim() == 4 and min(_map_size(features, images)) > 1
    if not is_map:
        got = tuple(features.shape[1:]) if isinstance(features, Tensor) else type(features).__name__
        raise NetworkError(
            f"layer '{layer}' gives {got} for an image of {' x '.join(map(str, images.shape[2:]))} pixels",
            "a heat map needs maps of more than one position",
            f"name an earlier layer, such as {default_layer(network, images)}",
        )
    if not logits.requires_grad:
        raise NetworkError(
            f"the logits have no gradient with respect to layer '{layer}'",
            "the network detaches what comes after it, for example by torch.no_grad()",
            "name a later layer",
        )
    return features, logits


def _grad_cam(features: Tensor, logits: Tensor, classes: Tensor | None, layer: str, images: Tensor) -> Tensor:
    """Return the maps (N, h, w), each divided by its largest value, on the CPU."""
    chosen = logits.argmax(1) if classes is None else classes.to(logits.device).long()
    if not ((chosen >= 0) & (chosen < logits.shape[1])).all():
        raise UsageError(
            f"classes {tuple(chosen.unique().tolist())} of a network with {logits.shape[1]} logits",
            f"a class is a number from 0 to {logits.shape[1] - 1}",
            "leave classes out for the predicted ones",
        )
    score = logits.gather(1, chosen[:, None]).sum()  # images do not depend on each other in eval mode
    (gradient,) = torch.autograd.grad(score, features)
    channels, positions = (-1, (1, 2)) if _has_channels_last(features, images) else (1, (2, 3))
    weights = gradient.mean(positions, keepdim=True)  # (N, C, 1, 1)
    maps = (weights * features.detach()).sum(channels).relu().float().cpu()  # (N, h, w)
    if not (maps.isfinite().all() and logits.isfinite().all()):
        raise NetworkError(
            f"layer '{layer}' or the logits have values that are not finite",
            "the training diverged, or half precision overflows",
            "train again with a lower learning rate",
        )
    largest = maps.amax((1, 2), keepdim=True)  # (N, 1, 1)
    return maps / largest.where(largest > 0, 1)


def _map_size(features: Tensor, images: Tensor) -> tuple[int, int]:
    """Return (h, w) of (N, C, h, w), or of (N, h, w, C)."""
    height, width = features.shape[1:3] if _has_channels_last(features, images) else features.shape[2:]
    return height, width


def _has_channels_last(features: Tensor, images: Tensor) -> bool:
    """Return whether (N, h, w, C), as in Swin, fits the images' ratio of sides better than (N, C, h, w)."""
    first, second, third = (math.log(side) for side in features.shape[1:])
    wanted = math.log(images.shape[2] / images.shape[3])
    return abs(first - second - wanted) < abs(second - third - wanted)
