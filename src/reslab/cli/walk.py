"""LOOK: walk."""

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
) -> None:
    """One photo's way through a network, as a page: feature maps, receptive fields, what each block adds.

    Example: reslab walk runs/first cat.jpg -o walk.html

    Example: reslab walk resnet18 cat.jpg --weights imagenet

    Parameters
    ----------
    model
        a run folder (its best model), a model file, or a network's name: resnet18, torchvision:resnet50,
        resnet18:plain, my_block.py:MyBlock
    photo
        the photo
    output
        the page, one file that needs no network access; replaced if it is there
    weights
        for a network's name: imagenet or a weights file [random weights]
    """
    from reslab.pages.walk.walk import walk as pass_through
    from reslab.text import printable

    walked = pass_through(model, photo, output, weights=weights)
    print(walked)
    print(f"\n{walked.weights}")
    if walked.refused:
        print(walked.refused)
    elif walked.meaningful:
        best = walked.scores[0]
        print(f"It comes out as {printable(best.name)}, with a probability of {best.probability:.3f}.")
    size = os.path.getsize(os.path.expanduser(output)) / 1e6
    print(f"page: {printable(str(output))} ({size:.1f} MB), one file; open it in a browser")
    named = printable(shlex.quote(model))
    print(f"next: reslab show {named}   every layer of the same network, with its formula")
