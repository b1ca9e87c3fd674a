"""Heat map of the predicted class, from the network's last stage, over the photo."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field

from PIL import Image
from torch import Tensor, nn

from reslab.errors import NetworkError
from reslab.explanation.explain import encode, overlay
from reslab.explanation.heat_map import heat_maps

from .input_picture import InputPhoto

Size = tuple[int, int]  # height, width


@dataclass(frozen=True)
class PredictionMap:
    """Grad-CAM heat map of the predicted class over the photo.

    Args:
        layer: name of the layer that it comes from.
        class_name: the predicted class.
        size: (height, width) of the layer's maps.
        empty: the map is 0 everywhere.
        picture: the colors of the map over the gray photo, as PNG or JPEG.
    """

    layer: str
    class_name: str
    size: Size
    empty: bool
    picture: bytes = field(repr=False)


def find_prediction_map(
    network: nn.Module, images: Tensor, photo: InputPhoto, class_names: Sequence[str]
) -> tuple[PredictionMap | None, str]:
    """Return the heat map of the predicted class, and ""; or None and a sentence with the reason.

    Args:
        network: images -> logits (1, num_classes).
        images: (1, C, H, W), normalized.
        photo: the same image as a picture.
        class_names: in the order of the logits.
    """
    try:
        found = heat_maps(network, images)
    except NetworkError as error:  # tokens as in a vision transformer, maps of 1x1, too little memory
        return None, f"There is no heat map: {error.why or error.what}."
    picture = overlay(Image.open(io.BytesIO(photo.image)), found.maps[0])
    height, width = found.maps.shape[1:]
    name = class_names[int(found.classes)]
    return PredictionMap(found.layer, name, (height, width), bool(found.empty), encode(picture)), ""
