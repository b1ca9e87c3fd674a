"""Photos given as arrays: NumPy arrays and tensors as images, with the shapes and types that are accepted."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image

from reslab.errors import UsageError
from reslab.photos.decoding.levels import format_range, is_deep
from reslab.photos.decoding.npy import as_channels_last, to_image
from reslab.photos.loading.preprocess import Preprocess


def image_of(array: Any, preprocess: Preprocess) -> Image.Image:
    """Return a photo given as an array as an image of mode RGB or L, as the preprocessing takes it.

    Args:
        array: NumPy array (H, W), (H, W, 1), (H, W, 3) or (3, H, W), or a tensor, whose channels come first
            if both readings are possible. uint8, or another type if the preprocessing has a value range.
        preprocess: for its channels and its value range.

    Raises:
        UsageError: it has another shape or type, or is no array at all.
    """
    if isinstance(array, torch.Tensor):
        tensor = array.detach().cpu()
        tensor = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
        if tensor.dim() == 3 and tensor.shape[0] in (1, 3):
            tensor = tensor.permute(1, 2, 0)
        array = tensor.numpy()
    if not isinstance(array, np.ndarray):
        raise UsageError(
            f"a photo cannot be of type {type(array).__name__}",
            "it takes paths, bytes, PIL images, NumPy arrays, tensors and lists of these",
            "give a path: classifier.predict('photo.jpg')",
        )
    try:
        values = as_channels_last(array)
    except OSError as error:
        do = "give single photos, or a list of them: classifier.predict(list(photos))"
        raise UsageError("an array is not a photo", str(error), do) from None
    if is_deep(values.dtype) and preprocess.value_range is None:
        finite = values[np.isfinite(values)]
        found = format_range((float(finite.min()), float(finite.max()))) if len(finite) else "NaN"
        raise UsageError(
            f"an array of {values.dtype} with values {found} is not a photo",
            "this classifier was trained on 8-bit photos, so it takes uint8, 0 to 255, not normalized",
            "convert it; from 0 to 1: (255 * array).round().astype('uint8')",
        )
    image = to_image(values, preprocess.value_range)
    return image if preprocess.channels == 3 else image.convert("L")
