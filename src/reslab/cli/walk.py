"""The verb `walk`: a page that follows one photo through a network."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def walk(
    model: str,
    photo: Path,
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("walk.html"),
    weights: str | None = None,
    network: str | None = None,
) -> None:
    """Follow one photo through a network, on a page: feature maps, receptive fields, and each block's part.

    Example: reslab walk runs/first cat.jpg -o walk.html

    Example: reslab walk resnet18 cat.jpg --weights imagenet

    Args:
        model: a run folder (its best model), a model file, or a network, as in reslab show
        photo: an image file
        output: the page, one file that works offline; an existing one is replaced
        weights: for a network's name: imagenet or a weights file [random weights]
        network: your file again, which is run, for a network of your own: my_block.py:MyBlock
    """
    from reslab.files import user_path
    from reslab.pages.walk.walk import walk as create_walk
    from reslab.text import printable

    page = create_walk(model, photo, output, weights=weights, network=network)
    print(page)
    print(f"\n{page.weights}")
    if page.refused:
        print(page.refused)
    elif page.meaningful:
        best = page.scores[0]
        print(f"Prediction: {printable(best.name)}, with probability {best.probability:.3f}.")
    megabytes = os.path.getsize(user_path(output)) / 1e6
    print(f"page: {printable(str(output))} ({megabytes:.1f} MB), one file; open it in a browser")
    name = printable(shlex.quote(model))
    own = "" if network is None else f" --network {printable(shlex.quote(network))}"
    print(f"next: reslab show {name}{own}   every layer of the same network, with its formula")
