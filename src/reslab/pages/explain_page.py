"""explain(): heat maps of photos with their worth, as a value, a page, or a folder of pictures."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from reslab import files
from reslab.errors import UsageError
from reslab.evaluation.classifier import Classifier
from reslab.evaluation.inference import Photo
from reslab.evaluation.photo_paths import expand_paths
from reslab.explanation.explain import ExplainedPhoto, explain_photos, measure_sample
from reslab.explanation.faithfulness import Worth
from reslab.text import printable

from .page import data_uri, page_path, render, write_page

if TYPE_CHECKING:
    from reslab.training.runs.run import Run

MAX_SHOWN = 100  # photos on a page
MAX_SHOWN_IN_NOTEBOOK = 8
MAX_LISTED = 200  # unread photos on a page
MIN_PICTURE_SIDE = 224  # pixels; smaller pictures are enlarged in the files of a folder
GAP = 8  # pixels between them
MAX_RANDOM_CORRELATION = 0.5  # of maps that depend on the weights
MAX_NAME_LENGTH = 60  # characters of a photo's name in the name of a file


@dataclass(frozen=True, eq=False)
class Explanation:
    """Heat maps of photos, as `explain` returns them. A notebook shows the first ones.

    Attributes:
        network: name of the network.
        layer: name of the layer that the heat maps come from; "" if no photo could be read.
        photos: one for each photo, in order; an unread one has `error`. The first 100 that could be read have
            pictures.
        worth: deletion and insertion on at most 24 photos, evenly over the list, and randomized weights; None
            if no photo could be read.
        files: the page, or the files of the folder, that show each photo; None where nothing was written.
    """

    network: str
    layer: str
    photos: tuple[ExplainedPhoto, ...]
    worth: Worth | None
    files: tuple[str | None, ...]

    @property
    def readable(self) -> tuple[ExplainedPhoto, ...]:
        """The photos that could be read."""
        return tuple(photo for photo in self.photos if photo.error is None)

    @property
    def unread(self) -> tuple[ExplainedPhoto, ...]:
        """The photos that could not be read."""
        return tuple(photo for photo in self.photos if photo.error is not None)

    def as_json(self) -> list[dict[str, Any]]:
        """Return a dict for each photo: path, label, probability, heat_map (a file or None), worth, ...

        An unread photo has only path and error.
        """
        rows = []
        for photo, file in zip(self.photos, self.files, strict=True):
            row = photo.as_json()
            rows.append(row if photo.error is not None else {**row, "layer": self.layer, "heat_map": file})
        return rows

    def html(self) -> str:
        """Return the page as the text of an HTML file that loads nothing else."""
        shown = [(number, photo) for number, photo in enumerate(self.photos, 1) if photo.picture]
        values = {
            "explanation": self,
            "shown": shown,
            "more": len(self.readable) - len(shown),
            "unread": self.unread[:MAX_LISTED],
            "more_unread": max(0, len(self.unread) - MAX_LISTED),
            "randomized": describe_randomized(self.worth) if self.worth else "",
        }
        return render("explain.html.jinja", values)

    def __str__(self) -> str:
        worth = "" if self.worth is None else f" {self.worth}"
        return f"{len(self.readable)} heat maps of {self.network}, layer {self.layer}.{worth}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        cells = [_notebook_cell(photo) for photo in self.readable[:MAX_SHOWN_IN_NOTEBOOK]]
        more = len(self.photos) - len(cells)
        note = f"<p>and {more:,} more photos in <code>.photos</code></p>" if more else ""
        row = f'<div style="display:flex;flex-wrap:wrap;gap:16px">{"".join(cells)}</div>'
        return f"<p>{html.escape(printable(str(self)))}</p>{row}{note}"


def explain(
    model: Classifier | Run | Path | str,
    photos: Sequence[Path | str | bytes] | Path | str | bytes,
    path: Path | str | None = None,
    *,
    layer: str | None = None,
    network: nn.Module | str | None = None,
    device: str = "auto",
) -> Explanation:
    """Show what in a photo speaks for the predicted class, and measure whether these heat maps are worth it.

    The heat maps are Grad-CAM (Selvaraju et al. 2017). Their worth is measured by deletion and insertion
    (Petsiuk et al. 2018) against a random map and the middle of the photo, on at most 24 photos; and by
    random weights (Adebayo et al. 2018).

    Args:
        model: a Classifier, a Run or its folder (its best model), or a model file.
        photos: files, folders, globs, or contents of files; one or several.
        path: a page to write, ending in .html; or a folder for one PNG per photo and an index.html, made if
            it is missing. Existing files are replaced. The page shows the first 100 photos.
        layer: name of the layer of the maps, such as "layer3"; None: the last one whose maps have more than
            one position.
        network: for a model of a network of your own, as `reslab.load` takes it.
        device: auto, cpu, cuda, cuda:1 or mps.

    Returns:
        One ExplainedPhoto for each photo, with heat maps float32 (h, w) from 0 to 1, and their worth. A photo
        that cannot be read has an error instead.

    Raises:
        UsageError: there are no photos, or `path` cannot be written.
        PhotosError: a folder of photos cannot be read.
        ClassifierError: the model cannot be read, or its logits are not finite.
        NetworkError: the layer is unknown or has no maps; the network is from a file of your own, which
            `network` does not name; or there is not enough memory.
        RecipeError: the device does not exist.
    """
    target = None if path is None else output_path(Path(path))
    classifier = _classifier(model, network, device)
    listed = _list_photos(photos)
    sample = measure_sample(classifier, listed, layer)
    explained, written, pictures = list[ExplainedPhoto](), list[str | None](), 0
    for number, photo in enumerate(explain_photos(classifier, listed, sample), 1):
        shown = photo.error is None and pictures < MAX_SHOWN
        pictures += shown
        explained.append(photo if shown else replace(photo, picture=b"", overlay=b""))
        written.append(_write_picture(target, number, photo, shown) if target and photo.picture else None)
    explanation = Explanation(
        network=classifier.spec.name if classifier.spec else type(classifier.network).__name__,
        layer=sample.layer if sample else "",
        photos=tuple(explained),
        worth=sample.worth if sample else None,
        files=tuple(written),
    )
    if target is not None:
        write_page(target if is_page(target) else target / "index.html", explanation.html())
    return explanation


def is_page(path: Path) -> bool:
    """Return True for a name that ends in .html or .htm: a page, else a folder of pictures."""
    return path.suffix.lower() in (".html", ".htm")


def output_path(path: Path) -> Path:
    """Check that a page or a folder can be written, before any work. Return it with ~ expanded.

    A folder is made if it is missing.

    Raises:
        UsageError: it is neither, or cannot be written.
    """
    path = files.user_path(path)
    if is_page(path) and not path.is_dir():
        return page_path(path, "-o heat.html")
    if path.suffix and not path.is_dir():
        why = "a page ends in .html, and the name of a folder has no suffix"
        raise UsageError(f"{path} is neither a page nor a folder", why, "write -o heat.html or -o heat/")
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise UsageError(f"the folder {path} cannot be made", error.strerror or "", "name another") from error
    if not files.is_writable_folder(path):
        raise UsageError(f"the folder {path} cannot be written", "", "name another")
    return path


def describe_randomized(worth: Worth) -> str:
    """Return a sentence on what random weights change in the maps; "" if that was not measured."""
    last, every = worth.last_stage_correlation, worth.all_weights_correlation
    if last is None or every is None:
        return ""
    note = "" if every < MAX_RANDOM_CORRELATION else " So they show the picture more than the network."
    return (
        f"With random weights from the layer on, the maps correlate {last:.2f} with these, with all weights "
        f"random {every:.2f}.{note}"
    )


def _classifier(
    model: Classifier | Run | Path | str, network: nn.Module | str | None, device: str
) -> Classifier:
    if isinstance(model, Classifier):
        return model.to(device) if device != "auto" else model
    folder = model if isinstance(model, str | Path) else model.folder
    return Classifier.load(folder, network=network, device=device)


def _list_photos(photos: Sequence[Path | str | bytes] | Path | str | bytes) -> list[Photo]:
    """Return the photos that files, folders, globs and contents stand for, in order.

    Raises:
        UsageError: there are none.
    """
    given = [photos] if isinstance(photos, str | Path | bytes) else list(photos)
    listed = list[Photo]()
    for item in given:
        listed += [item] if isinstance(item, bytes) else expand_paths([str(item)])
    if not listed:
        names = ", ".join(printable(str(item)) for item in given)
        raise UsageError(f"no photos in {names or 'an empty list'}", "", "give files, folders or globs")
    return listed


def _write_picture(target: Path, number: int, photo: ExplainedPhoto, shown: bool) -> str | None:
    """Return the place of a photo on the page; for a folder write its PNG there and return the path.

    Raises:
        UsageError: the file cannot be written.
    """
    if is_page(target):
        return f"{target}#photo{number}" if shown else None
    stem = re.sub(r"[^\w.-]", "_", printable(Path(photo.path).stem))[:MAX_NAME_LENGTH]
    path = target / f"{number:05}-{stem}.png"
    try:
        files.write(path, _side_by_side(photo))
    except OSError as error:
        what = f"{path} could not be written"
        raise UsageError(
            what, error.strerror or str(error), "free some space, or name another folder"
        ) from error
    return str(path)


def _side_by_side(photo: ExplainedPhoto) -> bytes:
    """Return the picture and its heat map next to each other as a PNG."""
    from PIL import Image

    left, right = (
        Image.open(io.BytesIO(content)).convert("RGB") for content in (photo.picture, photo.overlay)
    )
    factor = -(-MIN_PICTURE_SIDE // max(left.size))  # rounded up
    width, height = (side * factor for side in left.size)
    sheet = Image.new("RGB", (2 * width + GAP, height), "white")
    for image, x in ((left, 0), (right, width + GAP)):
        sheet.paste(image.resize((width, height), Image.Resampling.BICUBIC), (x, 0))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def _notebook_cell(photo: ExplainedPhoto) -> str:
    images = "".join(
        f'<img src="{data_uri(content)}" style="width:160px" alt="{alt}">'
        for content, alt in ((photo.picture, "photo"), (photo.overlay, "heat map"))
    )
    caption = f"{photo.path}: {photo.label} {photo.probability:.3f}. {photo.judgment}"
    return f'<div style="width:328px">{images}<br>{html.escape(printable(caption))}</div>'
