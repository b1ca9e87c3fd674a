"""The verb `explain`: heat maps of photos, and whether they are worth anything."""

from __future__ import annotations

import json as json_
import shlex
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from reslab.text import printable, table

from .arguments import Flag, check_photo_names
from .output import tell


def explain(
    model: Path,
    photos: Annotated[list[str], Parameter(negative=(), allow_leading_hyphen=True)],
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("heat.html"),
    layer: str | None = None,
    network: str | None = None,
    json: Flag = False,
    device: str = "auto",
) -> int:
    """Show what in each photo speaks for the prediction, as heat maps, and whether the maps are worth it.

    Example: reslab explain runs/first photos/test -o heat.html

    The page has each photo next to its map. On at most 24 photos, evenly over the
    list, it is measured whether the map beats a random map and the middle of the
    photo. A photo that cannot be read gets a row with the reason. The exit code is
    0 if at least one photo could be read, else 2.

    Args:
        model: a run folder (its best model) or a model file
        photos: files, folders or globs
        output: a page (.html) with the first 100 photos, or a folder for one PNG per photo and an index.html
        layer: layer of the heat maps, such as layer3 [the last stage with maps of 5 x 5]
        network: your file again, which is run, for a network of your own: my_block.py:MyBlock
        json: one JSON object per photo
        device: auto, cpu, cuda, mps
    """
    from reslab.evaluation.photo_paths import unused_in
    from reslab.pages.explain_page import explain as explain_photos
    from reslab.pages.explain_page import is_page

    check_photo_names("explain", photos)
    for unused in unused_in(photos):
        tell(f"note: {unused}")
    explanation = explain_photos(model, photos, output, layer=layer, network=network, device=device)
    if json:
        for row in explanation.as_json():
            print(json_.dumps(row))
        return 0 if explanation.readable else 2
    rows = [
        [photo.path, "-", "", photo.problem]
        if photo.error is not None
        else [photo.path, photo.label or "", f"{photo.probability:.3f}", photo.judgment or "-"]
        for photo in explanation.photos
    ]
    print(table(["photo", "label", "probability", "heat map"], rows, "llrl"))
    if explanation.unread:
        tell(f"{len(explanation.unread)} of {len(rows)} could not be read")
    if not explanation.readable:
        return 2
    page = output if is_page(output) else output / "index.html"
    print(f"\n{explanation}")
    print(f"heat maps: {printable(str(page))}; open it in a browser")
    words = printable(shlex.join([str(model), explanation.readable[0].path]))
    own = "" if network is None else f" --network {printable(shlex.quote(network))}"
    print(f"next: reslab walk {words}{own}   one photo through the network, stage by stage")
    return 0
